"""A training worker without torch, for tests that kill: same files, same lock, same checkpoints, no model.

`fake_worker.py [--step-seconds S] [--checkpoint-every N] [--misbehave KIND] FOLDER RUNG STOP_STEP`.
Its weights are a hash chain over plan, rows, seed and steps: a resume that skips or repeats a step gives other weights,
a change of the code does not, so that the scores of a run without torch stay the same.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from trex.files import fingerprint, read_json, write_json
from trex.sealed_folder import seal
from trex.training.jobs.checkpoints import (
    checkpoint_folder,
    newest_sealed,
    remove_before,
    remove_unsealed,
)
from trex.training.jobs.job import JobFailed, Trial
from trex.training.jobs.worker_session import WorkerSession, work


def train(session: WorkerSession, step_seconds: float, checkpoint_every: int, misbehave: str) -> None:
    folder, trial = session.folder.path, session.job.trial
    remove_unsealed(folder)
    step = newest_sealed(folder, session.job.stop_step) or 0
    state = (
        read_json(checkpoint_folder(folder, step) / "state.json")["state"] if step else _first_state(trial)
    )
    session.update(state="training", step=step)
    hoard = []
    while step < session.job.stop_step:
        time.sleep(step_seconds)
        step += 1
        state = hashlib.sha256(f"{state}{step}".encode()).hexdigest()
        session.update(step=step, loss=1.0 / step)
        if misbehave == "die" and step == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        if misbehave == "stop" and step == 3 and session.attempts == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        if misbehave == "nan" and step == 3:
            raise JobFailed("nan_loss", "the loss is nan at step 3")
        if misbehave == "disk" and step == 3 and session.attempts == 1:
            raise OSError(28, "No space left on device")
        if misbehave == "hoard":
            hoard.append(b"x" * 40_000_000)
        if step % checkpoint_every == 0 or step == session.job.stop_step:
            checkpoint = checkpoint_folder(folder, step)
            write_json(checkpoint / "state.json", {"state": state})
            seal(checkpoint)
            remove_before(folder, step)
    session.update(state="saving")
    draft = session.folder.rung(session.job.rung) / ".adapter"
    shutil.rmtree(draft, ignore_errors=True)  # a kill may have left half of one
    draft.mkdir(parents=True)
    for part in ("adapter_config.json", "adapter_model.safetensors"):
        write_json(draft / part, {})
    write_json(draft / "adapter.json", {"trial": trial.id, "step": step, "state": state})
    curve = [(i, 1.0 / i) for i in range(1, step + 1)]
    session.finish(draft, curve=curve, train_loss=1.0 / step, tokens=step * 10)


def _first_state(trial: Trial) -> str:
    file = Path(trial.dataset) / "train.jsonl"
    rows = file.read_text(encoding="utf-8") if file.exists() else trial.dataset_fingerprint
    start = [trial.start.hash] if trial.start else []
    return fingerprint([trial.plan.model_dump(mode="json"), rows, trial.seed, *start])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--step-seconds", type=float, default=0.003)
    parser.add_argument("--checkpoint-every", type=int, default=5)
    parser.add_argument("--misbehave", default="", choices=["", "die", "stop", "nan", "disk", "hoard"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("rung", type=int)
    parser.add_argument("stop_step", type=int)
    given = parser.parse_args()
    sys.exit(
        work(
            given.folder,
            given.rung,
            given.stop_step,
            lambda session: train(session, given.step_seconds, given.checkpoint_every, given.misbehave),
        )
    )
