"""Trials that continue from the weights of another trial: `start: parent`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.jobs import killed_once, quiet
from support.launchers import local_runner
from support.worker import pair_rows, trial_of, write_rows
from trex.errors import PlanError
from trex.evaluation.base_models import resolve_model
from trex.training.jobs.job import Job, JobFailed, JobResult, StartWeights, Trial
from trex.training.jobs.trial_folder import TrialFolder
from trex.training.plan import TrainingPlan
from trex.training.runners.job_runner import JobRunner
from trex.training.weights import continued
from trex.training.weights.full import FullWeights
from trex.training.weights.lora import LoraWeights

SFT = {"method": "sft", "max_steps": 6, "batch_size": 4}
DPO = {"method": "dpo", "max_steps": 6, "batch_size": 4}
WEIGHTS: dict[str, dict[str, Any]] = {"lora": {"dropout": 0.1, "targets": "all-linear"}, "full": {}}
RATES = {"lora": 5e-3, "full": 1e-4}


@dataclass(frozen=True)
class Place:
    """Trials on the tiny model in one folder."""

    runner: JobRunner
    tiny: Path
    dataset: Path
    trials: Path

    def trial(self, kind: str, *stages: dict[str, Any], start: StartWeights | None = None) -> Trial:
        plan = TrainingPlan.model_validate(
            {
                "start": "parent" if start else "base",
                "weights": {"kind": kind, **WEIGHTS[kind]},
                "stages": [{"learning_rate": RATES[kind], **stage} for stage in stages],
            }
        )
        return trial_of(self.tiny, self.dataset, plan, start=start)

    def run(self, trial: Trial) -> JobResult:
        job = Job(trial=trial, rung=0, stop_step=trial.total_steps, folder=self.trials / trial.id)
        return self.runner.run(job, None, quiet)

    def trained(self, trial: Trial) -> StartWeights:
        return StartWeights(trial=trial.id, rung=0, hash=self.run(trial).adapter_hash)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("starts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREX_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("TREX_CHECKPOINT_SECONDS", "0.02")
        tiny, runner = resolve_model("tiny"), local_runner(2, command=None)
        dataset = write_rows(folder / "pairs", pair_rows(40))
        runner._launcher.start()
        yield Place(runner, tiny, dataset, folder / "trials")
        runner.close()


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_it_gives_the_weights_of_one_trial_with_both_stages(place: Place, kind: str) -> None:
    """Under confinement, where the kernel has it, the worker reads these weights beside its own folder."""
    whole = place.run(place.trial(kind, SFT, DPO))
    parent = place.trial(kind, SFT)
    child = place.run(place.trial(kind, DPO, start=place.trained(parent)))
    assert child.adapter_hash == whole.adapter_hash
    assert child.curve == [(step - 6, loss) for step, loss in whole.curve[6:]]
    assert child.adapter_hash != place.run(place.trial(kind, DPO)).adapter_hash


def test_killed_it_gives_the_same_bits(place: Place, tmp_path: Path) -> None:
    child = place.trial("lora", DPO, start=place.trained(place.trial("lora", SFT)))
    undisturbed = place.run(child)
    start = child.start
    assert start is not None
    elsewhere = Place(place.runner, place.tiny, place.dataset, tmp_path)
    assert elsewhere.trained(place.trial("lora", SFT)) == start
    with killed_once(tmp_path / child.id, 2) as kills:
        result = elsewhere.run(child)
    assert kills and result.attempts == 2 and result.adapter_hash == undisturbed.adapter_hash


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_damaged_weights_are_one_line(place: Place, tmp_path: Path, damage: str) -> None:
    here = Place(place.runner, place.tiny, place.dataset, tmp_path)
    start = here.trained(here.trial("lora", SFT))
    folder = start.folder(tmp_path)
    assert start.fault(tmp_path) is None
    if damage == "changed":
        with (folder / "adapter_model.safetensors").open("r+b") as file:
            file.seek(-4, 2)
            file.write(b"\x01\x02\x03\x04")
    else:
        (folder / "adapter_model.safetensors").unlink()
        (folder / "adapter_config.json").unlink()
        folder.rmdir()
    child = here.trial("lora", DPO, start=start)
    with pytest.raises(JobFailed) as failure:
        here.run(child)
    what = "not what was scored" if damage == "changed" else "missing"
    assert failure.value.cause == "start_weights" and what in failure.value.message
    assert "\n" not in failure.value.message and str(folder) in failure.value.message
    again = TrialFolder(tmp_path / child.id).read_failure(0)
    assert again is not None and again.cause == "start_weights"


def test_the_hash_of_the_weights_is_part_of_the_id(place: Place) -> None:
    start = StartWeights(trial="a", rung=0, hash="1")
    trial = place.trial("lora", DPO, start=start)
    assert trial.id == trial.model_copy(update={"start": StartWeights(trial="b", rung=3, hash="1")}).id
    assert trial.id != trial.model_copy(update={"start": StartWeights(trial="a", rung=0, hash="2")}).id
    base = place.trial("lora", DPO)
    assert base.id != trial.id and trial.plan.effective()["start"] == "parent"
    # Trials of runs from before there was a start keep their ids.
    assert Trial.model_validate(base.model_dump(exclude={"start"})).id == base.id
    for wrong in (base.plan, trial.plan):
        with pytest.raises(PlanError, match="to continue from"):
            trial_of(place.tiny, place.dataset, wrong, start=start if wrong is base.plan else None)


def test_weights_continue_with_the_settings_that_made_them() -> None:
    earlier = LoraWeights(rank=4, alpha=8, targets="attention", dropout=0.0)
    assert continued(LoraWeights(rank=16, dropout=0.2), earlier) == LoraWeights(
        rank=4, alpha=8, targets="attention", dropout=0.2
    )
    assert continued(FullWeights(embeddings=False), FullWeights()) == FullWeights(embeddings=False)
    with pytest.raises(PlanError, match="kind 'full' can't continue from the parent's of kind 'lora'"):
        continued(FullWeights(), earlier)
    plan = TrainingPlan(start="parent", weights=earlier)
    assert plan.with_weights(dropout=0.3).start == "parent" and plan.with_weights(rank=8).start == "base"
