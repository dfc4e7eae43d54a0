"""Trials of several stages: each goes on from the weights of the one before, killed or not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.jobs import killed_once, quiet
from support.launchers import local_runner
from support.worker import pair_rows, trial_of, write_rows
from trex.evaluation.base_models import resolve_model
from trex.training.jobs.job import Job, JobResult, Trial
from trex.training.jobs.job_store import JobStore
from trex.training.plan import TrainingPlan
from trex.training.runners.job_runner import JobRunner

SFT = {"method": "sft", "max_steps": 6, "batch_size": 4, "learning_rate": 5e-3}
DPO = {"method": "dpo", "max_steps": 6, "batch_size": 4, "learning_rate": 1e-3}


def plan_of(kind: str, *stages: dict[str, Any]) -> TrainingPlan:
    weights = {"kind": kind} | ({"dropout": 0.1} if kind == "lora" else {})
    return TrainingPlan.model_validate({"weights": weights, "stages": stages})


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREX_HOME", str(tmp_path_factory.mktemp("home")))
        return resolve_model("tiny")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("pairs"), pair_rows(40))


@pytest.fixture(scope="module")
def runner() -> Iterator[JobRunner]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREX_CHECKPOINT_SECONDS", "0.02")
        runner = local_runner(2, command=None)
    runner._launcher.start()
    yield runner
    runner.close()


def run(runner: JobRunner, trial: Trial, folder: Path, *stops: int) -> JobResult:
    for rung, stop in enumerate((*stops, trial.total_steps)):
        result = runner.run(Job(trial=trial, rung=rung, stop_step=stop, folder=folder), None, quiet)
    return result


@pytest.fixture(scope="module")
def undisturbed(
    runner: JobRunner, tiny: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> JobResult:
    return run(runner, trial_of(tiny, dataset, plan_of("lora", SFT, DPO)), tmp_path_factory.mktemp("whole"))


def test_a_stage_goes_on_from_the_one_before(
    runner: JobRunner, tiny: Path, dataset: Path, undisturbed: JobResult, tmp_path: Path
) -> None:
    alone = run(runner, trial_of(tiny, dataset, plan_of("lora", SFT)), tmp_path / "sft")
    assert undisturbed.curve[:6] == alone.curve
    assert [step for step, _ in undisturbed.curve] == list(range(1, 13))
    assert undisturbed.curve[6][1] == pytest.approx(0.6931, abs=1e-3), (
        "the reference is the stage's beginning"
    )
    assert undisturbed.figures["rewards/margins"] > 0 and undisturbed.tokens > alone.tokens
    direct = run(runner, trial_of(tiny, dataset, plan_of("lora", DPO)), tmp_path / "dpo")
    assert direct.adapter_hash != undisturbed.adapter_hash != alone.adapter_hash


@pytest.mark.parametrize("stops", [(3, 9), (6,)], ids=["within the stages", "between them"])
def test_rungs_do_not_change_the_weights(
    runner: JobRunner,
    tiny: Path,
    dataset: Path,
    undisturbed: JobResult,
    tmp_path: Path,
    stops: tuple[int, ...],
) -> None:
    result = run(runner, trial_of(tiny, dataset, plan_of("lora", SFT, DPO)), tmp_path, *stops)
    assert result.adapter_hash == undisturbed.adapter_hash
    assert (result.curve, result.tokens) == (undisturbed.curve, undisturbed.tokens)
    JobStore().prune(tmp_path, keep_adapter=False)
    assert not list(tmp_path.rglob("*.safetensors")) and not list(tmp_path.glob("stage-*"))


@pytest.mark.parametrize("from_step", [1, 7], ids=["in the first stage", "in the second"])
def test_killed_in_a_stage_it_gives_the_same_bits(
    runner: JobRunner, tiny: Path, dataset: Path, undisturbed: JobResult, tmp_path: Path, from_step: int
) -> None:
    trial = trial_of(tiny, dataset, plan_of("lora", SFT, DPO))
    with killed_once(tmp_path, from_step) as kills:
        result = run(runner, trial, tmp_path)
    assert kills and result.attempts == 2
    assert result.adapter_hash == undisturbed.adapter_hash and result.curve == undisturbed.curve


def test_each_stage_reads_its_own_data_set(
    runner: JobRunner, tiny: Path, dataset: Path, undisturbed: JobResult, tmp_path: Path
) -> None:
    """Under confinement too, which lets the worker read the data sets of its stages and nothing beside them."""
    trial = trial_of(tiny, dataset, plan_of("lora", SFT, DPO))
    other = write_rows(tmp_path / "other", pair_rows(40))
    [later] = trial.later_stages
    moved = trial.model_copy(update={"later_stages": (later.model_copy(update={"dataset": str(other)}),)})
    assert run(runner, moved, tmp_path / "trials" / moved.id).adapter_hash == undisturbed.adapter_hash


def test_whole_models_in_stages(runner: JobRunner, tiny: Path, dataset: Path, tmp_path: Path) -> None:
    trial = trial_of(tiny, dataset, plan_of("full", SFT, DPO | {"learning_rate": 1e-4}))
    whole, parts = run(runner, trial, tmp_path / "a"), run(runner, trial, tmp_path / "b", 4, 8)
    assert whole.adapter_hash == parts.adapter_hash
    assert whole.curve[6][1] == pytest.approx(0.6931, abs=1e-3)


def test_the_data_of_every_stage_is_part_of_the_id(tiny: Path, dataset: Path) -> None:
    trial = trial_of(tiny, dataset, plan_of("lora", SFT, DPO))
    [later] = trial.later_stages
    other = trial.model_copy(update={"later_stages": (later.model_copy(update={"fingerprint": "other"}),)})
    moved = trial.model_copy(update={"later_stages": (later.model_copy(update={"dataset": "elsewhere"}),)})
    assert other.id != trial.id == moved.id
    assert [each.total_steps for each in trial.stage_data] == [6, 6] and trial.total_steps == 12
