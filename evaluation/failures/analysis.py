"""Failure analysis: the items that a model answered wrongly, grouped by cause. Only for the `search` part of dev."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
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
from ..task import Task
from ..words import word_set
from .clusters import clusters
from .refusals import is_refusal

RIGHT = 0.5
"""Least value of a right answer."""
MIN_WORD_COUNT = 3
"""Least number of failures with a word, and of items in a third of the lengths."""
SIGNIFICANT = 1.96
"""Log-odds of a word in standard errors from which the word is reported."""
MOST_CAUSES = 8
MOST_CLUSTERS = 3
FEWEST_CLUSTERED = 12
"""Least number of failures that are clustered."""
REFUSAL = "answer refuses the request"


@dataclass(frozen=True)
class Prediction:
    """A line of predictions/<id>.jsonl: the answer to an item, and its value under the metric.

    `counts` are the counts of a `PooledMetric`, from which a gain in its score is tested; None for another metric.
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
    """Two evaluations on the items that both scored, in the order of item ids. `before` and `after` are paired."""

    ids: list[str] = field(default_factory=list)
    before: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)
    fixed: list[str] = field(default_factory=list)
    regressed: list[str] = field(default_factory=list)
    before_counts: Counts | None = None
    after_counts: Counts | None = None

    @property
    def measured(self) -> tuple[Measured, Measured]:
        """Both evaluations in the form that `paired_gain` takes."""
        return Measured(self.before, {}, self.before_counts), Measured(self.after, {}, self.after_counts)

    @property
    def gain(self) -> float:
        """Mean of `after` minus mean of `before`; 0 without shared items. For a pooled score use `paired_gain`."""
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

    Raises InputError for the test split, TrexError if the file is missing or damaged.
    """
    if evaluation.split == "test":
        raise InputError("predictions on the test split are not read: ask for a search evaluation")
    if evaluation.predictions is None:
        raise TrexError(f"evaluation {evaluation.id} has no stored predictions")
    path = run_dir / evaluation.predictions
    try:
        state = path.stat()
        return list(_read(path, state.st_mtime_ns, state.st_size))
    except (OSError, ValueError, KeyError) as error:
        raise TrexError(f"the predictions in {path} cannot be read ({error}); evaluate again") from error


@lru_cache(maxsize=4)  # a diagnosis reads the same two files several times
def _read(path: Path, modified: int, size: int) -> tuple[Prediction, ...]:
    return tuple(
        Prediction(row["id"], row["prediction"], row["value"], row.get("truncated", False), row.get("counts"))
        for row in read_jsonl(path)
    )


def measured_of(predictions: Sequence[Prediction]) -> Measured:
    """The values and counts of predictions, in the order of item ids, so that two evaluations are paired."""
    ordered = sorted(predictions, key=lambda prediction: prediction.id)
    counts = counts_of([prediction.counts for prediction in ordered])
    return Measured([prediction.value for prediction in ordered], {}, counts)


def compare(before: Evaluation, after: Evaluation, run_dir: Path) -> Comparison:
    """Pair two evaluations of one split by item. An early rung may have scored fewer items than the last."""
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
    """The counts as a table with a row for each item; None without items, or if an item has no counts."""
    known = [row for row in rows if row is not None]
    return np.array(known, dtype=float) if known and len(known) == len(rows) else None


@dataclass(frozen=True)
class AnsweredItem:
    """An item and the prediction for it. `text` is the user's turn of the prompt."""

    id: str
    text: str
    reference: str
    prediction: Prediction

    @property
    def wrong(self) -> bool:
        return self.prediction.wrong

    @property
    def length(self) -> int:
        """Words of the text."""
        return len(self.text.split())


Members = dict[str, list[str]]
"""Ids of failed items by cause."""


class Failures:
    """The failures of an evaluation on `search`. Items and predictions are read by the constructor (`answered`).

    Raises InputError for any other split, TrexError for predictions that are missing, damaged or of other items.
    """

    def __init__(self, evaluation: Evaluation, task: Task, run_dir: Path) -> None:
        if evaluation.split != "search":
            raise InputError(f"failure cases are shown of 'search' only, not of {evaluation.split!r}")
        items = {item["id"]: item for item in search_items(task)}
        predictions = sorted(read_predictions(run_dir, evaluation), key=lambda p: p.id)
        unknown = [p.id for p in predictions if p.id not in items]
        if unknown:
            raise TrexError(f"evaluation {evaluation.id} has item {unknown[0]}, which is not in dev")
        self._choices = {normalise(choice): choice for choice in task.choices or ()}
        self.answered = [
            AnsweredItem(p.id, task.prompt.turns(items[p.id].row)[-1]["content"], items[p.id]["reference"], p)
            for p in predictions
        ]

    @cached_property
    def cases(self) -> list[FailureCase]:
        """Items answered wrongly, in the order of their ids."""
        return [
            FailureCase(
                id=item.id,
                prompt=item.text,
                reference=item.reference,
                prediction=item.prediction.prediction,
            )
            for item in self.answered
            if item.wrong
        ]

    @cached_property
    def groups(self) -> list[FailureGroup]:
        """Groups of failures by cause, most frequent first, at most `MOST_CAUSES`; then clusters.

        Causes: confusion of choices; answers of the wrong form (empty, cut off, none of the choices, too long);
        refusals; inputs of a length at which more items fail than at other lengths; words whose log-odds of occurring
        in a failed item rather than in a solved one exceed 1.96 standard errors (with 0.5 added to every count:
        Haldane 1956, Anscombe 1956). Up to three clusters of failed inputs with similar words follow. They show the
        topics of failures. They do not show that such inputs fail more often than others.
        """
        groups = [
            *_wrong_forms(self.answered, self._choices),
            *_confusions(self.answered, self._choices),
            *_lengths(self.answered),
            *_words_of_failures(self.answered),
        ]
        groups.sort(key=lambda group: (-group.count, group.kind, group.cause))
        return [*groups[:MOST_CAUSES], *_similar_inputs(self.answered)]


def _grouped(kind: str, members: Members) -> list[FailureGroup]:
    return [FailureGroup(kind, f"{cause} {len(ids)}×", len(ids), ids) for cause, ids in members.items()]


def _wrong_forms(answered: Sequence[AnsweredItem], choices: Mapping[str, str]) -> list[FailureGroup]:
    """Wrong answers of a wrong form, and refusals."""
    members: Members = {}
    refused: Members = {}
    for item in answered:
        fault = _form_fault(item, choices) if item.wrong else None
        if fault is not None:
            (refused if fault == REFUSAL else members).setdefault(fault, []).append(item.id)
    return [*_grouped("format", members), *_grouped("refusal", refused)]


def _form_fault(item: AnsweredItem, choices: Mapping[str, str]) -> str | None:
    """What is wrong with the form of an answer; None if nothing is."""
    answer = item.prediction.prediction
    first = first_line(answer)
    if not first:
        return "empty answer"
    if normalise(first) not in choices and is_refusal(answer) and not is_refusal(item.reference):
        return REFUSAL
    if item.prediction.truncated:
        return "answer cut at the token limit"
    if choices and normalise(first) not in choices:
        return "answer is none of the choices"
    return "answer far longer than the reference" if len(first) > 4 * len(item.reference) + 40 else None


def _confusions(answered: Sequence[AnsweredItem], choices: Mapping[str, str]) -> list[FailureGroup]:
    """Wrong answers that are another choice."""
    members: Members = {}
    for item in answered:
        chosen = choices.get(normalise(first_line(item.prediction.prediction)))
        if item.wrong and chosen is not None:
            members.setdefault(f"{item.reference}→{chosen}", []).append(item.id)
    return _grouped("confusion", members)


def _lengths(answered: Sequence[AnsweredItem]) -> list[FailureGroup]:
    """The third of the inputs, by length in words, that fails most, if by more than two standard errors."""
    ordered = sorted(answered, key=lambda item: (item.length, item.id))
    third = len(ordered) // 3
    if third < MIN_WORD_COUNT:
        return []
    parts = {"short": ordered[:third], "middle": ordered[third:-third], "long": ordered[-third:]}
    rates = {name: sum(item.wrong for item in part) / len(part) for name, part in parts.items()}
    worst = max(rates, key=lambda name: (rates[name], name))
    rest = [item.wrong for name, part in parts.items() if name != worst for item in part]
    usual = sum(rest) / len(rest)
    error = math.sqrt(max(usual * (1 - usual), 1e-9) / len(parts[worst]))
    if rates[worst] - usual <= 2 * error:
        return []
    sizes = [item.length for item in parts[worst]]
    span = f"{min(sizes)}–{max(sizes)} words"
    cause = f"{worst} inputs ({span}) fail at {rates[worst]:.0%}, others at {usual:.0%}:"
    return _grouped("length", {cause: [item.id for item in parts[worst] if item.wrong]})


def _words_of_failures(answered: Sequence[AnsweredItem]) -> list[FailureGroup]:
    """Words that occur in failed items more often than in solved ones."""
    failed = [(item.id, word_set(item.text)) for item in answered if item.wrong]
    solved = [word_set(item.text) for item in answered if not item.wrong]
    if not failed or not solved:
        return []
    in_failed = Counter(word for _, own in failed for word in own)
    in_solved = Counter(word for own in solved for word in own)
    members: Members = {}
    for word, count in in_failed.items():
        if count < MIN_WORD_COUNT or word.isdigit():
            continue
        table = [count, len(failed) - count, in_solved[word], len(solved) - in_solved[word]]
        a, b, c, d = (cell + 0.5 for cell in table)
        odds = math.log(a * d / (b * c))
        if odds > SIGNIFICANT * math.sqrt(1 / a + 1 / b + 1 / c + 1 / d):
            cause = f"inputs with '{word}' (odds ×{math.exp(odds):.1f})"
            members[cause] = [item_id for item_id, own in failed if word in own]
    return _grouped("word", members)


def _similar_inputs(answered: Sequence[AnsweredItem]) -> list[FailureGroup]:
    """The largest clusters of failed inputs."""
    failed = [item for item in answered if item.wrong]
    if len(failed) < FEWEST_CLUSTERED:
        return []
    groups = []
    for cluster in clusters([item.text for item in failed])[:MOST_CLUSTERS]:
        cause = f"inputs similar in {', '.join(map(repr, cluster.terms))}"
        groups += _grouped("cluster", {cause: [failed[index].id for index in cluster.members]})
    return groups


def prediction_row(prediction: Prediction) -> dict[str, Any]:
    """A line of predictions/<id>.jsonl, which `read_predictions` reads."""
    row = asdict(prediction)
    if not prediction.truncated:
        del row["truncated"]
    if prediction.counts is None:
        del row["counts"]
    return row
