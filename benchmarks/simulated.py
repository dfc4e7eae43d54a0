"""Systems with known true scores that answer simulated items, for `intervals.py`.

* **Right or wrong**: an item is answered rightly with probability p.
* **Overlap scores** between 0 and 1, as ROUGE's: beta distributions of different skewness; one has 40 % zeros.
* **Ten labels, macro-F1**: an item has each label with that label's frequency, here those of the ten hallmarks
  of cancer over the 1 580 abstracts of Baker et al. (2016, Bioinformatics 32:432), 7 to 29 %; a label that is
  there is found with probability `recall`, one that is not is named with probability `alarm`.
* **Several systems on the same items** share a normal variable of each item with weight `alike`: with 0 they
  fail independently, with 0.95 they mostly fail on the same items (a Gaussian copula, so that every system
  keeps its own distribution).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

Array = NDArray[np.float64]
LABELS = np.array([462, 242, 430, 115, 143, 291, 333, 194, 240, 105]) / 1580


def uniforms(generator: np.random.Generator, systems: int, n: int, alike: float) -> Array:
    """Uniform variables of shape (systems, n), correlated between systems."""
    shared, own = generator.standard_normal(n), generator.standard_normal((systems, n))
    return np.asarray(special.ndtr(np.sqrt(alike) * shared + np.sqrt(1 - alike) * own))


@cache
def quantiles(a: float, b: float) -> Array:
    """Quantiles of a beta distribution on an even grid of 5 001."""
    return np.asarray(stats.beta.ppf(np.linspace(0, 1, 5001), a, b))


@dataclass(frozen=True)
class Overlap:
    """Beta(a, b), a share `zeros` of which is 0."""

    name: str
    a: float
    b: float
    zeros: float = 0.0

    @property
    def truth(self) -> float:
        return (1 - self.zeros) * self.a / (self.a + self.b)

    def values(self, uniform: Array) -> Array:
        grid = quantiles(self.a, self.b)
        above = np.clip((uniform - self.zeros) / (1 - self.zeros), 0, 1)
        return np.asarray(np.where(uniform < self.zeros, 0.0, grid[(above * 5000).astype(int)]))


OVERLAPS = (
    Overlap("mild skew", 2.0, 5.0),
    Overlap("strong skew", 0.3, 3.0),
    Overlap("near 1", 5.0, 0.7),
    Overlap("40 % zeros", 2.0, 5.0, zeros=0.4),
)


def macro_f1(totals: Array) -> Array:
    """The mean of ten labels' F1 from true positives, false positives and false negatives; 0 of nothing is 0."""
    k = len(LABELS)
    hits, wrong = totals[..., :k], totals[..., k : 2 * k] + totals[..., 2 * k :]
    below = 2 * hits + wrong
    return np.asarray(np.divide(2 * hits, below, out=np.zeros_like(below), where=below > 0).mean(axis=-1))


@dataclass(frozen=True)
class Labels:
    """A system that names labels."""

    name: str
    recall: float
    alarm: float

    @property
    def truth(self) -> float:
        hits = LABELS * self.recall
        return float(macro_f1(np.concatenate([hits, (1 - LABELS) * self.alarm, LABELS - hits])))

    def counts(self, there: NDArray[np.bool_], uniform: Array) -> Array:
        """Per item true positives, false positives and false negatives of ten labels: shape (n, 30)."""
        said = uniform < np.where(there, self.recall, self.alarm)
        return np.concatenate([there & said, ~there & said, there & ~said], axis=1).astype(float)


LABELLERS = (Labels("weak", 0.4, 0.05), Labels("good", 0.8, 0.03), Labels("strong", 0.95, 0.01))


def labelled(
    generator: np.random.Generator, systems: Sequence[Labels], n: int, alike: float = 0.0
) -> list[Array]:
    """The counts of several systems on the same n items."""
    there = generator.random((n, len(LABELS))) < LABELS
    drawn = uniforms(generator, len(systems), n * len(LABELS), alike).reshape(len(systems), n, -1)
    return [system.counts(there, uniform) for system, uniform in zip(systems, drawn, strict=True)]


class MeanScore:
    """A metric whose score is the mean of the values, for the functions that want one."""

    name = "mean"

    def score_items(self, items: Sequence[object], predictions: Sequence[str]) -> list[float]:
        raise NotImplementedError("simulated systems give values, not answers")

    def aggregate(self, rows: Sequence[float]) -> float:
        return float(np.mean(rows))

    def secondary(self, items: Sequence[object], predictions: Sequence[str]) -> dict[str, float]:
        return {}


class MacroF1(MeanScore):
    """The pooled metric of `Labels`."""

    name = "macro-F1"
    pooled: Callable[[Array], Array] = staticmethod(macro_f1)

    def counts(self, items: Sequence[object], predictions: Sequence[str]) -> Array:
        raise NotImplementedError("simulated systems give counts, not answers")
