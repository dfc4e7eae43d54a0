"""The gain of the winner over the base model on the same test items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...evaluation.failures.analysis import counts_of
from ...evaluation.metrics import Measured, metric
from ...evaluation.results import Evaluation, Score
from ...evaluation.statistics.comparison import paired_gain
from ...files import read_jsonl
from ..run.runtime import Runtime


def gain_on_same_items(runtime: Runtime, after: Evaluation, before: Evaluation) -> Score:
    """The gain on the same items, with its interval over items; only values are read, never items."""
    ours, base = _rows(runtime, after), _rows(runtime, before)
    items = sorted(ours)
    sides = (_measured([rows[item] for item in items]) for rows in (base, ours))
    return paired_gain(metric(runtime.task.metric), *sides).score


def _rows(runtime: Runtime, evaluation: Evaluation) -> dict[str, dict[str, Any]]:
    assert evaluation.predictions is not None
    return {row["id"]: row for row in read_jsonl(runtime.directory.path / evaluation.predictions)}


def _measured(rows: Sequence[dict[str, Any]]) -> Measured:
    return Measured([row["value"] for row in rows], {}, counts_of([row.get("counts") for row in rows]))
