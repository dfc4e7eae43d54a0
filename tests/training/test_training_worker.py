"""The training worker on a tiny model: same weights whatever happens, and failures that name their cause."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.jobs import quiet
from support.launchers import local_runner
from support.plans import training_plan
from support.worker import make_rows, trial_of, write_rows
from trex.evaluation.base_models import resolve_model
from trex.landlock import abi, describe
from trex.sealed_folder import seal
from trex.training.jobs.checkpoints import newest_sealed, remove_unsealed
from trex.training.jobs.identity import environment_hash
from trex.training.jobs.job import Job, JobFailed, JobResult, Trial
from trex.training.jobs.resource_class import AUTOCAST, FLOAT32
from trex.training.jobs.stage_run import StageRun
from trex.training.jobs.trial_folder import TrialFolder
from trex.training.methods.row_order import training_order
from trex.training.runners.job_runner import JobRunner
from trex.training.runners.worker_starter import ForkServer

NOISY = training_plan(
    max_steps=16,
    batch_size=4,
    gradient_accumulation=2,
    dropout=0.2,
    neftune_noise_alpha=5.0,
    weight_decay=0.01,
    lr_scheduler_type="cosine",
    max_length=128,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREX_HOME", str(tmp_path_factory.mktemp("home")))
        return resolve_model("tiny")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("dataset"), make_rows(40))


@pytest.fixture(scope="module")
def runner() -> Iterator[JobRunner]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREX_CHECKPOINT_SECONDS", "0.05")
        runner = local_runner(2, command=None)
    runner._launcher.start()
    yield runner
    runner.close()


def run(
    runner: JobRunner, trial: Trial, folder: Path, stop_step: int | None = None, rung: int = 0
) -> JobResult:
    job = Job(trial=trial, rung=rung, stop_step=stop_step or trial.total_steps, folder=folder)
    return runner.run(job, None, quiet)


@pytest.fixture(scope="module")
def undisturbed(
    runner: JobRunner, model: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[JobResult, Path]:
    folder = tmp_path_factory.mktemp("undisturbed")
    return run(runner, trial_of(model, dataset, NOISY), folder), folder


def test_the_same_trial_gives_the_same_bits(
    runner: JobRunner, model: Path, dataset: Path, undisturbed: tuple[JobResult, Path], tmp_path: Path
) -> None:
    again = run(runner, trial_of(model, dataset, NOISY), tmp_path / "again")
    other = run(runner, trial_of(model, dataset, NOISY, seed=4), tmp_path / "other")
    assert again.adapter_hash == undisturbed[0].adapter_hash
    assert other.adapter_hash != undisturbed[0].adapter_hash
    assert again.curve == undisturbed[0].curve and len(again.curve) == 16
    assert again.tokens == undisturbed[0].tokens > 0


def test_rungs_do_not_change_the_weights(
    runner: JobRunner, model: Path, dataset: Path, undisturbed: tuple[JobResult, Path], tmp_path: Path
) -> None:
    trial = trial_of(model, dataset, NOISY)
    first = run(runner, trial, tmp_path, stop_step=3)
    second = run(runner, trial, tmp_path, stop_step=7, rung=1)
    last = run(runner, trial, tmp_path, rung=2)
    assert len({first.adapter_hash, second.adapter_hash, last.adapter_hash}) == 3
    assert last.adapter_hash == undisturbed[0].adapter_hash
    assert (last.curve, last.tokens) == (undisturbed[0].curve, undisturbed[0].tokens)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-16"]


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_moments_it_gives_the_same_bits(
    seed: int,
    runner: JobRunner,
    model: Path,
    dataset: Path,
    undisturbed: tuple[JobResult, Path],
    tmp_path: Path,
) -> None:
    """Killed once at any moment of its training, and once after a checkpoint, from which it goes on."""
    chance, ended, kills = random.Random(seed), threading.Event(), 0
    folder = TrialFolder(tmp_path)

    def kill_twice() -> None:
        nonlocal kills
        while kills < 2 and not ended.wait(0.001):
            status = folder.read_status()
            if status is None or status.state != "training" or status.attempts != kills + 1:
                continue
            if kills == 1 and newest_sealed(tmp_path, 16) is None:
                continue
            time.sleep(chance.uniform(0, 0.1))
            if folder.locked():
                os.kill(status.pid, signal.SIGKILL)
                kills += 1

    killer = threading.Thread(target=kill_twice)
    killer.start()
    result = run(runner, trial_of(model, dataset, NOISY), tmp_path)
    ended.set()
    killer.join()
    assert kills > 0
    assert result.attempts == kills + 1
    assert result.adapter_hash == undisturbed[0].adapter_hash
    assert result.curve == undisturbed[0].curve


def test_a_job_starts_fast_and_a_dead_fork_server_is_replaced(
    runner: JobRunner, model: Path, dataset: Path, undisturbed: tuple[JobResult, Path], tmp_path: Path
) -> None:
    starter = runner._launcher._starter
    assert isinstance(starter, ForkServer) and starter._server is not None
    # A fork copies no threads: any lock one of them holds would stay locked in the worker for ever.
    assert psutil.Process(starter._server.pid).num_threads() == 1
    starter._server.kill()
    assert run(runner, trial_of(model, dataset, NOISY), tmp_path).adapter_hash == undisturbed[0].adapter_hash
    assert undisturbed[0].load_seconds < 5


def test_what_lies_in_the_folder(undisturbed: tuple[JobResult, Path], model: Path) -> None:
    _, folder = undisturbed
    adapter = folder / "adapter"
    assert sorted(path.name for path in adapter.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == model.name
    assert str(folder.parent) not in (adapter / "adapter_config.json").read_text()
    # Pickled training arguments would be code to whoever loads them.
    assert not list(folder.rglob("*.bin"))
    status = TrialFolder(folder).read_status()
    assert status is not None and (status.state, status.step, status.attempts) == ("done", 16, 1)
    assert undisturbed[0].confinement == describe(abi()), "the real libraries work under confinement"


def test_it_learns_and_the_adapter_loads(
    runner: JobRunner, model: Path, dataset: Path, tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    plan = training_plan(max_steps=40, batch_size=8, learning_rate=2e-2, layers="upper_half", rank=16)
    result = run(runner, trial_of(model, dataset, plan), tmp_path)
    assert result.train_loss < 0.5 * result.curve[0][1]
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), tmp_path / "adapter")
    names = [name for name, _ in loaded.named_parameters() if "lora" in name]
    assert {name.split(".layers.")[1].split(".")[0] for name in names} == {"1"}


def test_a_damaged_checkpoint_does_not_count(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "optimizer.pt").write_bytes(b"state")
        if step != 15:
            seal(tmp_path / f"checkpoint-{step}")
    assert newest_sealed(tmp_path, 20) == 10
    assert newest_sealed(tmp_path, 9) == 5
    (tmp_path / "checkpoint-10" / "optimizer.pt").unlink()
    assert newest_sealed(tmp_path, 20) == 5
    remove_unsealed(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-5"]


def fails(runner: JobRunner, trial: Trial, folder: Path) -> JobFailed:
    with pytest.raises(JobFailed) as failed:
        run(runner, trial, folder)
    assert "\n" not in failed.value.message
    return failed.value


def test_a_loss_that_is_not_a_number(runner: JobRunner, model: Path, dataset: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    broken.mkdir()
    for file in model.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    failure = fails(runner, trial_of(broken, dataset, NOISY), tmp_path / "trial")
    assert failure.cause == "nan_loss" and "step 1" in failure.message


def test_rows_that_are_too_long(runner: JobRunner, model: Path, tmp_path: Path) -> None:
    rows = make_rows(10)
    for row in rows[:4]:
        row["prompt"] = [{"role": "user", "content": "film " * 60}]
    dataset = write_rows(tmp_path / "some", rows)
    plan = training_plan(max_steps=2, batch_size=2, max_length=64)
    assert run(runner, trial_of(model, dataset, plan, rows=10), tmp_path / "a").rows_without_loss == 4
    dataset = write_rows(tmp_path / "all", rows[:4])
    assert fails(runner, trial_of(model, dataset, plan, rows=4), tmp_path / "b").cause == "too_long"
    dataset = write_rows(tmp_path / "none", [])
    assert fails(runner, trial_of(model, dataset, plan, rows=0), tmp_path / "c").cause == "empty"


def test_other_failures_are_a_crash_with_a_log(
    runner: JobRunner, model: Path, dataset: Path, tmp_path: Path
) -> None:
    failure = fails(runner, trial_of(model, tmp_path / "nowhere", NOISY), tmp_path / "a")
    assert failure.cause == "crash" and "nowhere" in failure.message
    assert "Traceback" in (tmp_path / "a" / "log.txt").read_text()
    stale = trial_of(model, dataset, NOISY).model_copy(update={"environment": "of another day"})
    assert "start a new run" in fails(runner, stale, tmp_path / "b").message
    other = trial_of(model, dataset, NOISY).model_copy(update={"resource_class": "cpu/z80/float32"})
    assert "the trial is for cpu/z80/float32" in fails(runner, other, tmp_path / "c").message


@pytest.mark.parametrize("dtype", [FLOAT32, AUTOCAST])
def test_the_selected_loss_is_trls_own(model: Path, dataset: Path, tmp_path: Path, dtype: str) -> None:
    """Same loss and gradients as TRL's path, alone and as a part of an accumulated step."""
    import torch
    from trex.training.methods import sft_trainer as module

    plan = training_plan(max_steps=2, batch_size=6, max_length=128)
    trial = trial_of(model, dataset, plan).model_copy(update={"dtype": dtype})
    session: Any = SimpleNamespace(job=SimpleNamespace(trial=trial))
    run = StageRun(session, plan.stage, trial.stage_data[0], tmp_path, 2)
    trainer: Any = module.prepare(run).trainer
    batch = next(iter(trainer.get_train_dataloader()))
    tolerance = 1e-5 if dtype == FLOAT32 else 2e-2
    for items in (None, torch.tensor(100)):
        outcomes = []
        for selects in (True, False):
            trainer._selects_logits = selects
            trainer.model.zero_grad()
            # TRL's forward is wrapped in autocast by `train` only.
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == AUTOCAST):
                loss = trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=items)
            loss.backward()
            gradient = torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None])
            outcomes.append((loss.item(), gradient))
        assert outcomes[0][0] == pytest.approx(outcomes[1][0], rel=tolerance)
        assert torch.allclose(
            outcomes[0][1], outcomes[1][1], atol=tolerance * outcomes[1][1].abs().max().item()
        )


@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=40),
    batches=st.integers(1, 60),
    batch_size=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_every_row_comes_equally_often(lengths: list[int], batches: int, batch_size: int, seed: int) -> None:
    order = training_order(lengths, batches, batch_size, seed)
    assert len(order) == batches * batch_size
    counts = [order.count(row) for row in range(len(lengths))]
    assert max(counts) - min(counts) <= 1
    assert order == training_order(lengths, batches, batch_size, seed)


def test_rows_of_a_length_share_batches() -> None:
    lengths = [i % 50 + 1 for i in range(512)]
    order = training_order(lengths, 64, 8, 1)
    padded = sum(8 * max(lengths[row] for row in order[i : i + 8]) for i in range(0, 512, 8))
    assert padded < 1.1 * sum(lengths)
    assert [lengths[row] for row in order] != sorted(lengths)


def test_identity_covers_what_determines_weights_and_loads_nothing(model: Path, dataset: Path) -> None:
    trial = trial_of(model, dataset, NOISY)
    assert trial.id == trial_of(model, dataset, NOISY).id
    moved = trial.model_copy(update={"base_model": "elsewhere", "dataset": "elsewhere"})
    assert moved.id == trial.id
    for change in (
        {"seed": 9},
        {"threads": 9},
        {"environment": "x"},
        {"dtype": "x"},
        {"base_model_hash": "x"},
    ):
        assert trial.model_copy(update=change).id != trial.id
    code = (
        "import sys; from trex.training.jobs.identity import environment_hash; print(environment_hash());"
        "assert not {'torch', 'transformers', 'trl', 'peft'} & set(sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == environment_hash()
