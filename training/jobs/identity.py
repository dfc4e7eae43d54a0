"""What determines a trial's weights besides its plan: data, base model, sources, versions, arithmetic."""

from __future__ import annotations

import functools
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ...errors import TrexError
from ...files import fingerprint, hash_file, hash_folder
from ..data.build import BuiltDataset
from ..methods import method_of
from ..plan import TrainingPlan
from ..weights import weights_of
from .job import StageData, Trial

FLOAT32 = "float32"
AUTOCAST = "bfloat16-autocast"
"""Weights in float32, matrix products in bfloat16."""

_PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate")
# Instruction sets for which CPU kernels differ in their last bits.
_CPU_FLAGS = frozenset({"avx2", "avx512f", "avx512_bf16", "amx_bf16"})


def make_trial(
    plan: TrainingPlan,
    base_model: Path,
    base_model_hash: str,
    datasets: Sequence[BuiltDataset],
    seed: int,
    threads: int,
    device: str = "cpu",
) -> Trial:
    """The trial of a plan on the data set of each stage, as this machine would train it.

    `device` is 'cpu' or 'cuda'.
    """
    first, *later = (
        StageData(
            dataset=str(each.folder),
            fingerprint=each.fingerprint,
            rows=each.rows,
            total_steps=method_of(stage).total_steps(stage, each.rows),
        )
        for stage, each in zip(plan.stages, datasets, strict=True)
    )
    return Trial(
        plan=plan,
        base_model=str(base_model),
        base_model_hash=base_model_hash,
        dataset=first.dataset,
        dataset_fingerprint=first.fingerprint,
        rows=first.rows,
        total_steps=sum(each.total_steps for each in (first, *later)),
        later_stages=tuple(later),
        seed=seed,
        threads=threads,
        device=device,
        dtype=choose_dtype(device),
        environment=environment_hash(device, plan),
    )


def choose_dtype(device: str) -> str:
    """Bfloat16 autocast where the hardware multiplies bfloat16, else float32: a fact, not a measurement."""
    if device == "cpu":
        return AUTOCAST if _cpu_flags() & {"avx512_bf16", "amx_bf16"} else FLOAT32
    return AUTOCAST if _gpu()[1] >= 8.0 else FLOAT32


def environment_hash(device: str, plan: TrainingPlan | None = None) -> str:
    """Hash of the modules that train and that render rows, the libraries' versions and the kind of processor.

    With a plan, also of the installed packages that bring its method or its kind of weights. Imports none of the
    libraries. Raises TrexError if one is not installed.
    """
    installed = _installed_sources(plan) if plan is not None else []
    return fingerprint([_own_hash(device), *installed]) if installed else _own_hash(device)


@functools.cache
def _own_hash(device: str) -> str:
    try:
        versions = {package: version(package) for package in _PACKAGES}
    except PackageNotFoundError as error:
        raise TrexError(f"training needs the package {error.name}: run `make install`") from error
    hardware = sorted(_cpu_flags()) if device == "cpu" else list(_gpu())
    room = Path(__file__).parents[2]
    sources = [hash_folder(room / name, "**/*.py") for name in ("training", "evaluation/rendering")]
    sources += [hash_file(room / "evaluation" / name) for name in ("causal_models.py", "full_weights.py")]
    return fingerprint([sources, versions, platform.machine(), hardware])


def _installed_sources(plan: TrainingPlan) -> list[str]:
    """Hashes of what else determines a plan's weights: other packages that bring its method and weights, rewards."""
    used = [weights_of(plan.weights), *(method_of(stage) for stage in plan.stages)]
    ours, *packages = (module.partition(".")[0] for module in (__name__, *(type(u).__module__ for u in used)))
    found = [_package_hash(name) for name in sorted(set(packages) - {ours})]
    if any(method_of(stage).row_schema == "prompt_and_item" for stage in plan.stages):
        found.append(hash_folder(Path(__file__).parents[2] / "evaluation/metrics", "**/*.py"))
    return found


def _package_hash(name: str) -> str:
    file = sys.modules[name].__file__
    if file is None:
        raise TrexError(f"the package {name} has no file, so its trials cannot be identified")
    path = Path(file)
    return hash_folder(path.parent, "**/*.py") if path.name == "__init__.py" else hash_file(path)


@functools.cache
def _cpu_flags() -> frozenset[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux: kernels are distinguished by the machine's name alone
        return frozenset()
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return _CPU_FLAGS & set(flags.split())


@functools.cache
def _gpu() -> tuple[str, float]:
    """Name and compute capability of the first GPU, without initialising CUDA in this process."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        raise TrexError("device 'cuda' was asked for, but nvidia-smi is not on the PATH: use device 'cpu'")
    query = [tool, "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False, timeout=60)
    lines = answer.stdout.strip().splitlines()
    if answer.returncode != 0 or not lines:
        raise TrexError(f"nvidia-smi finds no GPU ({answer.stderr.strip() or 'no text'}): use device 'cpu'")
    name, _, capability = lines[0].rpartition(",")
    return name.strip(), float(capability)
