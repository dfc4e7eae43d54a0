"""A job that trains nothing and says what the node is: `python -m trex.training.runners.probe FOLDER RUNG STOP_STEP`.

It goes the way of a trial: the launcher, the node, the lock, the confinement, the result in the shared folder.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ...files import read_json, write_json
from ..jobs.identity import environment_hash
from ..jobs.job import Job, Resources, Trial
from ..jobs.resource_class import resource_class_here
from ..jobs.worker_session import WorkerSession, work
from ..plan import TrainingPlan
from .this_node import this_node

_REPORT = "probe.json"
PROBE = (sys.executable, "-m", __name__ if __name__ != "__main__" else "trex.training.runners.probe")


class ProbeReport(BaseModel):
    """What the probe found where it ran."""

    node: dict[str, Any]
    resource_class: str
    environment: str
    python: str


def probe_job(folder: Path, resources: Resources, threads: int) -> Job:
    """The job of a probe, in an empty folder that the nodes share with this machine."""
    trial = Trial(
        plan=TrainingPlan(),
        base_model=str(folder / "none"),
        base_model_hash="probe",
        dataset=str(folder / "none"),
        dataset_fingerprint="probe",
        rows=0,
        total_steps=1,
        seed=0,
        threads=threads,
        device="cuda" if resources.devices else "cpu",
        environment="probe",
        resources=resources,
    )
    return Job(trial=trial, rung=0, stop_step=1, folder=folder / trial.id)


def read_report(job: Job) -> ProbeReport:
    """The report of a probe that has ended."""
    return ProbeReport.model_validate(read_json(job.folder / "adapter" / _REPORT))


def _look(session: WorkerSession) -> None:
    report = ProbeReport(
        node=dataclasses.asdict(this_node()),
        resource_class=resource_class_here(session.job.trial.device),
        environment=environment_hash(),
        python=sys.version.split()[0],
    )
    found = session.folder.rung(session.job.rung) / ".adapter"
    shutil.rmtree(found, ignore_errors=True)
    write_json(found / _REPORT, report.model_dump())
    session.finish(found, curve=[], train_loss=0.0)


if __name__ == "__main__":
    status = work(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), _look)
    sys.stdout.flush()
    os._exit(status)
