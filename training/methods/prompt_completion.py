"""Rows of prompt and completion, and rows of plain text, in tokens with their loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ...errors import InputError
from ...evaluation.rendering import TokenRow, open_renderer
from ...files import read_jsonl
from ..causes import Problem
from ..data.build import TRAIN, rendering_options
from ..data.render import Contents
from ..data.row_kinds import Row
from ..data.row_table import DESIRABLE
from .protocol import RowSchema

MAX_MEASURED = 5_000
"""Rows that are tokenised."""

_LONGEST = MAX_MEASURED // 10
_BATCH = 500


@dataclass(frozen=True)
class RowTokens:
    """A row in tokens: all of it, and its prompt."""

    total: int
    prompt: int


@dataclass(frozen=True)
class MeasuredRows:
    """Rows of a data set in tokens: all; of a large one every n-th and the longest of the others.

    A row that the base model cannot render has no token. `good`, `bad` and `texts` count all rows, see `Contents`.
    """

    rows: int
    tokens: list[RowTokens]
    good: int
    bad: int
    texts: int

    @property
    def of(self) -> str:
        """Of how many rows something was counted."""
        return f"of {len(self.tokens)} rows" + (" looked at" if len(self.tokens) < self.rows else "")

    @property
    def longest(self) -> int:
        return max(row.total for row in self.tokens)

    def too_long(self, limit: int, mend: str = "filter long rows out") -> list[Problem]:
        """The problem of rows of more tokens than `limit`, if there are any."""
        count = sum(row.total > limit for row in self.tokens)
        message = (
            f"{count} {self.of} are longer than max_length {limit}; the longest has {self.longest} tokens: "
            f"raise max_length, or {mend}"
        )
        return [Problem(cause="too_long", message=message)] if count else []


@lru_cache(maxsize=8)
def measure_rows(dataset: str, base_model: str) -> MeasuredRows:
    """Measure rows, once a process for a data set and a base model.

    Raises InputError if the base model can render none of them.
    """
    rows = list(read_jsonl(Path(dataset) / TRAIN))
    rendered = rendered_rows(Path(dataset), Path(base_model), sampled_rows(rows))
    return MeasuredRows(
        len(rows),
        [RowTokens(len(row.ids), row.prompt) if row else RowTokens(0, 0) for row in rendered],
        good=sum(row.get(DESIRABLE) is True for row in rows),
        bad=sum(row.get(DESIRABLE) is False for row in rows),
        texts=sum(not row["prompt"] for row in rows),
    )


def wrong_kind(schema: RowSchema, rows: Contents | MeasuredRows) -> str | None:
    """Why a method for rows of that schema cannot train on these rows, if so."""
    of = f"of {rows.rows} rows"
    if schema == "plain_text":
        rest = rows.rows - rows.texts
        return (
            f"{rest} {of} are conversations, no plain text: set `output: text` in the recipe"
            if rest
            else None
        )
    if rows.texts:
        return f"{rows.texts} {of} are plain text: train on them with pretraining, or set `output: answers`"
    if schema == "unpaired_preference":
        if rows.good + rows.bad == rows.rows and rows.good and rows.bad:
            return None
        return (
            f"{rows.good} {of} are marked as good and {rows.bad} as bad, there must be both and no others: set "
            "`output: unpaired` in the recipe, with a column `desirable`, or `rejected` as the step `reject` makes it"
        )
    if rows.bad:
        return f"{rows.bad} {of} hold a bad answer: train on them with kto, or set `output: answers` in the recipe"
    return None


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

    A row without a prompt is plain text.

    Raises InputError if it refuses all.
    """
    renderer = open_renderer(base_model, rendering_options(dataset))
    if rows and not rows[0]["prompt"]:
        return [*renderer.texts([row["completion"][-1]["content"] for row in rows])]
    found = renderer.rows_or_errors([[*row["prompt"], *row["completion"]] for row in rows])
    errors = [row for row in found if isinstance(row, InputError)]
    if rows and len(errors) == len(rows):
        raise errors[0]
    return [None if isinstance(row, InputError) else row for row in found]


def _characters(row: Row) -> int:
    return sum(len(str(turn)) for turn in [*row["prompt"], *row["completion"]])
