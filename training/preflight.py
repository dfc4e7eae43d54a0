"""Preflight: checks before a training starts whether it would fail or have no effect."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, Field

from .causes import Problem
from .data.render import percentile
from .methods import method_of
from .plan import TrainingPlan
from .weights import weights_of

_FIXED_BYTES = 20 * 2**20  # configuration, random states, log, predictions


class Limits(BaseModel, frozen=True):
    """Limits of a training; None: no limit, or unknown."""

    seconds: float | None = Field(default=None, gt=0)
    tokens_per_second: float | None = Field(default=None, gt=0, description="Measured training speed")
    folder: Path | None = Field(
        default=None, description="The trial's folder; None: the folder of the data set is used"
    )


class Tokens(BaseModel, frozen=True):
    """Tokens of a row, prompt and answer together."""

    p50: int
    p95: int
    max: int
    mean: float


class Preflight(BaseModel, frozen=True):
    """Measurements of a data set for a training plan, and the problems found."""

    rows: int
    measured_rows: int = Field(description="Fewer than `rows` on large data sets: the longest and a sample")
    tokens: Tokens
    unfit: Mapping[str, int] = Field(description="Measured rows that the method cannot use, by reason")
    steps: int
    seconds: float | None = Field(description="Estimated training time, if the speed is known")
    disk_bytes: int = Field(description="Estimated need")
    disk_free_bytes: int
    problems: list[Problem]

    @property
    def sampled(self) -> bool:
        """Whether only a part of the rows was measured."""
        return self.measured_rows < self.rows


def preflight(dataset: Path, plan: TrainingPlan, base_model: Path, limits: Limits | None = None) -> Preflight:
    """Check a built data set against a plan. Raises InputError if the base model cannot render its rows."""
    limits = limits or Limits()
    method, stage = method_of(plan.stage), plan.stage
    measured = method.measure(stage, dataset, base_model)
    lengths = sorted(measured.lengths)
    mean = sum(lengths) / len(lengths)
    steps = method.total_steps(stage, measured.rows)
    trained = steps * method.rows_per_step(stage) * mean
    report = Preflight(
        rows=measured.rows,
        measured_rows=measured.measured_rows,
        tokens=Tokens(
            p50=percentile(lengths, 50),
            p95=percentile(lengths, 95),
            max=measured.longest,
            mean=round(mean, 1),
        ),
        unfit=measured.unfit,
        steps=steps,
        seconds=round(trained / limits.tokens_per_second, 1) if limits.tokens_per_second else None,
        disk_bytes=weights_of(plan.weights).disk_bytes(plan.weights, base_model) + _FIXED_BYTES,
        disk_free_bytes=_free_bytes(limits.folder or dataset),
        problems=[],
    )
    return report.model_copy(update={"problems": [*measured.problems, *_problems(report, limits)]})


def _problems(report: Preflight, limits: Limits) -> list[Problem]:
    """Problems that do not depend on the method: time and disk space."""
    problems = []
    if limits.seconds and report.seconds and report.seconds > limits.seconds:
        message = (
            f"{report.steps} steps would take about {report.seconds:.0f} s, {limits.seconds:.0f} s are left: "
            "use fewer steps or shorter rows"
        )
        problems.append(Problem(cause="timeout", message=message))
    if report.disk_bytes > report.disk_free_bytes:
        message = (
            f"the training needs about {report.disk_bytes >> 20} MiB of disk, "
            f"{report.disk_free_bytes >> 20} MiB are free: free some space, or train fewer weights"
        )
        problems.append(Problem(cause="disk_full", message=message))
    return problems


def _free_bytes(folder: Path) -> int:
    """Free bytes of the disk on which `folder` is, or will be created."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
