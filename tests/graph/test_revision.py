"""A plan that cannot be carried out goes back to the Researcher, by an edge of the graph."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.cli import on_the_torch_free_runtime
from trex import Run, build_graph, run
from trex.graph.planning import MOST_REVISIONS, NO_OTHER_PLAN
from trex.graph.researcher.builtin.policy import BuiltinResearcher
from trex.graph.researcher.protocol import PlanningRequest
from trex.graph.tree.experiment import ExperimentPlan
from trex.training.data.operators.filter import Filter
from trex.training.methods.protocol import MAIN

Revise = Callable[[ExperimentPlan], ExperimentPlan | None]
original = BuiltinResearcher.plan


def broken(plan: ExperimentPlan, column: str = "stars") -> ExperimentPlan:
    """The plan on a column that no source has."""
    recipe = plan.recipes[MAIN]
    [first, *rest] = recipe.streams
    streams = (first.model_copy(update={"steps": (Filter(column=column, min_words=1),)}), *rest)
    changed = plan.with_recipe(MAIN, recipe.model_copy(update={"streams": streams}))
    return changed.model_copy(update={"hypothesis": f"By {column}: {plan.hypothesis}"})


class Asked(list[tuple[str, str]]):
    """What `revise` was asked: the experiment, and the problem."""


@pytest.fixture
def start(
    fresh_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Run, Asked]]:
    """Runs whose first plan of the first round is broken; `revise` is the Researcher's answer."""

    def started(revise: Revise, **more: Any) -> tuple[Run, Asked]:
        asked = Asked()
        working: list[ExperimentPlan] = []

        def plan(self: BuiltinResearcher, request: PlanningRequest) -> ExperimentPlan:
            good = original(self, request)
            working.append(good)
            return good if len(working) > 1 else broken(good)

        def revised(
            self: BuiltinResearcher, plan: ExperimentPlan, problem: str, experiment: str
        ) -> ExperimentPlan | None:
            asked.append((experiment, problem))
            return revise(working[0])

        monkeypatch.setattr(BuiltinResearcher, "plan", plan)
        monkeypatch.setattr(BuiltinResearcher, "revise", revised)
        on_the_torch_free_runtime(monkeypatch)
        settings = {"smoke": True, "rounds": 2, "trials": 2} | more
        return run("sentiment", out=tmp_path / "run", **settings), asked

    return started


def test_a_revised_plan_is_carried_out(start: Callable[..., tuple[Run, Asked]]) -> None:
    def one_trial(plan: ExperimentPlan) -> ExperimentPlan:
        return plan.model_copy(update={"hypothesis": "Ratings it is.", "trials": plan.trials[:1]})

    done, asked = start(one_trial)
    [(experiment, problem)] = asked
    assert experiment == "e001" and "no column 'stars'" in problem
    first = done.tree["e001"]
    assert first.status == "done" and first.failure is None and first.score is not None
    assert first.plan is not None and first.plan.hypothesis == "Ratings it is."
    assert len(first.trials) == 1, "trials of the plan before are gone"
    [change] = [each for each in first.repairs if each.startswith("the Researcher changed the plan (")]
    assert "no column 'stars'" in change and change.endswith(": Ratings it is.")
    assert done.tree["e002"].status == "done"


def test_a_plan_is_revised_a_bounded_number_of_times(start: Callable[..., tuple[Run, Asked]]) -> None:
    columns = iter("abcdef")
    done, asked = start(lambda plan: broken(plan, next(columns)))
    assert len(asked) == MOST_REVISIONS == 2
    first = done.tree["e001"]
    assert first.status == "failed" and first.failure is not None and "no column 'b'" in first.failure
    assert sum("the Researcher changed the plan" in each for each in first.repairs) == MOST_REVISIONS
    assert done.tree["e002"].status == "done", "the next round is not revised"


@pytest.mark.parametrize("answer", ["none", "the same"])
def test_without_another_plan_the_experiment_fails(
    start: Callable[..., tuple[Run, Asked]], answer: str
) -> None:
    done, asked = start(lambda plan: None if answer == "none" else broken(plan))
    assert len(asked) == 1
    first = done.tree["e001"]
    assert first.status == "failed" and first.failure is not None and "no column 'stars'" in first.failure
    assert first.repairs[-1] == NO_OTHER_PLAN
    assert first.diagnosis is not None and first.diagnosis.verdict == "failed"


def test_a_person_is_asked_about_the_revised_plan_too(start: Callable[..., tuple[Run, Asked]]) -> None:
    questions: list[dict[str, Any]] = []

    def person(question: dict[str, Any]) -> str:
        questions.append(question)
        return "reject: fewer rows" if len(questions) == 2 else "accept"

    done, asked = start(
        lambda plan: plan.model_copy(update={"hypothesis": "Ratings it is."}), rounds=1, approve=person
    )
    assert len(asked) == 1 and len(questions) == 3
    first, second, third = (question["question"] for question in questions)
    assert first == third == "Carry out this plan for e001, which refines e000?"
    assert second.startswith(f"{first} It replaces a plan that could not be carried out: ")
    assert "no column 'stars'" in second and questions[1]["plan"]["hypothesis"] == "Ratings it is."
    assert "fewer rows" in questions[2]["plan"]["hypothesis"]
    assert done.tree["e001"].status == "done" and done.tree["e001"].repairs == []


def test_the_edge_is_drawn() -> None:
    drawn = build_graph().get_graph().draw_mermaid()
    assert any(line.strip().startswith("prepare -.") and "revise" in line and "plan;" in line
               for line in drawn.splitlines())  # fmt: skip
