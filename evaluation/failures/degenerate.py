"""Right answers that only exploit the metric: it permits them, and nobody wants them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from ..metrics import is_ours, metric
from ..metrics.accuracy import first_line, normalise
from ..task import Task
from .analysis import AnsweredItem

MANY = 0.1
"""Least share of the right answers that is reported."""
FEWEST = 3
LONGER = 5
"""Times a right answer is longer than the reference."""


def degenerate_answers(task: Task, answered: Sequence[AnsweredItem]) -> list[str]:
    """One sentence for each kind with the share of right answers, most frequent first.

    A metric of ours can name kinds of its own by a method `degenerate(answer, reference)` that returns one or ''.
    """
    right = [item for item in answered if not item.wrong]
    named = getattr(metric(task.metric), "degenerate", None) if is_ours(task.metric) else None
    own: Callable[[str, str], str] = named or (lambda answer, reference: "")
    kinds: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for item in right:
        answer = item.prediction.prediction
        kind = own(answer, item.reference) or _general(task, answer, item.reference)
        if kind:
            kinds[kind] += 1
            examples.setdefault(kind, " ".join(answer.split())[:60])
    return [
        f"{count} of {len(right)} right answers {kind} ({examples[kind]!r}): the metric permits it"
        for kind, count in kinds.most_common()
        if count >= max(FEWEST, MANY * len(right))
    ]


def _general(task: Task, answer: str, reference: str) -> str:
    """Of any metric: several choices at once, or far more text than the reference."""
    if task.choices:
        words = f" {normalise(answer)} "
        named = [choice for choice in task.choices if f" {normalise(choice)} " in words]
        exact = normalise(first_line(answer)) in {normalise(choice) for choice in task.choices}
        return "name several choices" if len(named) > 1 and not exact else ""
    return "are far longer than the reference" if len(answer) > LONGER * len(reference) + 40 else ""
