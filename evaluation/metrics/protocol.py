"""What a metric is: one value per item, an aggregate over items, and further figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..engines.protocol import Sampling
from ..task import Item
from .judging import JudgedAnswer, JudgeQuestion, Verdicts

UPSTREAM = "/upstream"
"""Ends the name of a metric in its official form."""

Counts = NDArray[np.float64]


@runtime_checkable
class Metric(Protocol):
    """Scores answers. Items carry their columns; in a run also `reference`, the answer the prompt expects.

    The keyword arguments of the class are the metric's options in a task file. A class may also have `examples`
    (`metric_example`), and `scored_by`, functions and metrics of other modules that decide its values.
    """

    @property
    def name(self) -> str:
        """What the score is called in tables, e.g. 'accuracy'."""
        ...

    def score_items(self, items: Sequence[Item], predictions: Sequence[str]) -> list[float]:
        """One finite value per item, more is better; 1.0 is a right answer where there is right and wrong."""
        ...

    def aggregate(self, values: Sequence[float]) -> float:
        """The score of a set of values, usually their mean. Called on resamples for the interval."""
        ...

    def secondary(self, items: Sequence[Item], predictions: Sequence[str]) -> dict[str, float]:
        """Further figures, e.g. validity; may be empty."""
        ...


@runtime_checkable
class PooledMetric(Metric, Protocol):
    """A metric whose score is a function of counts summed over items, as macro-F1 is, and not of the values.

    `aggregate` is then the mean of the values and is not the score.
    """

    def counts(self, items: Sequence[Item], predictions: Sequence[str]) -> Counts:
        """Per item a row of k finite numbers: shape (n, k)."""
        ...

    def pooled(self, totals: Counts) -> Counts:
        """The scores of sums of counts: shape (..., k) to shape (...)."""
        ...


@runtime_checkable
class RewardingMetric(Metric, Protocol):
    """A metric with partial credit, for reinforcement learning on training rows. Scores never use it."""

    def reward_items(self, items: Sequence[Item], predictions: Sequence[str]) -> list[float]:
        """One value in 0…1 per item; 1.0 only where `score_items` gives 1.0. The docstring says for what."""
        ...


@runtime_checkable
class LikelihoodMetric(Metric, Protocol):
    """A metric of how likely the model holds the right answer: nothing is generated.

    Its predictions are pairs: the log-probability of the item's reference, and its number of tokens.
    """

    @property
    def of_references(self) -> Literal[True]:
        """Marks it."""
        ...


@runtime_checkable
class SampledMetric(Metric, Protocol):
    """A metric of several sampled answers an item: its predictions are lists of texts."""

    @property
    def sampling(self) -> Sampling:
        """How the answers are drawn."""
        ...

    def pick(self, item: Item, samples: Sequence[str]) -> int:
        """Which sample stands for all in predictions and failure cases."""
        ...


@runtime_checkable
class JudgedMetric(Metric, Protocol):
    """A metric whose values come from a judge, a language model: its predictions are the verdicts on each answer."""

    @property
    def against_base(self) -> bool:
        """Whether answers are compared with those of the base model."""
        ...

    @property
    def max_unjudged(self) -> float:
        """The largest share of items that may have no value."""
        ...

    def questions(self, answers: Sequence[JudgedAnswer]) -> list[list[JudgeQuestion]]:
        """What the judge is asked about each answer; nothing where the value is known."""
        ...

    def unjudged(self, verdicts: Verdicts) -> bool:
        """Whether these verdicts give an answer no value."""
        ...
