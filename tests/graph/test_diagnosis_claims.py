"""Tests of the claims of a diagnosis about its direction, and of diagnoses with only a verdict."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.tree import experiment as node
from trex.evaluation.failures.analysis import Comparison, FailureGroup
from trex.evaluation.results import Evaluation
from trex.evaluation.task import Prompt, Source, Task
from trex.graph.memory.insights import distil
from trex.graph.researcher.builtin.diagnosis import read_outcome, verdict_only
from trex.graph.researcher.protocol import Evidence
from trex.graph.tree.experiment import Experiment, TrialRecord
from trex.graph.tree.tree import Tree
from trex.training.plan import TrainingPlan

TASK = Task(
    name="reviews",
    requirement="Classify.",
    sources=[Source(name="reviews", path="reviews.jsonl")],
    dev=Path("dev.jsonl"),
    test=Path("test.jsonl"),
    prompt=Prompt(user="{text}", answer="{label}"),
    choices=["negative", "positive"],
)


def scored(name: str, parent: str | None, value: float) -> Experiment:
    """An experiment with a trial whose loss was still falling at its end."""
    plain = node(name, parent, value)
    assert plain.score is not None
    trial = TrialRecord(
        id=f"{name}-0",
        index=0,
        status="done",
        training=TrainingPlan(),
        rung=0,
        step=24,
        curve=[(step, 2.0 - step / 15) for step in range(24)],
        evaluation=Evaluation(id=name, split="search", scoring="choices", score=plain.score),
    )
    return plain.model_copy(update={"trials": [trial], "best_trial": trial.id})


def paired(fixed: int, regressed: int, same: int = 200) -> Comparison:
    ids = [f"i{k:03d}" for k in range(fixed + regressed + same)]
    return Comparison(
        ids=ids,
        before=[0.0] * fixed + [1.0] * (regressed + same),
        after=[1.0] * fixed + [0.0] * regressed + [1.0] * same,
        fixed=ids[:fixed],
        regressed=ids[fixed : fixed + regressed],
    )


def evidence(fixed: int, regressed: int, parent: Experiment | None = None) -> Evidence:
    return Evidence(
        TASK,
        scored("e2", "e1", 0.8),
        parent or scored("e1", "e0", 0.8),
        groups=[FailureGroup("confusion", "negative→positive 20×", 20, [])],
        comparison=paired(fixed, regressed),
    )


@pytest.mark.parametrize(
    ("fixed", "regressed", "expects"),
    [(30, 6, ["gain"]), (6, 30, ["no_gain"]), (12, 10, []), (0, 0, [])],
)
def test_a_verdict_beyond_noise_gives_a_claim(fixed: int, regressed: int, expects: list[str]) -> None:
    claims = read_outcome(evidence(fixed, regressed)).claims
    assert [claim.expects for claim in claims] == expects
    assert all(claim.direction == "learning_rate" for claim in claims)


def test_a_gain_over_the_baseline_gives_no_claim() -> None:
    found = read_outcome(evidence(30, 6, parent=scored("e0", None, 0.6)))
    assert found.verdict == "supported"
    assert found.claims == []


def test_verdict_only_is_the_diagnosis_without_causes_and_insights() -> None:
    asked = evidence(30, 6)
    reading, verdict = read_outcome(asked), verdict_only(asked)
    assert reading.causes and reading.symptoms and reading.insights and reading.claims
    nothing = {"causes": [], "symptoms": [], "insights": [], "claims": []}
    assert verdict == reading.model_copy(update=nothing)
    assert (verdict.verdict, verdict.fixed, verdict.regressed) == ("supported", 30, 6)


def test_verdict_only_reports_why_an_experiment_failed() -> None:
    failed = node("e2", "e1", None)
    verdict = verdict_only(Evidence(TASK, failed, scored("e1", "e0", 0.8)))
    assert (verdict.verdict, verdict.summary) == ("failed", "Failed: the loss became NaN")
    assert verdict.symptoms == [] and verdict.insights == []
    assert read_outcome(Evidence(TASK, failed, scored("e1", "e0", 0.8))).insights != []


def test_claims_of_two_experiments_are_one_insight_with_evidence() -> None:
    grown = [scored("e0", None, 0.5), scored("e1", "e0", 0.6)]
    for number in (2, 3):
        found = scored(f"e{number}", f"e{number - 1}", 0.6 + 0.15 * (number - 1))
        asked = Evidence(TASK, found, grown[-1], comparison=paired(30, 6))
        grown.append(found.model_copy(update={"diagnosis": read_outcome(asked)}))
    [insight] = distil(Tree(grown))
    assert (insight.direction, insight.expects, insight.origin) == ("learning_rate", "gain", "e2, e3")
    assert insight.evidence_for == ("e3",)
    assert insight.evidence_against == ()
