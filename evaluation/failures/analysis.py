"""Failure analysis: which items a model got wrong and what they have in common. Only on the `search` part of dev."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError, TrexError
from ...files import read_jsonl
from ..metrics.accuracy import first_line, normalise
from ..metrics.measure import Measured
from ..metrics.protocol import Counts
from ..results import Evaluation, FailureCase
from ..splits import search_items
from ..task import Item, Task
from ..words import word_set
from .clusters import clusters
from .refusals import is_refusal

RIGHT = 0.5
MIN_WORD_COUNT = 3
TELLING = 1.96
MOST_CAUSES = 8
MOST_CLUSTERS = 3
FEWEST_CLUSTERED = 12
"""Least number of failures that are clustered."""
REFUSAL = "answer refuses the request"


@dataclass(frozen=True)
class Prediction:
    """One line of predictions/<id>.jsonl: the answer to an item, and its value under the metric.

    `counts` is what a `PooledMetric` counted of it, so that gains in its score can be tested; else None.
    """

    id: str
    prediction: str
    value: float
    truncated: bool = False
    counts: list[float] | None = None

    @property
    def wrong(self) -> bool:
        return self.value < RIGHT


@dataclass(frozen=True)
class Comparison:
    """Two evaluations on the items they share, in the order of item ids. `before` and `after` are paired."""

    ids: list[str] = field(default_factory=list)
    before: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)
    fixed: list[str] = field(default_factory=list)
    regressed: list[str] = field(default_factory=list)
    before_counts: Counts | None = None
    after_counts: Counts | None = None

    @property
    def measured(self) -> tuple[Measured, Measured]:
        """Both sides as their metric measured them, for `paired_gain`."""
        return Measured(self.before, {}, self.before_counts), Measured(self.after, {}, self.after_counts)

    @property
    def gain(self) -> float:
        """Mean of `after` minus mean of `before`; 0 without shared items. A pooled score's gain is another."""
        if not self.ids:
            return 0.0
        return (math.fsum(self.after) - math.fsum(self.before)) / len(self.ids)


@dataclass(frozen=True)
class FailureGroup:
    """Failures with a common property. `kind` is 'confusion', 'format', 'refusal', 'length', 'word' or 'cluster'."""

    kind: str
    cause: str
    count: int
    ids: list[str]


def read_predictions(run_dir: Path, evaluation: Evaluation) -> list[Prediction]:
    """The predictions of a search or confirm evaluation.

    Raises InputError for the test split, TrexError if the file is gone or damaged.
    """
    if evaluation.split == "test":
        raise InputError("predictions on the test split are not read: ask for a search evaluation")
    if evaluation.predictions is None:
        raise TrexError(f"evaluation {evaluation.id} kept no predictions")
    path = run_dir / evaluation.predictions
    try:
        state = path.stat()
        return list(_read(path, state.st_mtime_ns, state.st_size))
    except (OSError, ValueError, KeyError) as error:
        raise TrexError(f"the predictions in {path} can't be read ({error}); evaluate again") from error


@lru_cache(maxsize=4)  # a diagnosis reads the same two again and again
def _read(path: Path, modified: int, size: int) -> tuple[Prediction, ...]:
    return tuple(
        Prediction(row["id"], row["prediction"], row["value"], row.get("truncated", False), row.get("counts"))
        for row in read_jsonl(path)
    )


def measured_of(predictions: Sequence[Prediction]) -> Measured:
    """What the metric said of predictions, in the order of item ids, so that two sets of them are paired."""
    ordered = sorted(predictions, key=lambda prediction: prediction.id)
    counts = counts_of([prediction.counts for prediction in ordered])
    return Measured([prediction.value for prediction in ordered], {}, counts)


def compare(before: Evaluation, after: Evaluation, run_dir: Path) -> Comparison:
    """Pair two evaluations of one split item by item; rungs may have seen fewer items than the last one."""
    if before.split != after.split:
        raise InputError(f"evaluations on {before.split!r} and {after.split!r} share no items")
    old = {prediction.id: prediction for prediction in read_predictions(run_dir, before)}
    new = {prediction.id: prediction for prediction in read_predictions(run_dir, after)}
    ids = sorted(old.keys() & new.keys())
    return Comparison(
        ids=ids,
        before=[old[i].value for i in ids],
        after=[new[i].value for i in ids],
        fixed=[i for i in ids if old[i].wrong and not new[i].wrong],
        regressed=[i for i in ids if not old[i].wrong and new[i].wrong],
        before_counts=counts_of([old[i].counts for i in ids]),
        after_counts=counts_of([new[i].counts for i in ids]),
    )


def counts_of(rows: Sequence[list[float] | None]) -> Counts | None:
    """The counts of items as a table, a row each; None if there are none, or an item lacks them."""
    known = [row for row in rows if row is not None]
    return np.array(known, dtype=float) if known and len(known) == len(rows) else None


@dataclass(frozen=True)
class Asked:
    """An item as a model is asked it: `text` is the user's turn."""

    id: str
    text: str
    reference: str

    @property
    def length(self) -> int:
        """Words of the text."""
        return len(self.text.split())


Answered = list[tuple[Asked, Prediction]]


class Failures:
    """What an evaluation of `search` got wrong. Items, and what was said, are read when it is made.

    Raises InputError for any other split, TrexError for predictions that are gone, damaged or of other items.
    """

    def __init__(self, evaluation: Evaluation, task: Task, run_dir: Path) -> None:
        if evaluation.split != "search":
            raise InputError(f"failure cases are shown of 'search' only, not of {evaluation.split!r}")
        items = {item["id"]: item for item in search_items(task)}
        predictions = sorted(read_predictions(run_dir, evaluation), key=lambda p: p.id)
        unknown = [p.id for p in predictions if p.id not in items]
        if unknown:
            raise TrexError(
                f"evaluation {evaluation.id} names item {unknown[0]}, which is not in the task's dev"
            )
        self._task = task
        self._answered: Answered = [(_asked(task, items[p.id]), p) for p in predictions]

    @cached_property
    def cases(self) -> list[FailureCase]:
        """Items answered wrongly, in the order of their ids."""
        return [
            FailureCase(id=asked.id, prompt=asked.text, reference=asked.reference, prediction=said.prediction)
            for asked, said in self._answered
            if said.wrong
        ]

    @cached_property
    def groups(self) -> list[FailureGroup]:
        """Groups of failures by simple, countable causes, most frequent first, at most `MOST_CAUSES`; then clusters.

        Confusion of choices, answers of the wrong form (empty, cut, none of the choices, too long), refusals,
        inputs of a length on which more fails than elsewhere, and words whose log-odds of occurring in a failed
        item rather than in a solved one exceed 1.96 standard errors (with 0.5 added to every count: Haldane
        1956, Anscombe 1956). Up to three clusters of failed inputs that are alike in words come on top: they
        show what failures are about, and don't say that such inputs fail more often than others.
        """
        groups = [
            *_forms(self._task, self._answered),
            *_confusions(self._task, self._answered),
            *_lengths(self._answered),
            *_telling_words(self._answered),
        ]
        groups.sort(key=lambda group: (-group.count, group.kind, group.cause))
        return [*groups[:MOST_CAUSES], *_alike(self._answered)]


def _asked(task: Task, item: Item) -> Asked:
    return Asked(item["id"], task.prompt.messages(item)[-1]["content"], item["reference"])


def _grouped(kind: str, members: dict[str, list[str]]) -> list[FailureGroup]:
    return [FailureGroup(kind, f"{cause} {len(ids)}×", len(ids), ids) for cause, ids in members.items()]


def _forms(task: Task, pairs: Answered) -> list[FailureGroup]:
    """Answers of the wrong form, whatever they say, and refusals."""
    choices = {normalise(choice) for choice in task.choices or ()}
    members: dict[str, list[str]] = {}
    refused: dict[str, list[str]] = {}
    for asked, prediction in pairs:
        if not prediction.wrong:
            continue
        form = _form(prediction, asked.reference, choices)
        if form is not None:
            (refused if form == REFUSAL else members).setdefault(form, []).append(asked.id)
    return [*_grouped("format", members), *_grouped("refusal", refused)]


def _form(prediction: Prediction, reference: str, choices: set[str]) -> str | None:
    """What is wrong with the form of an answer, None if nothing is."""
    said = first_line(prediction.prediction)
    if not said:
        return "empty answer"
    if normalise(said) not in choices and is_refusal(prediction.prediction) and not is_refusal(reference):
        return REFUSAL
    if prediction.truncated:
        return "answer cut at the token limit"
    if choices and normalise(said) not in choices:
        return "answer is none of the choices"
    return "answer far longer than the reference" if len(said) > 4 * len(reference) + 40 else None


def _alike(pairs: Answered) -> list[FailureGroup]:
    """The largest clusters of failed inputs."""
    wrong = [asked for asked, prediction in pairs if prediction.wrong]
    if len(wrong) < FEWEST_CLUSTERED:
        return []
    found = clusters([asked.text for asked in wrong])[:MOST_CLUSTERS]
    groups = []
    for cluster in found:
        cause = f"inputs alike in {', '.join(map(repr, cluster.terms))}"
        groups += _grouped("cluster", {cause: [wrong[place].id for place in cluster.members]})
    return groups


def _confusions(task: Task, pairs: Answered) -> list[FailureGroup]:
    if not task.choices:
        return []
    choices = {normalise(choice): choice for choice in task.choices}
    members: dict[str, list[str]] = {}
    for asked, prediction in pairs:
        said = choices.get(normalise(first_line(prediction.prediction)))
        if prediction.wrong and said is not None:
            members.setdefault(f"{asked.reference}→{said}", []).append(asked.id)
    return _grouped("confusion", members)


def _lengths(pairs: Answered) -> list[FailureGroup]:
    """The tercile of inputs by words that fails most, if by more than twice the standard error."""
    ordered = sorted(pairs, key=lambda pair: (pair[0].length, pair[0].id))
    third = len(ordered) // 3
    if third < MIN_WORD_COUNT:
        return []
    parts = {"short": ordered[:third], "middle": ordered[third:-third], "long": ordered[-third:]}
    rates = {name: sum(p.wrong for _, p in part) / len(part) for name, part in parts.items()}
    worst = max(rates, key=lambda name: (rates[name], name))
    rest = [p.wrong for name, part in parts.items() if name != worst for _, p in part]
    usual = sum(rest) / len(rest)
    error = math.sqrt(max(usual * (1 - usual), 1e-9) / len(parts[worst]))
    if rates[worst] - usual <= 2 * error:
        return []
    sizes = [asked.length for asked, _ in parts[worst]]
    failed = [asked.id for asked, p in parts[worst] if p.wrong]
    span = f"{min(sizes)}–{max(sizes)} words"
    cause = f"{worst} inputs ({span}) fail at {rates[worst]:.0%}, others at {usual:.0%}:"
    return _grouped("length", {cause: failed})


def _telling_words(pairs: Answered) -> list[FailureGroup]:
    """Words that occur in failed items more often than in solved ones."""
    wrong = [(asked.id, word_set(asked.text)) for asked, p in pairs if p.wrong]
    right = [word_set(asked.text) for asked, p in pairs if not p.wrong]
    if not wrong or not right:
        return []
    in_wrong = Counter(word for _, own in wrong for word in own)
    in_right = Counter(word for own in right for word in own)
    members: dict[str, list[str]] = {}
    for word, count in in_wrong.items():
        if count < MIN_WORD_COUNT or word.isdigit():
            continue
        table = [count, len(wrong) - count, in_right[word], len(right) - in_right[word]]
        a, b, c, d = (cell + 0.5 for cell in table)
        odds = math.log(a * d / (b * c))
        if odds > TELLING * math.sqrt(1 / a + 1 / b + 1 / c + 1 / d):
            cause = f"inputs with '{word}' (odds ×{math.exp(odds):.1f})"
            members[cause] = [row_id for row_id, own in wrong if word in own]
    return _grouped("word", members)


def prediction_row(prediction: Prediction) -> dict[str, Any]:
    """The line that `read_predictions` reads back."""
    row = asdict(prediction)
    if not prediction.truncated:
        del row["truncated"]
    if prediction.counts is None:
        del row["counts"]
    return row
