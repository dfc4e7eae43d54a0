"""Plans that a person wrote are the plans of the first rounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from support.cli import on_the_torch_free_runtime
from trex.errors import InputError
from trex.graph.api import prepare_run, run
from trex.graph.researcher.given_plans import read_plans

LABELS = {"op": "threshold", "column": "rating", "below": -1, "above": 1}
PLAN: dict[str, Any] = {
    "strategy": "refine_data",
    "direction": "rows",
    "hypothesis": "Twenty rows are enough.",
    "recipes": {"main": {"streams": [{"source": "movie"}], "rows": 20, "steps": [LABELS]}},
    "trials": [{"training": {"stages": [{"method": "sft", "learning_rate": 0.002}]}, "note": "few rows"}],
}


def written(folder: Path, **changes: Any) -> Path:
    path = folder / f"plan{len(list(folder.glob('plan*')))}.yaml"
    path.write_text(yaml.safe_dump(PLAN | changes))
    return path


def test_the_first_rounds_carry_out_the_given_plans_then_the_researcher_plans(
    tmp_path: Path, fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_the_torch_free_runtime(monkeypatch)
    unknown = {"main": {"streams": [{"source": "nowhere"}]}}
    files = [written(tmp_path), written(tmp_path, recipes=unknown, direction="other data")]
    done = run("sentiment", out=tmp_path / "run", smoke=True, rounds=3, trials=2, plans=files)
    first, second, third = (done.tree[f"e00{number}"] for number in (1, 2, 3))
    assert first.status == "done" and first.plan == read_plans(files)[0]
    assert len(first.trials) == 1 and 0 < first.datasets["main"].rows <= 20
    assert second.plan == read_plans(files)[1] and second.status == "failed"
    assert second.failure is not None and "nowhere" in second.failure
    assert third.status == "done" and third.plan is not None and len(third.trials) == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hypothesis": None}, "hypothesis"),
        ({"recipes": {}}, "recipes"),
        ({"trials": [{"training": {"stages": [{"method": "sft", "recipe": "second"}]}}]}, "'second'"),
        ({"rows": 3}, "rows"),
    ],
)
def test_a_plan_that_is_not_valid_names_file_and_field(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    file = written(tmp_path, **changes)
    with pytest.raises(InputError, match=r"plan0\.yaml") as refused:
        read_plans([file])
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_more_plans_than_rounds_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    plans = read_plans([written(tmp_path), written(tmp_path)])
    with pytest.raises(InputError, match="2 plans are given for 1 rounds"):
        prepare_run("sentiment", out=tmp_path / "run", smoke=True, rounds=1, plans=plans)
    assert not (tmp_path / "run").exists()
    assert prepare_run("sentiment", out=tmp_path / "run", smoke=True, plans=plans).settings.rounds == 2
