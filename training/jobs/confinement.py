"""What a training worker may touch: the libraries, its base model, its data set, its own folder. Nothing else.

Not the task's dev and test files, nor other trials, the run's evaluations and predictions, or the user's home.
Where the kernel has no Landlock, the worker runs unconfined and says so; `TREX_REQUIRE_CONFINEMENT=1` forbids that.
"""

from __future__ import annotations

import importlib.util
import os
import site
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ... import landlock, privileges
from ...errors import TrexError
from ...home import home
from .job import Trial

REQUIRE = "TREX_REQUIRE_CONFINEMENT"
"""Environment variable: with '1', a worker that cannot be confined does not train."""

SCRATCH = "tmp"
"""The worker's folder for temporary files, in its trial's folder; /tmp is shared with other processes."""

_PROGRAMS = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/opt", "/nix/store")
_FACTS = ("/etc", "/proc", "/sys")
_LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets")
# Compilers of kernels write to the user's home, which the worker cannot reach.
_CACHES = ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "CUDA_CACHE_PATH")
_ROOT = Path(__file__).parents[2]
_SHARED_MEMORY = Path("/dev/shm")


def is_required() -> bool:
    """Whether the user asked for confinement or nothing."""
    return os.environ.get(REQUIRE, "") not in ("", "0")


def check_requirement() -> None:
    """Raise TrexError if confinement is required and this kernel has none."""
    if is_required() and not landlock.abi():
        raise TrexError(
            f"{REQUIRE} is set, but this kernel can't confine workers (Landlock, Linux 5.13 or later, switched "
            "on): use another machine, or unset it and have the report say 'not confined'"
        )


def confine(trial: Trial, folder: Path) -> str:
    """Confine this process to what training this trial needs; returns the text of `landlock.describe`.

    To be called while there is one thread, before data is read. Raises TrexError if confinement is required
    and not possible.
    """
    check_requirement()
    if not landlock.abi():
        return landlock.NOT_CONFINED
    folder = folder.absolute()
    readable = list(_readable(trial, folder.parent))
    for place in (folder.parent.resolve(), home().resolve()):
        for path, _ in readable:
            # `Path.is_dir` raises for a folder that this user cannot reach.
            if os.path.isdir(path) and place.is_relative_to(path.resolve()):  # noqa: PTH112
                return _without(f"{place} lies in {path}, which the worker must read")
    scratch = folder / SCRATCH
    scratch.mkdir(exist_ok=True)
    try:
        version = landlock.restrict([*readable, *_writable(folder)])
        privileges.drop_capabilities()
    except OSError as error:
        return _without(str(error))
    _use_own_scratch(scratch)
    return landlock.describe(version, udp=not privileges.deny_sockets())


def _without(reason: str) -> str:
    if is_required():
        raise TrexError(f"the worker can't be confined, and {REQUIRE} is set: {reason}")
    print(f"{landlock.NOT_CONFINED}: {reason}", file=sys.stderr)
    return landlock.NOT_CONFINED


def _readable(trial: Trial, trials: Path) -> Iterator[tuple[Path, int]]:
    model = Path(trial.base_model).absolute()
    data = [Path(each.dataset).absolute() for each in trial.stage_data]
    if trial.start is not None:
        data.append(trial.start.folder(trials))
    models = [model, *(Path(each) for stage in trial.plan.stages for each in stage.model_folders())]
    weights = [path for folder in models for path in landlock.with_targets(folder)]
    for path in (*map(Path, _PROGRAMS), *sorted(_installation())):
        yield path, landlock.RUN
    for path in (*map(Path, _FACTS), *_own_code(), *weights, *data):
        yield path, landlock.READ


def _writable(folder: Path) -> Iterator[tuple[Path, int]]:
    yield folder, landlock.READ | landlock.WRITE
    yield folder / SCRATCH, landlock.RUN | landlock.WRITE  # compiled kernels are loaded from there
    for device in landlock.devices():
        yield device, landlock.DEVICE
    hidden = (folder.resolve(), home().resolve())
    if not any(path.is_relative_to(_SHARED_MEMORY) for path in hidden):
        yield _SHARED_MEMORY, landlock.READ | landlock.WRITE


def _installation() -> set[Path]:
    """Folders of Python and its packages, those installed in editable mode too; never a working directory."""
    paths = sysconfig.get_paths()
    found = {Path(paths[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    found |= {Path(entry) for entry in (*site.getsitepackages(), site.getusersitepackages())}
    found |= {Path(sys.executable), Path(sys.executable).resolve(), Path(sys.prefix, "pyvenv.cfg")}
    found |= {Path(prefix, "lib") for prefix in (sys.prefix, sys.base_prefix)}
    found |= {path for path in map(Path, sys.path) if path.name in ("site-packages", "dist-packages")}
    found |= {Path(entry) for entry in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if entry}
    for spec in filter(None, map(importlib.util.find_spec, _LIBRARIES)):
        found |= {Path(place) for place in spec.submodule_search_locations or ()}
    return {path for path in found if path.is_absolute()}


def _own_code() -> Iterator[Path]:
    """Our modules by name: the root of a checkout may hold anything, also the user's runs and tasks."""
    yield from sorted(_ROOT.glob("*.py"))
    yield from (_ROOT / "training", _ROOT / "evaluation")


def _use_own_scratch(scratch: Path) -> None:
    os.environ |= {"TMPDIR": str(scratch)} | {name: str(scratch / "cache") for name in _CACHES}
    tempfile.tempdir = None  # discard the folder found before
