"""Results of jobs: in the run's own trial folders, and in a store shared between runs. Every launcher uses it.

The shared store holds a sealed folder `<trial id>/step-<n>/{adapter/, result.json}` for every finished rung. The key is
the step, not the rung's number, because runs divide one schedule into different rungs. Checkpoints are not stored: a
trial that continues after a reused rung is trained from its first step, which gives the same weights.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ...files import lock, read_regular, try_lock, write_atomic
from ...sealed_folder import create, is_sealed
from .checkpoints import remove_all
from .job import Job, JobResult
from .trial_folder import TrialFolder
from .worker_session import point_to_adapter


class JobStore:
    """Results of jobs. `reuse` is the folder of the store shared between runs; None: no shared store."""

    def __init__(self, reuse: Path | None = None) -> None:
        self._reuse = reuse

    def result(self, job: Job) -> JobResult | None:
        """The result in the job's own folder; None without one. Raises JobFailed for a lasting failure."""
        folder = TrialFolder(job.folder)
        result = folder.read_result(job)
        if result is not None:
            return result
        for failure in (folder.read_cause(job.rung), folder.read_failure(job.rung)):
            if failure is not None and failure.lasting:
                raise failure.error
        return None

    def publish(self, job: Job, result: JobResult) -> None:
        """Copy a finished rung to the shared store, unless the store contains it already."""
        place = self._place(job)
        if place is None or result.reused:
            return

        def fill(building: Path) -> None:
            shutil.copytree(TrialFolder(job.folder).adapter(job.rung), building / "adapter")
            write_atomic(building / "result.json", result.model_dump_json() + "\n")

        with lock(place.parent / ".lock"):
            if not is_sealed(place, trial=job.trial.id):
                create(place, fill, trial=job.trial.id)

    def take(self, job: Job) -> JobResult | None:
        """Copy a rung from the shared store to the job's folder.

        None if the store does not contain it, if it is damaged, or if a worker uses the job's folder.
        """
        place = self._place(job)
        if place is None or not is_sealed(place, trial=job.trial.id):
            return None
        result = JobResult.model_validate_json(read_regular(place / "result.json"))
        folder = TrialFolder(job.folder)
        held = try_lock(folder.lock_file)
        if held is None:
            return None
        with held:
            adapter = folder.adapter(job.rung)
            shutil.rmtree(adapter, ignore_errors=True)
            shutil.copytree(place / "adapter", adapter)
            point_to_adapter(folder, job.rung)
            reused = result.model_copy(update={"rung": job.rung, "reused": True, "attempts": 0})
            write_atomic(job.result_file, reused.model_dump_json() + "\n")
        return reused

    def prune(self, folder: Path, keep_adapter: bool) -> None:
        """Remove a trial's checkpoints, and its adapters unless they are kept, once its outcome is recorded.

        A pruned rung that is submitted again is taken from the shared store, or trained again.
        """
        remove_all(folder)
        if keep_adapter:
            return
        (folder / "adapter").unlink(missing_ok=True)
        for adapter in sorted(folder.glob("rungs/*/adapter")):
            shutil.rmtree(adapter)

    def _place(self, job: Job) -> Path | None:
        return None if self._reuse is None else self._reuse / job.trial.id / f"step-{job.stop_step}"
