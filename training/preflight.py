"""Preflight: checks before a training starts whether it would fail or have no effect."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..errors import PlanError
from ..evaluation.causal_models import shapes_of
from .causes import Problem
from .methods import method_of
from .plan import TrainingPlan
from .weights import weights_of

_FIXED_BYTES = 20 * 2**20  # configuration, random states, log, predictions


def preflight(dataset: Path, plan: TrainingPlan, base_model: Path) -> list[Problem]:
    """The problems that a training would have on a built data set: weights that the base model has no layers for,
    rows that are longer than it reads, those of the method, and too little disk space.

    Raises InputError if the base model cannot render the rows.
    """
    try:
        needed = weights_of(plan.weights).disk_bytes(plan.weights, base_model) + _FIXED_BYTES
    except PlanError as error:
        return [Problem(cause="base_model", message=str(error))]
    rows = method_of(plan.stage).measure(plan.stage, dataset, base_model)
    positions = shapes_of(base_model).positions
    if positions is not None and rows.longest > positions:
        longest = f"the longest row has {rows.longest} tokens"
        message = f"{longest}, the base model reads at most {positions}: filter long rows out"
        return [Problem(cause="base_model", message=message)]
    problems = [*rows.problems]
    free = shutil.disk_usage(dataset).free
    if needed > free:
        message = (
            f"the training needs about {needed >> 20} MiB of disk, {free >> 20} MiB are free: "
            "free some space, or train fewer weights"
        )
        problems.append(Problem(cause="disk_full", message=message))
    return problems
