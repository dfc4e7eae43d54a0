"""Estimates the number of rows of a recipe without loading its sources."""

from __future__ import annotations

from typing import Protocol

from .operators.protocol import Flow, SourceFacts
from .recipe import DataRecipe, Stream


class Notes(Protocol):
    """Facts about sources."""

    def source(self, name: str) -> SourceFacts:
        """The facts about the source of that name."""


def expected_rows(recipe: DataRecipe, notes: Notes) -> int:
    """The estimated number of rows of a recipe; steps are assumed to be independent."""
    flows = [_stream_flow(stream, notes.source(stream.source)) for stream in recipe.streams]
    rows = [flow.rows for flow in flows]
    if recipe.rows is not None:
        total = sum(stream.weight for stream in recipe.streams)
        rows = [min(n, recipe.rows * s.weight / total) for n, s in zip(rows, recipe.streams, strict=True)]
    mixed = Flow(
        rows=sum(rows),
        distinct=sum(rows),
        rarest=min(flow.rarest for flow in flows),
        answers=max(flow.answers for flow in flows),
    )
    for step in recipe.steps:
        mixed = step.estimate(mixed)
    return int(mixed.rows + 1e-6)


def _stream_flow(stream: Stream, source: SourceFacts) -> Flow:
    counts = source.labels.values()
    flow = Flow(
        rows=float(source.rows),
        distinct=float(source.distinct),
        rarest=min(counts) / max(1, sum(counts)) if counts else 0.5,
        answers=len(counts) or 2,
        source=source,
    )
    for step in stream.steps:
        flow = step.estimate(flow)
    return flow
