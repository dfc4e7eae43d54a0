"""Rows of prompt and completion in tokens, with the loss on the completion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ...errors import InputError
from ...evaluation.rendering import TokenRow, open_renderer
from ...files import read_jsonl
from ..data.build import TRAIN, rendering_options
from ..data.render import Row

MAX_MEASURED = 5_000
"""Rows that are tokenised."""

_LONGEST = MAX_MEASURED // 10
_BATCH = 500


@dataclass(frozen=True)
class RowTokens:
    """A row in tokens: all of it, and its prompt."""

    total: int
    prompt: int


@lru_cache(maxsize=8)
def measure_rows(dataset: str, base_model: str) -> tuple[int, list[RowTokens]]:
    """The number of rows, and all of them in tokens; of a large data set every n-th and the longest of the others.

    Rows are tokenised once a process for a data set and a base model. Raises InputError if the base model can render
    none of them. A row that it cannot render has no token.
    """
    rows = list(read_jsonl(Path(dataset) / TRAIN))
    rendered = rendered_rows(Path(dataset), Path(base_model), sampled_rows(rows))
    return len(rows), [RowTokens(len(row.ids), row.prompt) if row else RowTokens(0, 0) for row in rendered]


def sampled_rows(rows: list[Row]) -> list[Row]:
    """The rows that are measured: all, or of a large data set every n-th and the longest of the others."""
    if len(rows) <= MAX_MEASURED:
        return rows
    wanted = MAX_MEASURED - _LONGEST
    sample = {place * len(rows) // wanted for place in range(wanted)}
    others = [place for place in range(len(rows)) if place not in sample]
    others.sort(key=lambda place: -_characters(rows[place]))
    return [rows[place] for place in [*sample, *others[:_LONGEST]]]


def rendered_rows(dataset: Path, base_model: Path, rows: Sequence[Row]) -> list[TokenRow | None]:
    """Rows of a data set as the model is trained on them; None for one that its chat template refuses.

    Raises InputError if it refuses all.
    """
    renderer = open_renderer(base_model, rendering_options(dataset))
    found = renderer.rows_or_errors([[*row["prompt"], *row["completion"]] for row in rows])
    errors = [row for row in found if isinstance(row, InputError)]
    if rows and len(errors) == len(rows):
        raise errors[0]
    return [None if isinstance(row, InputError) else row for row in found]


def _characters(row: Row) -> int:
    return sum(len(str(turn)) for turn in [*row["prompt"], *row["completion"]])
