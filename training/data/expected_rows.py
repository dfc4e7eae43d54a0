"""Estimates the number of rows of a recipe without loading its sources."""

from __future__ import annotations

from typing import Protocol

from .mix import tempered
from .operators.protocol import Flow, SourceFacts
from .recipe import DataRecipe, Stream


class Notes(Protocol):
    """Facts about sources."""

    def source(self, name: str) -> SourceFacts:
        """The facts about the source of that name."""


def expected_rows(recipe: DataRecipe, notes: Notes) -> int:
    """The estimated number of rows of a recipe; steps are assumed to be independent."""
    flows = [stream_flow(stream, notes.source(stream.source)) for stream in recipe.streams]
    rows = [min(flow.rows, s.max_rows or flow.rows) for flow, s in zip(flows, recipe.streams, strict=True)]
    if recipe.rows is not None:
        weights = tempered([stream.weight for stream in recipe.streams], rows, recipe.temperature)
        rows = [min(n, recipe.rows * w / sum(weights)) for n, w in zip(rows, weights, strict=True)]
    mixed = Flow(
        rows=sum(rows),
        distinct=sum(rows),
        answers=max((flow.answers for flow in flows), key=lambda shares: (len(shares), -min(shares))),
    )
    for step in recipe.steps:
        mixed = step.estimate(mixed)
    return int(mixed.rows + 1e-6)


def stream_flow(stream: Stream, source: SourceFacts) -> Flow:
    """The rows of a stream as expected after its steps."""
    counts = source.labels.values()
    flow = Flow(
        rows=float(source.rows),
        distinct=float(source.distinct),
        answers=tuple(count / sum(counts) for count in counts) or (0.5, 0.5),
        source=source,
    )
    for step in stream.steps:
        flow = step.estimate(flow)
    return flow
