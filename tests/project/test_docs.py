"""The docs say what is: their snippets run, their tables name what there is, their drawing is the graph's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.places import REPOSITORY, TESTS
from trex import Task, build_graph
from trex.evaluation.metrics.catalogue import markdown
from trex.ftbench.tasks.molecules import load as load_molecules
from trex.ftbench.tasks.sentiment import load
from trex.graph.store.tables import TABLES
from trex.graph.tree.experiment import ExperimentPlan
from trex.graph.tree.policies import POLICIES
from trex.training import methods_page
from trex.training.data.build import preview
from trex.training.data.operators.operator_reference import page as operator_page
from trex.training.data.recipe_execution import ModelNeeded
from trex.training.data.recipe_file import recipe_from_yaml
from trex.training.methods.sft import SftStage
from trex.training.plan import TrainingPlan
from trex.training.weights.lora import LoraWeights

DOCS = REPOSITORY / "docs"
PAGES = sorted(DOCS.glob("*.md"))


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def rows(text: str) -> dict[str, list[str]]:
    """Table rows by what stands in backquotes first in their first cell."""
    cells = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| `")]
    return {row[0].split("`")[1]: [cell.strip() for cell in row[1:]] for row in cells}


@pytest.mark.parametrize(("name", "fewest"), [("integrity", 50), ("benchmark", 20)])
def test_claims_name_tests_that_exist(name: str, fewest: int) -> None:
    files = {path.name: path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py")}
    text = page(name)
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", text)
    assert len(named) >= fewest
    assert [pair for pair in named if f"def {pair[1]}(" not in files.get(pair[0], "")] == []
    assert [file for file in re.findall(r"`(?:[\w/]*/)?(test_\w+\.py)`", text) if file not in files] == []


def test_every_attack_names_a_test() -> None:
    attacks = (
        page("integrity").split("| attack | defence | tried in |\n")[1].split("\n\n")[0].splitlines()[1:]
    )
    assert len(attacks) > 20 and [row for row in attacks if "::test_" not in row.split(" | ")[-1]] == []


@pytest.mark.parametrize("path", [p for p in PAGES if blocks(p.read_text(), "python")], ids=lambda p: p.stem)
def test_python_runs(path: Path, fresh_home: Path, tmp_path: Path) -> None:
    script = "\n".join(blocks(path.read_text(encoding="utf-8"), "python"))
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr


def test_the_graph_is_drawn_as_it_is() -> None:
    assert blocks(page("architecture"), "mermaid") == [
        build_graph().get_graph().draw_mermaid().strip() + "\n"
    ]


def test_the_example_of_a_plan_is_valid() -> None:
    text, pairs = blocks(page("plans"), "yaml")
    plan = ExperimentPlan.model_validate(yaml.safe_load(text))
    assert [trial.training.stage.recipe for trial in plan.trials] == ["main", "mixed"]
    made = preview(recipe_from_yaml(pairs), load(smoke=True)).report.contents
    assert made.pairs == made.rows > 0
    [staged] = blocks(page("plans"), "json")
    assert [stage.method for stage in TrainingPlan.model_validate_json(staged).stages] == ["sft", "dpo"]


def test_the_page_on_methods_is_made_from_the_code() -> None:
    again = "python -m trex.training.methods_page > docs/methods.md"
    assert page("methods") == methods_page.markdown(), f"write it again: {again}"
    assert again in page("methods")
    told = rows(page("methods"))
    for settings in (SftStage, LoraWeights):
        assert settings.model_fields.keys() - {"method", "kind"} <= told.keys()


def test_recipes_can_be_carried_out() -> None:
    task = load(smoke=True)
    recipes = blocks(page("recipes"), "yaml")
    assert len(recipes) == 4
    *plain, sampling = map(recipe_from_yaml, recipes)
    assert all(preview(recipe, task).rows for recipe in plain)
    with pytest.raises(ModelNeeded, match="calls of the model 'policy'"):
        preview(sampling, load_molecules(smoke=True))


def test_the_page_on_metrics_is_made_from_the_code() -> None:
    again = "python -m trex.evaluation.metrics.catalogue > docs/metrics.md"
    assert page("metrics") == markdown(), f"write it again: {again}"
    assert again in page("metrics")


def test_the_page_on_operators_is_made_from_the_code() -> None:
    again = "python -m trex.training.data.operators.operator_reference > docs/operators.md"
    assert page("operators") == operator_page(), f"write it again: {again}"
    assert again in page("operators")


def test_task_files_are_valid(tmp_path: Path) -> None:
    small, conversations, large = blocks(page("own_task"), "yaml")
    talks = yaml.safe_load(small) | {"choices": None} | yaml.safe_load(conversations)
    for fields in (yaml.safe_load(small), talks, yaml.safe_load(large)):
        if fields.pop("data", None):
            fields |= {"sources": [{"name": "train", "path": "x"}], "dev": "dev.jsonl", "test": "test.jsonl"}
        Task.model_validate(fields)


def test_every_field_of_a_task_is_explained() -> None:
    named = {
        name for line in page("own_task").splitlines() if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    }  # fmt: skip
    assert named == set(Task.model_fields) | {"data", "group_by"}


def test_the_form_is_explained_with_its_defaults() -> None:
    explained = rows(page("studio"))
    fields = build_graph().get_input_jsonschema()["properties"]
    words = {False: "off", True: "on"}
    assert {name: cells[-1].strip("`") for name, cells in explained.items()} == {
        name: words.get(field["default"], str(field["default"])) for name, field in fields.items()
    }


def test_tables_have_their_columns() -> None:
    explained = rows(page("run_directory").split("## Tables")[1])
    assert {name: re.findall(r"`(\w+)`", cells[0]) for name, cells in explained.items()} == {
        name: list(columns) for name, (columns, _) in TABLES.items()
    }


def test_every_policy_is_explained() -> None:
    assert tuple(rows(page("search"))) == POLICIES.names()


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (DOCS / target).exists(), target
