"""Tool use, step by step: the model sees the gold history and takes one step (GTA's mode 'every_with_gt').

Tools are only named, never run, and images are only paths, so that a text-only model can be measured. Four
figures are official, each a quotient of counts over all queries (a share here, a percentage there):

| figure | hits | out of |
|---|---|---|
| InstAcc | steps of the gold step's kind (call or answer), without error | tool steps + queries with a gold answer |
| ToolAcc | calls of the gold tool | tool steps |
| ArgAcc | … with arguments equal to the gold ones | tool steps |
| SummAcc | answers that are right | queries with a gold answer |

Without a subtask the figure is step accuracy: (hits of ToolAcc + hits of SummAcc) / (tool steps + queries with a
gold answer), the share of steps that do the right thing. This choice is ours. Official reports give no single
figure for this mode, and the 'accuracy' of the paper on TREX (.582 for the base model, .722 for its reference) comes
without a definition. ArgAcc can't be part of it (no model on the official board is above .38), InstAcc says nothing
of content, and SummAcc alone, whose range on the board (.5 to .75) is nearest to the paper's, would leave three
quarters of the steps unjudged. `secondary` has all four.

Subtasks are figures of the same rows, not kinds of rows: a column `subtask` is not read.

Corrected, with the reason:
- An alias that begins or ends in a symbol ('50%', 'C++', '-5') never hit, not even its own text: see `answers`.
- A call in error hit in ToolAcc and ArgAcc, though it can't be carried out, and InstAcc already counts it as
  wrong: it hits nothing.
- Arguments had to be equal as Python values ('3' is not 3, '(1, 2)' is not '(1,2)'): see `arguments`.
- Steps that were not predicted left the denominators: they count.
- InstAcc counted answers of queries without a gold answer above the line only, and could exceed 1: both count them.
- Replies that say the right thing in a near format lost it: see `react`.
- Gold that is a list of texts needs a model of 400 MB: without a `similarity` it is the F1 of words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....errors import InputError
from ...task import Item
from ..columns import one_of
from ..measure import mean
from ..metric_example import MetricExample
from ..protocol import Counts
from ..variants import word_f1
from .final_answers import SentenceCosine, Similarity
from .gold_steps import GoldSteps, gold_steps
from .react import NOTHING, read_reply
from .tallies import Tally, corrected_tally, official_tally

SUBTASKS = ("InstAcc", "ToolAcc", "ArgAcc", "SummAcc")
WHOLE = "StepAcc"
_COLUMNS = {
    "InstAcc": ((0,), (4,)),
    "ToolAcc": ((1,), (5,)),
    "ArgAcc": ((2,), (5,)),
    "SummAcc": ((3,), (6,)),
    WHOLE: ((1, 3), (5, 6)),
}
"""Which counts of a tally are a figure's hits, and which are what it is out of."""


class ToolUseMetric:
    """One of GTA's step-by-step figures, or step accuracy over all steps.

    A row is a query (with a list of steps as prediction) or a step (with a reply): see `rows`. Its value is its own
    quotient, 0 if the figure asks nothing of it; officially InstAcc of a query without a gold answer exceeds 1.
    `similarity` compares an answer with a gold text, for gold that is a list of texts. Officially that is the
    cosine of sentence embeddings, for which sentence-transformers must be installed.
    """

    examples = (
        MetricExample(
            answer="Thought: I read the board.\nFinal Answer: It costs 17.20.",
            columns={
                "dialogs": [
                    {"role": "user", "content": "What do we pay?"},
                    {"role": "assistant", "content": "17.20"},
                ],
                "gt_answer": {"whitelist": [["17.2", "17.20"]], "blacklist": None},
                "tools": [],
                "step": 0,
            },
            value=1,
        ),
    )
    aggregate = staticmethod(mean)  # of values; the score is pooled from counts

    def __init__(
        self, subtask: str | None = None, upstream: bool = False, similarity: Similarity | None = None
    ) -> None:
        self._figure = WHOLE if subtask is None else one_of(subtask, SUBTASKS, "gta")
        self._upstream = upstream
        self._similarity = similarity
        self._cosine: Similarity = similarity or SentenceCosine()

    @property
    def name(self) -> str:
        """The figure's name in tables."""
        return f"{self._figure}/upstream" if self._upstream else self._figure

    def score_items(self, items: Sequence[Item], predictions: Sequence[str]) -> list[float]:
        """Each row's own quotient. Raises InputError for a row that lacks a column or can't be judged."""
        return [float(value) for value in self.pooled(self.counts(items, predictions))]

    def counts(self, items: Sequence[Item], predictions: Sequence[str]) -> Counts:
        """A tally a row: shape (n, 9)."""
        return _table([self._tally(gold, answer) for gold, answer in _pairs(items, predictions)])

    def pooled(self, totals: Counts) -> Counts:
        """Hits over what they are out of; 0 where that is nothing, over which the official code breaks down."""
        return _quotient(totals, self._figure)

    def secondary(self, items: Sequence[Item], predictions: Sequence[str]) -> dict[str, float]:
        """The official figures by name, and what was called.

        For the corrected form also this figure in its official form, unless it needs an embedding model that is not
        there, and 'in_format', the share of replies with a marker of the format (of rows that are steps).
        """
        pairs = _pairs(items, predictions)
        totals = self.counts(items, predictions).sum(axis=0)
        shown: tuple[str, ...] = (*SUBTASKS, WHOLE)
        if self._upstream and self._figure not in ("SummAcc", WHOLE):
            shown = SUBTASKS[:3]  # the answers were not judged
        figures = {name: float(_quotient(totals, name)) for name in shown if name != self._figure}
        figures |= {"tool_calls": float(totals[7]), "tool_call_errors": float(totals[8])}
        if self._upstream:
            return figures
        replies = [
            read_reply(answer, gold.tools)
            for gold, answer in pairs
            if gold.is_step and isinstance(answer, str)
        ]
        if replies:
            figures["in_format"] = sum(step is not NOTHING for step in replies) / len(replies)
        official = ToolUseMetric(None if self._figure == WHOLE else self._figure, True, self._cosine)
        try:
            counted = official.counts(items, predictions)
        except InputError:  # the rows were read above: it is the embedding model that is missing
            return figures
        return figures | {official.name: float(official.pooled(counted.sum(axis=0)))}

    def _tally(self, gold: GoldSteps, prediction: Any) -> Tally:
        if not self._upstream:
            return corrected_tally(gold, prediction, self._similarity or word_f1)
        judges_answers = self._figure in ("SummAcc", WHOLE)
        return official_tally(gold, prediction, self._cosine if judges_answers else _unjudged)


def _unjudged(answer: str, gold: str) -> float:
    return 0.0


def _pairs(items: Sequence[Item], predictions: Sequence[Any]) -> list[tuple[GoldSteps, Any]]:
    return [
        (gold_steps(item, index), answer)
        for index, (item, answer) in enumerate(zip(items, predictions, strict=True))
    ]


def _table(tallies: Sequence[Tally]) -> Counts:
    return np.array([tally.counts() for tally in tallies], dtype=float).reshape(len(tallies), 9)


def _quotient(totals: Counts, figure: str) -> Counts:
    hits, out_of = _COLUMNS[figure]
    above, below = (totals[..., list(columns)].sum(axis=-1) for columns in (hits, out_of))
    return np.asarray(np.divide(above, below, out=np.zeros_like(above), where=below > 0))
