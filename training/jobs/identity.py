"""What determines a trial's weights besides its plan: data, base model, sources, versions, resource class."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ...errors import PlanError, TrexError
from ...files import fingerprint, hash_file, hash_folder
from ..data.build import BuiltDataset
from ..methods import method_of
from ..plan import TrainingPlan
from ..weights import weights_of
from .job import NO_LIMITS, Resources, StageData, StartWeights, Trial
from .resource_class import dtype_of, resource_class_here

_PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate")


def make_trial(
    plan: TrainingPlan,
    base_model: Path,
    base_model_hash: str,
    datasets: Sequence[BuiltDataset],
    seed: int,
    threads: int,
    device: str = "cpu",
    resource_class: str = "",
    resources: Resources = NO_LIMITS,
    start: StartWeights | None = None,
) -> Trial:
    """The trial of a plan on the data set of each stage, as hardware of `resource_class` would train it.

    `device` is 'cpu' or 'cuda'. Without a resource class: this machine's. Raises InputError for a class of another
    device, PlanError unless `start` is given exactly if the plan asks for it.
    """
    if (plan.start == "parent") != (start is not None):
        given = "no weights" if start is None else f"the weights of {start.trial}"
        raise PlanError(f"the plan starts from {plan.start!r}, but is given {given} to continue from")
    hardware = resource_class or resource_class_here(device)
    dtype = dtype_of(hardware, device)
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
        start=start,
        seed=seed,
        threads=threads,
        device=device,
        dtype=dtype,
        resource_class=hardware,
        environment=environment_hash(plan),
        resources=resources,
    )


def environment_hash(plan: TrainingPlan | None = None) -> str:
    """Hash of the modules that train and that render rows, and of the libraries' versions.

    With a plan, also of the installed packages that bring its method or its kind of weights. Imports none of the
    libraries. Raises TrexError if one is not installed.
    """
    installed = _installed_sources(plan) if plan is not None else []
    return fingerprint([_own_hash(), *installed]) if installed else _own_hash()


@functools.cache
def _own_hash() -> str:
    try:
        # Without the build ('+cpu'): a driver without a GPU and a node with one have different builds of torch.
        versions = {package: version(package).partition("+")[0] for package in _PACKAGES}
    except PackageNotFoundError as error:
        raise TrexError(f"training needs the package {error.name}: run `make install`") from error
    room = Path(__file__).parents[2]
    sources = [hash_folder(room / name, "**/*.py") for name in ("training", "evaluation/rendering")]
    sources += [hash_file(room / "evaluation" / name) for name in ("causal_models.py", "full_weights.py")]
    return fingerprint([sources, versions])


def _installed_sources(plan: TrainingPlan) -> list[str]:
    """Hashes of what else determines a plan's weights: other packages that bring its method and weights, rewards,
    teachers.
    """
    used = [weights_of(plan.weights), *(method_of(stage) for stage in plan.stages)]
    ours, *packages = (module.partition(".")[0] for module in (__name__, *(type(u).__module__ for u in used)))
    found = [_package_hash(name) for name in sorted(set(packages) - {ours})]
    if any(method_of(stage).row_schema == "prompt_and_item" for stage in plan.stages):
        found.append(hash_folder(Path(__file__).parents[2] / "evaluation/metrics", "**/*.py"))
    models = [Path(folder) for stage in plan.stages for folder in stage.model_folders()]
    found += [hash_folder(model, pattern) for model in models for pattern in ("*.safetensors", "config.json")]
    return found


def _package_hash(name: str) -> str:
    file = sys.modules[name].__file__
    if file is None:
        raise TrexError(f"the package {name} has no file, so its trials cannot be identified")
    path = Path(file)
    return hash_folder(path.parent, "**/*.py") if path.name == "__init__.py" else hash_file(path)
