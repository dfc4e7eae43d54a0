"""Rows of a prompt, a better answer (its completion) and a worse one (`rejected`), in tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ...files import read_jsonl
from ..causes import Cause
from ..data.build import TRAIN
from ..data.row_kinds import Row
from ..data.row_table import REJECTED
from ..jobs.job import JobFailed
from .prompt_completion import rendered_rows, sampled_rows

if TYPE_CHECKING:
    from ..jobs.stage_run import StageRun


@dataclass(frozen=True)
class PairTokens:
    """A prompt, and the two answers after it, each with its end."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]

    @property
    def longest(self) -> int:
        """Tokens of the prompt with the longer answer."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))


def pair_tokens(dataset: Path, base_model: Path, rows: Sequence[Row]) -> list[PairTokens | None]:
    """Rows in tokens; None for one without two different answers, and for one that cannot be rendered.

    Raises InputError if the base model can render none of them.
    """
    complete = [row if row.get(REJECTED) else None for row in rows]
    pairs = [row for row in complete if row is not None]
    if not pairs:
        return [None] * len(rows)
    chosen = rendered_rows(dataset, base_model, pairs)
    rejected = rendered_rows(dataset, base_model, [row | {"completion": row[REJECTED]} for row in pairs])
    rendered = iter(zip(chosen, rejected, strict=True))
    found: list[PairTokens | None] = []
    for row in complete:
        better, worse = next(rendered) if row is not None else (None, None)
        if better is None or worse is None or better.ids == worse.ids:
            found.append(None)
            continue
        start = min(_last_answer(better.answer), _last_answer(worse.answer))
        found.append(PairTokens(better.ids[:start], better.ids[start:], worse.ids[start:]))
    return found


@lru_cache(maxsize=8)
def measure_pairs(dataset: str, base_model: str) -> tuple[int, list[PairTokens | None]]:
    """The number of rows, and those that are measured, in tokens; once a process for a data set and a base model."""
    rows = list(read_jsonl(Path(dataset) / TRAIN))
    return len(rows), pair_tokens(Path(dataset), Path(base_model), sampled_rows(rows))


def _last_answer(answer: Sequence[bool]) -> int:
    """Where the last turn's answer begins: earlier turns may have a loss too."""
    start = len(answer)
    while start and answer[start - 1]:
        start -= 1
    return start


def pairs_of(run: StageRun, rows: Sequence[Row], max_length: int) -> list[PairTokens]:
    """The pairs that a stage can train on. Raises JobFailed if there are none."""
    tokens = pair_tokens(Path(run.data.dataset), Path(run.trial.base_model), rows)
    pairs = [pair for pair in tokens if pair is not None and pair.longest <= max_length]
    if not pairs:
        cause: Cause = "too_long" if any(tokens) else "empty"
        raise JobFailed(cause, f"no row has two different answers within max_length={max_length} tokens")
    return pairs
