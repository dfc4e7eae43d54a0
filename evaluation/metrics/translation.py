"""BLEU and chrF of a set of translations, by sacrebleu."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ...errors import InputError
from ..task import Item
from .accuracy import after_thoughts
from .measure import mean
from .metric_example import MetricExample
from .protocol import Counts
from .reference_metric import Alternatives, references


class _SacrebleuMetric:
    """A score of sacrebleu divided by 100, pooled: n-grams are counted over all items, as `corpus_score` does.

    The statistics of a sentence and the score of summed statistics are methods of sacrebleu's metrics since version 2.
    """

    name: str
    aggregate = staticmethod(mean)  # of values; the score is pooled from counts

    def __init__(self, corpus: Any, sentence: Any, alternatives: str | None) -> None:
        self._corpus = corpus
        self._sentence = sentence
        self._alternatives = alternatives

    def score_items(self, items: Sequence[Item], predictions: Sequence[str]) -> list[float]:
        """The score of each sentence alone, in 0…1."""
        rows = self._statistics(self._sentence, items, predictions)
        return [_share(self._sentence, row) for row in rows]

    def counts(self, items: Sequence[Item], predictions: Sequence[str]) -> Counts:
        """Sacrebleu's statistics of each sentence: matching and possible n-grams, and lengths."""
        return np.array(self._statistics(self._corpus, items, predictions), dtype=float)

    def pooled(self, totals: Counts) -> Counts:
        """The score of summed statistics."""
        rows = totals.reshape(-1, totals.shape[-1])
        return np.array([_share(self._corpus, row) for row in rows]).reshape(totals.shape[:-1])

    def secondary(self, items: Sequence[Item], predictions: Sequence[str]) -> dict[str, float]:
        """The mean of the sentences' scores ('sentence'), and the share of empty answers."""
        return {
            "sentence": mean(self.score_items(items, predictions)),
            "empty": sum(not after_thoughts(answer).strip() for answer in predictions) / len(predictions),
        }

    def _statistics(self, scorer: Any, items: Sequence[Item], predictions: Sequence[str]) -> list[list[int]]:
        wanted = [references(item, self.name, self._alternatives) for item in items]
        most = max(map(len, wanted))
        # One column a reference; sacrebleu takes None for one that a sentence does not have.
        columns = [[texts[n] if n < len(texts) else None for texts in wanted] for n in range(most)]
        answers = [" ".join(after_thoughts(answer).split("\n")) for answer in predictions]
        statistics: list[list[int]] = scorer._extract_corpus_statistics(answers, columns)
        return statistics


class Bleu(_SacrebleuMetric):
    """BLEU of all items together, as sacrebleu computes it (Post 2018, arXiv 1804.08771), divided by 100.

    An item's value is its sentence's BLEU with effective order. `secondary`: the mean of these, and the share of empty
    answers.
    """

    name = "bleu"
    examples = (
        MetricExample(answer="the cat sat on the mat", reference="the cat sat on the mat", value=1),
        MetricExample(answer="the cat sat on the mat", reference="the cat sat on mat", value=0.537285),
    )

    def __init__(
        self,
        tokenize: Annotated[
            Literal["13a", "intl", "zh", "char", "none"],
            Field(
                description="As in sacrebleu: '13a' for most languages, 'zh' for Chinese, 'char' for others"
            ),
        ] = "13a",
        lowercase: Annotated[bool, Field(description="Compare without case")] = False,
        alternatives: Alternatives = None,
    ) -> None:
        """Raises InputError without the library sacrebleu."""
        make = _sacrebleu().BLEU
        # `force`: no warning about text that looks tokenized, which is the model's own.
        settings = {"tokenize": tokenize, "lowercase": lowercase, "force": True}
        super().__init__(make(**settings), make(**settings, effective_order=True), alternatives)


class Chrf(_SacrebleuMetric):
    """The chrF of all items together, as sacrebleu computes it (Popović 2015), divided by 100.

    With `word_order` 2 it is chrF++ (Popović 2017). An item's value is its sentence's chrF. `secondary`: the mean of
    these, and the share of empty answers.
    """

    name = "chrf"
    examples = (
        MetricExample(answer="the cat sat on the mat", reference="the cat sat on mat", value=0.768462),
        MetricExample(answer="", reference="the cat", value=0),
    )

    def __init__(
        self,
        char_order: Annotated[int, Field(ge=1, le=10, description="Longest n-gram of characters")] = 6,
        word_order: Annotated[int, Field(ge=0, le=4, description="Longest n-gram of words")] = 0,
        beta: Annotated[int, Field(ge=1, le=10, description="Weight of recall against precision")] = 2,
        lowercase: Annotated[bool, Field(description="Compare without case")] = False,
        alternatives: Alternatives = None,
    ) -> None:
        """Raises InputError without the library sacrebleu."""
        scorer = _sacrebleu().CHRF(char_order, word_order, beta, lowercase)
        super().__init__(scorer, scorer, alternatives)


def _share(scorer: Any, statistics: Sequence[float] | Counts) -> float:
    score = scorer._compute_score_from_stats([round(float(number)) for number in statistics]).score
    return min(1.0, max(0.0, float(score) / 100))  # rounding errors: 100.00000000000004


def _sacrebleu() -> Any:
    try:
        return importlib.import_module("sacrebleu.metrics")
    except ImportError as error:
        raise InputError(
            "metrics bleu and chrf need sacrebleu, which is not installed: pip install 'trex-finetune[metrics]'"
        ) from error
