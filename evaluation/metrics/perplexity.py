"""How likely the model holds the right answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from ..task import Item
from .measure import mean
from .metric_example import MetricExample
from .protocol import Counts

Likelihoods = Sequence[tuple[float, int]]
"""Per item the log-probability of the reference, and its number of tokens."""


class Perplexity:
    """1 / perplexity of the right answers: the geometric mean of the probabilities of all their tokens.

    Perplexity is exp(-log-probability / tokens), over the tokens of all answers together (Jelinek et al. 1977). The end
    of the answer counts as a token, the prompt does not. Nothing is generated. More is better: 1 is certainty.
    `secondary`: the perplexity itself, and the mean number of tokens of an answer.
    """

    name = "1/perplexity"
    of_references: Literal[True] = True
    aggregate = staticmethod(mean)
    examples = (
        MetricExample(reference="Paris", answer=(-1.3862943611198906, 2), value=0.5),
        MetricExample(reference="Rome", answer=(0.0, 1), value=1),
    )

    def score_items(self, items: Sequence[Item], predictions: Likelihoods) -> list[float]:
        """The geometric mean of the probabilities of an answer's tokens."""
        return [float(self.pooled(row)) for row in self.counts(items, predictions)]

    def counts(self, items: Sequence[Item], predictions: Likelihoods) -> Counts:
        """Per item the log-probability and the number of tokens."""
        return np.array([(float(log), float(tokens)) for log, tokens in predictions]).reshape(-1, 2)

    def pooled(self, totals: Counts) -> Counts:
        """exp(log-probability / tokens); 0 without tokens."""
        logs, tokens = totals[..., 0], totals[..., 1]
        return np.where(tokens > 0, np.exp(logs / np.maximum(tokens, 1)), 0.0)

    def secondary(self, items: Sequence[Item], predictions: Likelihoods) -> dict[str, float]:
        """The perplexity, and the mean number of tokens of an answer."""
        counts = self.counts(items, predictions)
        logs, tokens = counts.sum(axis=0)
        perplexity = math.exp(min(700.0, -logs / tokens)) if tokens else 0.0
        return {"perplexity": perplexity, "answer_tokens": tokens / max(1, len(counts))}
