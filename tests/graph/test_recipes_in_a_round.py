"""Trials of one round that differ in their data, from the plan to the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.cli import on_the_torch_free_runtime
from trex.files import read_json, read_yaml
from trex.graph.api import run


def on_two_recipes(question: dict[str, Any]) -> dict[str, Any]:
    """The plan with half of its rows for the second trial."""
    plan = question["plan"]
    main = plan["recipes"]["main"]
    plan["recipes"]["half"] = main | {"rows": main["rows"] // 2}
    plan["trials"][1]["training"]["stages"][0]["recipe"] = "half"
    return {"decision": "edit", "plan": plan}


def test_trials_train_on_their_own_data_sets(
    tmp_path: Path, fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_the_torch_free_runtime(monkeypatch)
    done = run("sentiment", out=tmp_path / "run", smoke=True, rounds=1, trials=2, approve=on_two_recipes)
    first = done.tree["e001"]
    assert first.status == "done" and list(first.datasets) == ["main", "half"]
    assert first.datasets["half"].rows < first.datasets["main"].rows
    for trial in first.trials:
        card = first.datasets[trial.recipe]
        stored = read_json(tmp_path / "run" / "trials" / trial.id / "plan.json")
        assert (stored["dataset_fingerprint"], stored["rows"]) == (card.fingerprint, card.rows)
    assert [trial.recipe for trial in first.trials] == ["main", "half"]
    best = next(trial for trial in first.trials if trial.id == first.best_trial)
    assert first.dataset == first.datasets[best.recipe]
    if done.best is not None and done.best.trial == best.id:
        assert (
            read_yaml(tmp_path / "run" / "best" / "recipe.yaml")["rows"] == first.datasets[best.recipe].rows
        )
    page, text, _ = done.write_report()
    for card in first.datasets.values():
        assert card.fingerprint in text.read_text() and f"{card.rows} rows" in page.read_text()
