"""LawBench: twenty tasks of Chinese law, each with a rule of its own, scored as its authors do or corrected.

Fei et al., "LawBench: Benchmarking Legal Knowledge of Large Language Models", EMNLP 2024;
https://github.com/open-compass/LawBench at commit e30981b, evaluation/main.py and evaluation_functions/. `RULES`
names the module of every sub-task; each module says what the official rule is, what was corrected and why.

`lawbench:3-1` scores one sub-task, `lawbench` a mixture: the mean over the sub-tasks that occur (each item names
its `subtask`), since the authors publish no overall score. A sub-task's score is the mean of its rows, without
those the official code skips (2-2, 3-4, 3-5), except for 2-1, a corpus-level F0.5. What the official code crashes
on, one row spoiling all, scores 0 for its row. If a sub-task has only skipped rows its score is 0.

Corrected throughout: values lie in 0…1, `<eoa>` and full-width forms do no harm, and the final answer counts where
the official rule reads the reasoning as well.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ....errors import InputError
from ...task import Item
from ..columns import column, one_of, row_name
from ..measure import mean
from ..metric_example import MetricExample
from ..protocol import Counts
from . import amounts, articles, choices, entities, labels, lexicon, prison_terms, proofreading
from . import character_f1 as reading
from . import rouge_l as rouge
from .case import Case, Outcome, Rule, case

__all__ = ["SUBTASKS", "LawBench"]


@dataclass(frozen=True)
class Rules:
    """A sub-task's rule, official and corrected."""

    upstream: Rule
    corrected: Rule


PROOFREADING = "2-1"
RULES = {
    "1-1": Rules(rouge.upstream_recitation, rouge.corrected),
    "1-2": Rules(choices.upstream_letters("正确答案：", "ABCD"), choices.corrected_letters("ABCD")),
    PROOFREADING: Rules(proofreading.upstream, proofreading.corrected),
    "2-2": Rules(choices.upstream_focus, choices.corrected_focus),
    "2-3": Rules(labels.upstream_disputes, labels.corrected_disputes),
    "2-4": Rules(choices.upstream_topic, choices.corrected_topic),
    "2-5": Rules(reading.upstream_reading, reading.corrected_reading),
    "2-6": Rules(entities.upstream, entities.corrected),
    "2-7": Rules(rouge.upstream, rouge.corrected),
    "2-8": Rules(choices.upstream_letters("[正确答案]", "ABCDE"), choices.corrected_letters("ABCDE")),
    "2-9": Rules(labels.upstream_events, labels.corrected_events),
    "2-10": Rules(reading.upstream_triggers, reading.corrected_triggers),
    "3-1": Rules(articles.upstream, articles.corrected),
    "3-2": Rules(rouge.upstream, rouge.corrected),
    "3-3": Rules(labels.upstream_charges, labels.corrected_charges),
    "3-4": Rules(prison_terms.upstream, prison_terms.corrected),
    "3-5": Rules(prison_terms.upstream, prison_terms.corrected),
    "3-6": Rules(choices.upstream_letters("正确答案:", "ABCD"), choices.corrected_letters("ABCD")),
    "3-7": Rules(amounts.upstream, amounts.corrected),
    "3-8": Rules(rouge.upstream, rouge.corrected),
}
SUBTASKS = tuple(RULES)

_WIDTH = 4
"""Per sub-task: value or right corrections, wrong ones, missed ones, rows that count."""


class LawBench:
    """One of LawBench's sub-tasks, or all of them; a `PooledMetric`.

    Items are the data set's rows (`instruction`, `question`, `answer`) or the official evaluation's
    (`origin_prompt`, `refr`). Rows that the official code skips have the value 0 and do not count. `secondary`: the
    share of rows without a recognisable answer (`abstention`, of all rows as upstream has it), of a mixture the
    score of each sub-task, of the corrected form the score of the official one if the packages that it needs are there
    in LawBench's versions; where 2-1 is scored officially, how many of its four `lexicon` parts were as there: below 4
    it is an approximation.
    """

    aggregate = staticmethod(mean)  # of values; the score is pooled from counts

    examples = (
        MetricExample(
            answer="[正确答案]B",
            columns={"subtask": "1-2", "instruction": "", "question": "", "answer": "正确答案：B。"},
            value=1,
        ),
    )

    def __init__(self, subtask: str | None = None, upstream: bool = False) -> None:
        """Raises InputError for an unknown sub-task."""
        self.subtask = None if subtask is None else one_of(subtask, SUBTASKS, "lawbench")
        self.upstream = upstream

    @property
    def name(self) -> str:
        """'lawbench', 'lawbench:3-1', 'lawbench:3-1/upstream'."""
        return (
            "lawbench" + (f":{self.subtask}" if self.subtask else "") + ("/upstream" if self.upstream else "")
        )

    def score_items(self, items: Sequence[Item], predictions: Sequence[str]) -> list[float]:
        """What each answer is worth alone. Raises InputError for a row without what the scorer reads."""
        return [outcome.value for _, outcome in self._outcomes(items, predictions)]

    def counts(self, items: Sequence[Item], predictions: Sequence[str]) -> Counts:
        """Four numbers for each sub-task, of which a row fills its own."""
        table = np.zeros((len(items), len(self._scored), _WIDTH))
        for row, (subtask, outcome) in zip(table, self._outcomes(items, predictions), strict=True):
            if outcome.counted:
                sums = outcome.edits if subtask == PROOFREADING else (outcome.value, 0.0, 0.0)
                row[self._scored.index(subtask)] = (*sums, 1.0)
        return table.reshape(len(items), -1)

    def pooled(self, totals: Counts) -> Counts:
        """The score, or of a mixture the mean over the sub-tasks that have rows."""
        sums = np.asarray(totals, dtype=float)
        sums = sums.reshape(*sums.shape[:-1], len(self._scored), _WIDTH)
        scored = sums[..., 3] > 0
        scores = np.where(scored, sums[..., 0] / np.maximum(sums[..., 3], 1), 0.0)
        if PROOFREADING in self._scored:
            at = self._scored.index(PROOFREADING)
            f = np.vectorize(self._f_score, otypes=[float])(*np.moveaxis(sums[..., at, :3], -1, 0))
            scores[..., at] = np.where(scored[..., at], f, 0.0)
        return np.asarray(scores.sum(axis=-1) / np.maximum(scored.sum(axis=-1), 1))

    def secondary(self, items: Sequence[Item], predictions: Sequence[str]) -> dict[str, float]:
        """See the class."""
        outcomes = self._outcomes(items, predictions)
        figures = {"abstention": sum(outcome.abstained for _, outcome in outcomes) / len(outcomes)}
        if self.subtask is None:
            figures |= self._by_subtask(items, predictions)
        if any(subtask == PROOFREADING for subtask, _ in outcomes):
            figures["lexicon"] = float(lexicon.official().parts)
        if not self.upstream:
            official = LawBench(self.subtask, upstream=True)
            with contextlib.suppress(InputError):  # a package is missing; the rows were read above
                totals = official.counts(items, predictions).sum(axis=0)
                figures[official.name] = float(official.pooled(totals))
        return figures

    @property
    def _scored(self) -> tuple[str, ...]:
        return SUBTASKS if self.subtask is None else (self.subtask,)

    def _f_score(self, right: float, wrong: float, missed: float) -> float:
        f = proofreading.f_score(right, wrong, missed)
        return round(f, 4) if self.upstream else f

    def _by_subtask(self, items: Sequence[Item], predictions: Sequence[str]) -> dict[str, float]:
        """The score of each sub-task that occurs."""
        totals = self.counts(items, predictions).sum(axis=0).reshape(len(SUBTASKS), _WIDTH)
        return {
            f"lawbench:{subtask}": float(LawBench(subtask, self.upstream).pooled(sums))
            for subtask, sums in zip(SUBTASKS, totals, strict=True)
            if sums[3]
        }

    def _outcomes(self, items: Sequence[Item], predictions: Sequence[str]) -> list[tuple[str, Outcome]]:
        """Per item its sub-task and its outcome."""
        found = []
        for item, prediction in zip(items, predictions, strict=True):
            subtask = self.subtask or one_of(column(item, "subtask", "lawbench"), SUBTASKS, row_name(item))
            found.append((subtask, _scored(subtask, self.upstream, case(item, prediction))))
        return found


@lru_cache(maxsize=8192)
def _scored(subtask: str, upstream: bool, given: Case) -> Outcome:
    """The rule's outcome, kept, because values, counts and figures are asked for one after the other."""
    rules = RULES[subtask]
    if not upstream:
        return rules.corrected(given)
    try:
        return rules.upstream(given)
    except InputError:  # a package is missing, or of another version
        raise
    except Exception:  # what the official code crashes on
        return Outcome()
