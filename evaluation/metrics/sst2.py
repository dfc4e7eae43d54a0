"""SST-2: whether a sentence of a film review is positive (1) or negative (0), read from what a model writes.

Socher et al., EMNLP 2013; as a task, Wang et al., "GLUE", ICLR 2019. GLUE scores labels, and lm-evaluation-harness
(`lm_eval/tasks/glue/sst2/default.yaml`) which of the words 'negative' and 'positive' is likelier. Neither needs to
read text, so that both forms here are ours:

- `sst2/upstream` is what those would accept: the answer is one of the two words, or 0 or 1 as in a submission to
  GLUE, and nothing else but white space at its ends.
- `sst2`: on its first line, the answer names one of the two (in any case; 'negative' for 'not positive', too), and
  not the other. What precedes the end of a `</think>` block is not the answer.

    label 1, answer 'positive'                 → 1 in both
    label 1, answer 'It is Positive.\\nBecause' → 0 upstream, 1 here
    label 1, answer 'positive or negative'     → 0 in both
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ...errors import InputError
from ..task import Item
from .accuracy import first_line
from .columns import column_text, row_name, shown
from .measure import mean
from .metric_example import MetricExample
from .protocol import UPSTREAM
from .variants import final

WORDS = ("negative", "positive")
"""The word of each label, 0 and 1."""

_NAMED = re.compile(
    r"(?P<no>\bnot\s+)?(?:\b(?P<word>negative|positive)\b|(?<![\w.,-])(?P<digit>[01])(?![\w.,]*\d))"
)


class Sst2:
    """Accuracy. Rows carry `label`, 0 or 1. `secondary`: 'read', the share of answers that name a label, and for the
    corrected form the official score.
    """

    aggregate = staticmethod(mean)

    examples = (
        MetricExample(answer="It is Positive.\nBecause", columns={"label": 1}, value=1),
        MetricExample(answer="positive or negative", columns={"label": 1}, value=0),
    )

    def __init__(self, upstream: bool = False) -> None:
        self._upstream = upstream
        self._read: Callable[[str], int | None] = upstream_label if upstream else label

    @property
    def name(self) -> str:
        """The score's name in tables."""
        return f"accuracy{UPSTREAM}" if self._upstream else "accuracy"

    def score_items(self, items: Sequence[Item], predictions: Sequence[str]) -> list[float]:
        """1.0 or 0.0 per item. Raises InputError for a row without a label of 0 or 1 (GLUE's test rows have -1)."""
        return [
            float(self._read(answer) == gold_label(item))
            for item, answer in zip(items, predictions, strict=True)
        ]

    def secondary(self, items: Sequence[Item], predictions: Sequence[str]) -> dict[str, float]:
        """See the class."""
        figures = {"read": sum(self._read(answer) is not None for answer in predictions) / len(predictions)}
        if not self._upstream:
            official = Sst2(upstream=True)
            figures[f"{self.name}{UPSTREAM}"] = official.aggregate(official.score_items(items, predictions))
        return figures


def gold_label(item: Item) -> int:
    """The label of a row. Raises InputError where there is none."""
    named = column_text(item, "label", "sst2")
    if named not in ("0", "1"):
        raise InputError(f"{row_name(item)}: `label` must be 0 or 1, not {shown(named)}")
    return int(named)


def upstream_label(answer: str) -> int | None:
    """The label an answer is, word or digit; None if it is more or something else."""
    stripped = answer.strip()
    if stripped in WORDS:
        return WORDS.index(stripped)
    return int(stripped) if stripped in ("0", "1") else None


def label(answer: str) -> int | None:
    """The one label that the first line of an answer names; None if it names none or both."""
    named = {
        (WORDS.index(match["word"]) if match["word"] else int(match["digit"])) ^ bool(match["no"])
        for match in _NAMED.finditer(first_line(final(answer)).casefold())
    }
    return named.pop() if len(named) == 1 else None
