"""`trex doctor --runner NAME`: a small job on the launcher, and what it found where it ran."""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ...errors import TrexError
from ...landlock import NOT_CONFINED
from ...training.jobs.confinement import is_required
from ...training.jobs.identity import environment_hash
from ...training.jobs.job import JobFailed, JobResult, Resources
from ...training.jobs.job_store import JobStore
from ...training.jobs.resource_class import resource_class_here
from ...training.runners import LAUNCHERS
from ...training.runners.job_runner import JobRunner
from ...training.runners.probe import PROBE, ProbeReport, probe_job, read_report
from ...training.runners.protocol import Launcher, LauncherOptions
from .doctor import MachineCheck
from .runner_choice import choose_runner, launcher_settings

_PATIENCE = 120.0
_PROBE_SECONDS = 10.0
_MEMORY_MB = 1024


def check_runner(text: str, patience: float = _PATIENCE) -> list[MachineCheck]:
    """Submit a 10-second probe and wait up to `patience` seconds for it. Raises InputError for wrong settings.

    Its files lie in a new folder under the working directory, as a run's do, so that a folder that the nodes do not
    share is found out.
    """
    chosen = choose_runner(text)
    threads: int = chosen.get("threads") or 1
    devices: int = chosen["devices"] if chosen.get("device") == "cuda" else 0
    settings = launcher_settings(chosen["launcher"], chosen["launcher_settings"])
    options = LauncherOptions(slots=1, threads=threads, settings=settings, command=PROBE)
    launcher = LAUNCHERS.load(chosen["launcher"])(options)
    runner = JobRunner(launcher, JobStore())
    # A cold start of the libraries on a slow shared disk is not the probe's ten seconds.
    resources = Resources(devices=devices, memory_mb=_MEMORY_MB, seconds=patience)
    with tempfile.TemporaryDirectory(
        prefix=".trex-probe-", dir=Path.cwd(), ignore_cleanup_errors=True
    ) as place:
        job = probe_job(Path(place), resources, threads)
        begun = time.monotonic()
        try:
            checks = list(_nodes(launcher))
            result = runner.run(job, time.time() + patience, lambda status: None)
            seconds = time.monotonic() - begun
            checks += _report(read_report(job), result, chosen.get("resource_class", ""), seconds)
        except (JobFailed, TrexError) as error:
            log = (launcher.logs(job).strip().splitlines() or ["empty"])[-1][:200]
            return [MachineCheck("probe", False, f"{error}; end of its log: {log}")]
        finally:
            runner.cancel()
            runner.close()
    return checks


def _nodes(launcher: Launcher) -> Iterator[MachineCheck]:
    nodes = launcher.devices()
    yield MachineCheck("nodes", bool(nodes), f"{len(nodes)} that take jobs")
    for node in nodes[:8]:
        detail = f"{node.cpus} cores, {node.gpus} GPUs, {node.memory_mb >> 10} GiB"
        yield MachineCheck("node", True, f"{node.name}: {detail}")


def _report(report: ProbeReport, result: JobResult, wanted: str, seconds: float) -> Iterator[MachineCheck]:
    late = (
        "" if seconds <= _PROBE_SECONDS else f", more than {_PROBE_SECONDS:.0f} s: jobs wait or start slowly"
    )
    yield MachineCheck("probe", True, f"ran on {report.node['name']}, {seconds:.1f} s{late}")
    found, planned = (
        report.resource_class,
        wanted or resource_class_here(report.resource_class.partition("/")[0]),
    )
    same = found == planned
    yield MachineCheck("class", same, found if same else f"{found}, planned {planned}: set class={found}")
    versions = report.environment == environment_hash()
    detail = (
        "as on this machine"
        if versions
        else "other sources or library versions: install the same on the nodes"
    )
    yield MachineCheck("environment", versions, detail)
    python = report.python == platform.python_version()
    yield MachineCheck(
        "python", True, report.python + ("" if python else f" (here {platform.python_version()})")
    )
    confined = result.confinement != NOT_CONFINED
    yield MachineCheck("confinement", confined or not is_required(), result.confinement)
