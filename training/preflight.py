"""Preflight: what would make a training fail or teach nothing, found before time is spent on it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from .causes import Cause, Problem
from .data.render import percentile
from .methods import method_of
from .plan import TrainingPlan
from .weights import weights_of

_FIXED_BYTES = 20 * 2**20  # configuration, random states, log, predictions


class Limits(BaseModel):
    """What a training may take; None: no limit, or not known."""

    model_config = ConfigDict(frozen=True)

    seconds: float | None = Field(default=None, gt=0)
    tokens_per_second: float | None = Field(default=None, gt=0, description="Measured training speed")
    folder: Path | None = Field(
        default=None, description="Where the trial will be written; else, beside the data"
    )


class Tokens(BaseModel):
    """Tokens of a row, prompt and answer together."""

    model_config = ConfigDict(frozen=True)

    p50: int
    p95: int
    max: int
    mean: float


class Preflight(BaseModel):
    """What a training on a data set will meet, and every problem in the way."""

    model_config = ConfigDict(frozen=True)

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
    trained = method.trained_tokens(stage, mean, measured.rows)
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
        steps=method.total_steps(stage, measured.rows),
        seconds=round(trained / limits.tokens_per_second, 1) if limits.tokens_per_second else None,
        disk_bytes=weights_of(plan.weights).disk_bytes(plan.weights, base_model) + _FIXED_BYTES,
        disk_free_bytes=_free_bytes(limits.folder or dataset),
        problems=[],
    )
    return report.model_copy(update={"problems": [*measured.problems, *_problems(report, limits)]})


def _problems(report: Preflight, limits: Limits) -> list[Problem]:
    """What stands against any method: time and disk."""
    found: list[Problem] = []

    def note(cause: Cause, message: str) -> None:
        found.append(Problem(cause=cause, message=message))

    if limits.seconds and report.seconds and report.seconds > limits.seconds:
        note(
            "timeout",
            f"{report.steps} steps would take about {report.seconds:.0f} s, {limits.seconds:.0f} s are left: "
            "take fewer steps or shorter rows",
        )
    if report.disk_bytes > report.disk_free_bytes:
        note(
            "disk_full",
            f"the training needs about {report.disk_bytes >> 20} MiB of disk, "
            f"{report.disk_free_bytes >> 20} MiB are free: make room, or train fewer weights",
        )
    return found


def _free_bytes(folder: Path) -> int:
    """Free space where `folder` is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
