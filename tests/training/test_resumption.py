"""A stage of every method, stopped and resumed at any step, ends in the same weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.jobs import quiet
from support.launchers import local_runner
from support.worker import dataset_of, trial_of
from trex.evaluation.base_models import resolve_model
from trex.training.jobs.job import Job, JobResult
from trex.training.methods import METHODS
from trex.training.plan import TrainingPlan
from trex.training.runners.job_runner import JobRunner

REWARDED = {"batch_size": 4, "generations": 4, "max_new_tokens": 12, "temperature": 1.3, "ended_weight": 1}
SETTINGS: dict[str, dict[str, Any]] = {
    "grpo": REWARDED,
    "rloo": REWARDED,
    "distillation": {"max_new_tokens": 4, "temperature": 0.9},
}
SFT = {"method": "sft", "max_steps": 16, "batch_size": 8, "learning_rate": 1e-2}
"""Before methods that sample answers: some end in time then, and the model differs from its teacher, the base model."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREX_HOME", str(tmp_path_factory.mktemp("home")))
        return resolve_model("tiny")


@pytest.fixture(scope="module")
def runner() -> Iterator[JobRunner]:
    runner = local_runner(1, command=None)
    yield runner
    runner.close()


def run(
    runner: JobRunner, tiny: Path, folder: Path, plan: TrainingPlan, dataset: Path, *stops: int
) -> JobResult:
    trial = trial_of(tiny, dataset, plan)
    for rung, stop in enumerate((*stops, trial.total_steps)):
        result = runner.run(Job(trial=trial, rung=rung, stop_step=stop, folder=folder), None, quiet)
    return result


@pytest.mark.parametrize("name", METHODS.own_names())
def test_resumed_at_any_step_it_ends_in_the_same_weights(
    runner: JobRunner, tiny: Path, tmp_path: Path, name: str
) -> None:
    stage = {
        "method": name,
        "max_steps": 4,
        "batch_size": 4,
        "gradient_accumulation": 2,
        "learning_rate": 1e-3,
    }
    before = [SFT] if name in SETTINGS else []
    first = 16 if before else 0
    plan = TrainingPlan.model_validate({"stages": [*before, stage | SETTINGS.get(name, {})]})
    dataset = dataset_of(METHODS.load(name).row_schema, tmp_path / "d")
    whole = run(runner, tiny, tmp_path / "a", plan, dataset)
    parts = run(runner, tiny, tmp_path / "b", plan, dataset, *(first + step for step in (1, 2, 3)))
    assert whole.adapter_hash == parts.adapter_hash
    assert (whole.curve, whole.series, whole.tokens) == (parts.curve, parts.series, parts.tokens)
    assert whole.tokens > 0 and len(whole.curve) == first + 4
    assert max(norm for step, norm in whole.series["grad_norm"] if step > first) > 0
