"""The training worker: one process, one job. `python -m trex.training.jobs.worker TRIAL_FOLDER RUNG STOP_STEP`.

The trial's plan.json says what to train; the result, or the reason there is none, is left in the folder.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from ..methods import method_of
from ..weights import weights_of
from .checkpoints import remove_unsealed
from .identity import environment_hash
from .job import JobFailed
from .resource_class import resource_class_here
from .stage_run import StageRun, joined, stage_runs
from .worker_session import WorkerSession, work


def main(folder: Path, rung: int, stop_step: int) -> int:
    """Run one job; returns the exit status: 0 done, 1 failed (see failure.json), 75 another worker has it."""
    return work(folder, rung, stop_step, _train)


def _train(session: WorkerSession) -> None:
    trial, folder = session.job.trial, session.folder.path
    if environment_hash(trial.plan) != trial.environment:
        raise JobFailed(
            "crash",
            "the trial was planned with another version of TREX or its libraries, "
            "and would give other weights than its id says: start a new run",
        )
    if (here := resource_class_here(trial.device)) != trial.resource_class:
        raise JobFailed(
            "crash",
            f"the trial is for {trial.resource_class or 'a processor that an older run did not name'}, and this "
            f"machine is {here}: choose nodes of that kind, or start a new run with --runner …:class={here}",
        )
    if trial.start is not None and (fault := trial.start.fault(folder.parent)):
        raise JobFailed("start_weights", fault)
    remove_unsealed(folder)
    runs = list(stage_runs(session))
    try:
        outcomes = [_train_stage(run) for run in runs]
    except BaseException:
        remove_unsealed(folder)  # on a full disk this frees the room in which the failure is written
        raise
    session.update(state="saving")
    weights, exported = weights_of(trial.plan.weights), session.folder.rung(session.job.rung) / ".adapter"
    weights.export(runs[-1].checkpoint, exported, Path(trial.base_model))
    weights.verify(exported)
    session.finish(exported, **joined(runs, outcomes))


def _train_stage(run: StageRun) -> dict[str, Any]:
    """The stage's outcome: an earlier job's, if it ended the stage."""
    outcome = run.outcome()
    if outcome is None:
        run.folder.mkdir(exist_ok=True)
        train = resolve_name(method_of(run.stage).trainer)
        outcome = train(run)
        run.keep(outcome)
    return outcome


if __name__ == "__main__":
    status = main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    sys.stdout.flush()
    sys.stderr.flush()
    # Past the interpreter's teardown: nothing is left to do, and torch's takes long.
    os._exit(status)
