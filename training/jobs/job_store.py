"""Results that outlive a run: the adapter of every finished rung, kept under trial and step.

`<store>/<trial id>/step-<n>/{adapter/, result.json}`. The key is the step, not the rung's number, because
runs cut one schedule into different rungs. Checkpoints are not kept: a trial that goes on from a reused rung
is trained from its first step, which gives the same weights.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from ...files import hash_folder, try_lock, write_atomic
from .job import Job, JobResult
from .trial_folder import TrialFolder
from .worker_session import point_to_adapter


def publish(job: Job, result: JobResult, store: Path) -> None:
    """Put a finished rung into the store, whole or not at all. What is there already stays."""
    place = _place(job, store)
    if place.exists() or result.reused:
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=place.parent, prefix=".draft-"))
    try:
        shutil.copytree(TrialFolder(job.folder).adapter(job.rung), draft / "adapter")
        write_atomic(draft / "result.json", result.model_dump_json() + "\n")
        draft.rename(place)
    except FileExistsError:
        return  # another run published the same
    except OSError as error:
        if not place.exists():
            raise error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def take(job: Job, store: Path) -> JobResult | None:
    """Copy a rung from the store into the job's folder; None if absent, damaged, or a worker is busy."""
    place = _place(job, store)
    if not (place / "result.json").exists():
        return None
    result = JobResult.model_validate_json((place / "result.json").read_bytes())
    if result.trial != job.trial.id or hash_folder(place / "adapter") != result.adapter_hash:
        shutil.rmtree(place)  # damaged: the job is run, and published afresh
        return None
    folder = TrialFolder(job.folder)
    lock = try_lock(folder.lock_file)
    if lock is None:
        return None
    with lock:
        adapter = folder.adapter(job.rung)
        shutil.rmtree(adapter, ignore_errors=True)
        shutil.copytree(place / "adapter", adapter)
        point_to_adapter(folder, job.rung)
        reused = result.model_copy(update={"rung": job.rung, "reused": True, "attempts": 0})
        write_atomic(job.result_file, reused.model_dump_json() + "\n")
    return reused


def _place(job: Job, store: Path) -> Path:
    return store / job.trial.id / f"step-{job.stop_step}"
