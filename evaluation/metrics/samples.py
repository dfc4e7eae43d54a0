"""Metrics of several sampled answers to an item: pass@k and majority vote."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from ...errors import InputError
from ..engines.protocol import Sampling
from ..metric_name import metric_text
from ..task import Item
from . import metric as named_metric
from .accuracy import after_thoughts, normalise
from .measure import mean
from .metric_example import MetricExample
from .numeric import Numeric, last_number
from .protocol import PooledMetric

Samples = Sequence[Sequence[str]]
"""Several answers an item; one alone may be a text."""

Inner = Annotated[
    str | dict[str, Any], Field(description="The metric of a single answer, by name or with its options")
]
Number = Annotated[int, Field(ge=1, le=1000, description="Answers drawn for each item")]
Temperature = Annotated[float, Field(gt=0, le=5, description="Of the draws; smaller is nearer to greedy")]
TopP = Annotated[float, Field(gt=0, le=1, description="Draw from the tokens with this total probability")]
Seed = Annotated[int, Field(ge=0, description="Of the draws")]


class _OfSamples(ABC):
    """What both have in common: an inner metric that gives an answer a value, and how answers are drawn."""

    aggregate = staticmethod(mean)

    def __init__(self, inner: str | Mapping[str, Any], sampling: Sampling) -> None:
        self._inner = named_metric(metric_text(inner))
        if isinstance(self._inner, PooledMetric) or hasattr(self._inner, "sampling"):
            raise InputError(
                f"metric {self._inner.name!r} gives no value to a single answer: choose e.g. exact_match or numeric"
            )
        self.sampling = sampling

    @property
    def scored_by(self) -> Sequence[object]:
        """The inner metric: the evaluator's version covers it."""
        return (self._inner,)

    def score_items(self, items: Sequence[Item], predictions: Samples) -> list[float]:
        """The value of each item's samples."""
        return [self._value(item, _listed(samples)) for item, samples in zip(items, predictions, strict=True)]

    def secondary(self, items: Sequence[Item], predictions: Samples) -> dict[str, float]:
        """The mean value of a single sample ('single')."""
        return {
            "single": mean(
                [
                    mean(self._values(item, _listed(samples)))
                    for item, samples in zip(items, predictions, strict=True)
                ]
            )
        }

    def pick(self, item: Item, samples: Sequence[str]) -> int:
        """Which sample stands for all in predictions and failure cases."""
        values = self._values(item, samples)
        return values.index(max(values))

    @abstractmethod
    def _value(self, item: Item, samples: Sequence[str]) -> float: ...

    def _values(self, item: Item, samples: Sequence[str]) -> list[float]:
        return self._inner.score_items([item] * len(samples), samples)


class PassAtK(_OfSamples):
    """The probability that at least one of k answers is right, estimated from n sampled answers.

    Of n answers, c are right: 1 - C(n - c, k) / C(n, k), which is unbiased (Chen et al. 2021, arXiv 2107.03374). An
    answer is right if the inner metric gives it 1. `secondary`: the mean value of a single answer ('single').
    """

    examples = (
        MetricExample(answer=["4", "5", "6", "7"], reference="5", options={"k": 2, "n": 4}, value=0.5),
    )

    def __init__(
        self,
        k: Annotated[int, Field(ge=1, le=1000, description="Answers of which one must be right")] = 1,
        n: Number = 10,
        metric: Inner = "exact_match",
        temperature: Temperature = 0.8,
        top_p: TopP = 1.0,
        seed: Seed = 0,
    ) -> None:
        """Raises InputError for k above n."""
        if k > n:
            raise InputError(f"metric pass_at_k: k is {k}, but only n={n} answers are drawn: raise n")
        super().__init__(metric, Sampling(n, temperature, top_p, seed))
        self._k = k
        self.name = f"pass@{k}"

    def _value(self, item: Item, samples: Sequence[str]) -> float:
        right = sum(value >= 1 for value in self._values(item, samples))
        return pass_at_k(len(samples), right, min(self._k, len(samples)))


class Majority(_OfSamples):
    """The value of the most frequent of n sampled answers (self-consistency, Wang et al. 2023, arXiv 2203.11171).

    Answers are the same if they are equal without case, white space and punctuation at the ends; for the inner metric
    `numeric`, if their last numbers are equal. Of equally frequent ones the first counts. `secondary`: the mean value
    of a single answer ('single').
    """

    name = "majority"
    examples = (
        MetricExample(
            answer=["It is 18", "so 17", "= 18"], reference="18", options={"metric": "numeric"}, value=1
        ),
    )

    def __init__(
        self,
        n: Number = 10,
        metric: Inner = "accuracy",
        temperature: Temperature = 0.8,
        top_p: TopP = 1.0,
        seed: Seed = 0,
    ) -> None:
        super().__init__(metric, Sampling(n, temperature, top_p, seed))

    def pick(self, item: Item, samples: Sequence[str]) -> int:
        """The first sample with the most frequent answer."""
        votes = [self._vote(sample) for sample in samples]
        return votes.index(Counter(votes).most_common(1)[0][0])

    def _value(self, item: Item, samples: Sequence[str]) -> float:
        [value] = self._values(item, [samples[self.pick(item, samples)]])
        return value

    def _vote(self, answer: str) -> str | float | None:
        if isinstance(self._inner, Numeric):
            return last_number(answer)
        return normalise(after_thoughts(answer))


def pass_at_k(n: int, right: int, k: int) -> float:
    """1 - C(n - right, k) / C(n, k)."""
    return 1.0 - math.comb(n - right, k) / math.comb(n, k)


def _listed(samples: Sequence[str]) -> Sequence[str]:
    return [samples] if isinstance(samples, str) else samples
