"""The models that the operators of a data set may use: opened once, answers kept on disk, time watched, use counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from ....errors import PlanError
from ....evaluation.conversations import Message
from ....evaluation.task import Task
from ....files import fingerprint
from .answer_cache import AnswerCache
from .text_model import LLM, DrawnAnswer, Draws, ModelChoice, TextModel

OpenLLM = Callable[[], TextModel]


@dataclass(frozen=True)
class ModelUse:
    """What model steps took. `calls`: answers asked for, `made`: those that were not on disk."""

    calls: int = 0
    made: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0

    def __sub__(self, other: ModelUse) -> ModelUse:
        return ModelUse(**{name: getattr(self, name) - getattr(other, name) for name in vars(self)})

    def estimated(self, rows: int, tried: int) -> str:
        """What the step would take for all rows, from what it took for those that were tried."""
        share = rows / max(tried, 1)
        made = max(self.made, 1)
        per_call = self.calls / made * share  # those on disk are asked for again at no cost
        return (
            f"tried on {tried} of {rows} rows; all: {round(self.calls * share):,} calls, about "
            f"{round((self.tokens_in + self.tokens_out) * per_call):,} tokens, {self.seconds * per_call:,.0f} s"
            if self.made
            else f"tried on {tried} of {rows} rows, from the cache; all: {round(self.calls * share):,} calls"
        )


@dataclass
class ModelAccess:
    """Models by name, for one task. `close` releases their memory.

    `cache` is a file; `open_llm` opens the run's chat model; `kept` are answers by key that hold whatever `cache` has,
    None for one that the model did not give; `seconds_left` limits a step; `trial_rows`: steps that use a model see so
    many rows at most, for a preview.
    """

    task: Task
    cache: Path
    engine: str = "transformers"
    threads: int = 1
    open_llm: OpenLLM | None = None
    kept: Mapping[str, DrawnAnswer | None] = field(default_factory=dict)
    seconds_left: Callable[[], float | None] = lambda: None
    trial_rows: int | None = None
    use: ModelUse = ModelUse()
    llm_answers: dict[str, DrawnAnswer | None] = field(default_factory=dict)
    """Those of the chat model by key; None for one that it did not give."""
    _opened: dict[ModelChoice, TextModel] = field(default_factory=dict)

    def identity(self, choice: ModelChoice) -> str:
        """A hash of all that determines the model's answers. Raises PlanError for a model that is not there."""
        return self._open(choice).identity

    def draw(
        self, choice: ModelChoice, conversations: Sequence[Sequence[Message]], n: int, draws: Draws
    ) -> list[list[DrawnAnswer | None]]:
        """`n` answers to each conversation, those on disk first. Equal conversations have equal answers.

        Raises PlanError for a model that cannot be used, and for a step that would take longer than there is time.
        """
        model, cache = self._open(choice), AnswerCache(self.cache)
        keys = [
            [_key(model.identity, turns, draws, number) for number in range(n)] for turns in conversations
        ]
        wanted = list({key: None for each in keys for key in each})
        known: dict[str, DrawnAnswer | None] = {**cache.read(wanted)}
        known |= {key: self.kept[key] for key in wanted if key in self.kept}
        self.use = replace(self.use, calls=self.use.calls + n * len(conversations))
        lots = list(_lots(keys, known, model.calls_at_once))
        watch = _Watch(sum(len(numbers) * len(places) for numbers, places in lots), self.seconds_left)
        for numbers, places in lots:
            began = time.monotonic()
            drawing = model.draw([conversations[place] for place in places], numbers, draws)
            fresh = {
                keys[place][number]: answer
                for place, answers in zip(places, drawing.answers, strict=True)
                for number, answer in zip(numbers, answers, strict=True)
                if answer is not None
            }
            cache.write(fresh.items())
            known |= fresh
            made = len(numbers) * len(places)
            self._count(made, drawing.tokens_in, drawing.tokens_out, time.monotonic() - began)
            if drawing.stopped is not None:
                raise PlanError(drawing.stopped)
            watch.check(made)
        if choice.model == LLM:
            self.llm_answers |= {key: known.get(key) for key in wanted}
        return [[known.get(key) for key in each] for each in keys]

    def close(self) -> None:
        """Release the models' memory."""
        for model in self._opened.values():
            model.close()

    def _count(self, made: int, read: int, written: int, seconds: float) -> None:
        use = self.use
        self.use = ModelUse(
            use.calls,
            use.made + made,
            use.tokens_in + read,
            use.tokens_out + written,
            use.seconds + seconds,
        )

    def _open(self, choice: ModelChoice) -> TextModel:
        if choice not in self._opened:
            self._opened[choice] = self._made(choice)
        return self._opened[choice]

    def _made(self, choice: ModelChoice) -> TextModel:
        if choice.model == LLM:
            if self.open_llm is None:
                raise PlanError("there is no chat model for `model: llm`: run with --llm, or use `policy`")
            return self.open_llm()
        from .engine_model import open_engine_model  # engines load numpy and torch

        weights = Path(choice.weights).expanduser() if choice.weights is not None else None
        return open_engine_model(self.task, choice, weights, self.engine, self.threads)


class _Watch:
    """Stops a step early that would take longer than there is time."""

    def __init__(self, calls: int, seconds_left: Callable[[], float | None]) -> None:
        self._calls, self._seconds_left = calls, seconds_left
        self._made, self._began = 0, time.monotonic()

    def check(self, made: int) -> None:
        """Raises PlanError. What was drawn so far is on disk, so that a retry goes on from there."""
        self._made += made
        left, still = self._seconds_left(), self._calls - self._made
        needed = (time.monotonic() - self._began) / self._made * still
        if still and left is not None and needed > left:
            raise PlanError(
                f"{still:,} of {self._calls:,} calls of the model would take {needed:,.0f} s more, and "
                f"{max(left, 0):,.0f} s are left: use fewer rows (`sample`) or a lower n"
            )


def _lots(
    keys: Sequence[Sequence[str]], known: Container[str], calls: int
) -> Iterator[tuple[range, list[int]]]:
    """The answers that are not known: numbers, and the conversations that lack them; equal ones once."""
    missing: dict[tuple[int, int], dict[str, int]] = {}
    for place, each in enumerate(keys):
        start = 0
        for lacks, run in groupby(each, lambda key: key not in known):
            stop = start + len(list(run))
            if lacks:
                missing.setdefault((start, stop), {}).setdefault(each[start], place)
            start = stop
    for (start, stop), found in sorted(missing.items()):
        places, size = list(found.values()), max(1, calls // (stop - start))
        for at in range(0, len(places), size):
            yield range(start, stop), places[at : at + size]


def _key(identity: str, turns: Sequence[Mapping[str, Any]], draws: Draws, number: int) -> str:
    return fingerprint([identity, list(turns), vars(draws), number], length=40)
