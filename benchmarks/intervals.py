"""Whether intervals cover what they claim, and how often the best of many is called better than it is.

    python benchmarks/intervals.py [--repetitions 600 --seed 0 --json]

Systems with known true scores answer simulated items (see `simulated.py`); an interval covers if it holds the
truth, which it should in 95 % of repetitions. The percentile bootstrap stands beside it for comparison.
Coverage for shares is computed exactly, from the binomial distribution. Then: how often a gain of 0 is called
significant, and how often the best of 60 configurations is called better than the baseline when none of them is
(at most 5 %), and when one is, by 3 points.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import stats
from simulated import LABELLERS, OVERLAPS, Array, Labels, MacroF1, MeanScore, labelled, macro_f1, uniforms
from trex.evaluation.metrics import Measured
from trex.evaluation.results import Score
from trex.evaluation.statistics.best_of_many import improvement_measured
from trex.evaluation.statistics.comparison import paired_gain
from trex.evaluation.statistics.gain_ratio import gain_ratio
from trex.evaluation.statistics.intervals import score_measured, wilson
from trex.evaluation.statistics.resampling import of_counts, of_values, replicates
from trex.evaluation.statistics.seeds import seeds_and_items_measured

CANDIDATES = 60
DRAWS = 500
"""Resamples in the test of the best of many: its level is exact for any number, if they are drawn anew each time."""


MEAN = MeanScore()


def measured(values: Array) -> Measured:
    """Values as a metric would have measured them."""
    return Measured(values.tolist(), {})


@dataclass(frozen=True)
class Coverage:
    """The share of intervals that hold the truth, and of those that lie below and above it."""

    kind: str
    case: str
    n: int
    share: float
    below: float
    above: float
    percentile: float | None = None


@dataclass(frozen=True)
class Called:
    """How often something was called significant. `real` is the gain that was there."""

    test: str
    case: str
    n: int
    real: float
    share: float


def covered(
    kind: str, case: str, n: int, truth: float, found: Sequence[Score], plain: Sequence[Array] = ()
) -> Coverage:
    """How often the intervals hold the truth; `plain` are bootstrap replicates for percentile intervals."""
    below = sum(s.ci_high < truth for s in found) / len(found)
    above = sum(s.ci_low > truth for s in found) / len(found)
    ends = [np.quantile(drawn, (0.025, 0.975)) for drawn in plain]
    percentile = sum(low <= truth <= high for low, high in ends) / len(ends) if ends else None
    return Coverage(kind, case, n, 1 - below - above, below, above, percentile)


def shares() -> Iterator[Coverage]:
    """Wilson's interval, exactly; beside it what the percentile bootstrap tends to, the binomial quantiles."""
    for n in (100, 200, 500, 1000):
        hits = np.arange(n + 1)
        ends = np.array([wilson(int(x), n) for x in hits])
        for p in (0.5, 0.7, 0.9, 0.97):
            chance = stats.binom.pmf(hits, n, p)
            below, above = float(chance[ends[:, 1] < p].sum()), float(chance[ends[:, 0] > p].sum())
            low, high = (stats.binom.ppf(tail, n, hits / n) / n for tail in (0.025, 0.975))
            percentile = float(chance[(low <= p) & (p <= high)].sum())
            yield Coverage("accuracy", f"p = {p}", n, 1 - below - above, below, above, percentile)


def overlaps(repetitions: int, generator: np.random.Generator) -> Iterator[Coverage]:
    """The mean of skewed values."""
    for n in (40, 150, 500):
        for system in OVERLAPS:
            samples = system.values(generator.random((repetitions, n)))
            found = [score_measured(MEAN, measured(sample)) for sample in samples]
            plain = [replicates([of_values("overlap", sample)])[0] for sample in samples]
            yield covered("overlap", system.name, n, system.truth, found, plain)


def labels(repetitions: int, generator: np.random.Generator) -> Iterator[Coverage]:
    """Macro-F1 over ten labels."""
    for n in (150, 400, 1000):
        for system in LABELLERS:
            samples = [labelled(generator, [system], n)[0] for _ in range(repetitions)]
            found = [score_measured(MacroF1(), Measured([0.0] * n, {}, sample)) for sample in samples]
            plain = [replicates([of_counts("macro-F1", sample, macro_f1)])[0] for sample in samples]
            yield covered("macro-F1", system.name, n, system.truth, found, plain)


Pair = Callable[[], tuple[Measured, Measured]]


def gains(repetitions: int, generator: np.random.Generator) -> Iterator[tuple[Coverage, Called]]:
    """A gain on the same items: does its interval hold it, and is one of 0 called significant?"""
    skewed, good, better = OVERLAPS[1], LABELLERS[1], Labels("better", 0.86, 0.03)

    def right(n: int, p: float, q: float) -> tuple[Measured, Measured]:
        before, after = uniforms(generator, 2, n, 0.9)
        return measured((before < p) * 1.0), measured((after < q) * 1.0)

    def overlap(n: int) -> tuple[Measured, Measured]:
        before, after = skewed.values(uniforms(generator, 2, n, 0.9))
        changed = generator.random(n) < 0.3  # most answers stay the same
        return measured(before), measured(np.where(changed, after, before))

    def f1(n: int, after: Labels) -> tuple[Measured, Measured]:
        counts = labelled(generator, [good, after], n, 0.9)
        return Measured([0.0] * n, {}, counts[0]), Measured([0.0] * n, {}, counts[1])

    for n in (150, 500):
        cases: list[tuple[str, MeanScore, float, Pair]] = [
            ("accuracy .9", MeanScore(), 0.0, lambda n=n: right(n, 0.9, 0.9)),  # type: ignore[misc]
            ("accuracy .8 to .83", MeanScore(), 0.03, lambda n=n: right(n, 0.8, 0.83)),  # type: ignore[misc]
            ("overlap, 30 % change", MeanScore(), 0.0, lambda n=n: overlap(n)),  # type: ignore[misc]
            ("macro-F1", MacroF1(), 0.0, lambda n=n: f1(n, good)),  # type: ignore[misc]
            ("macro-F1", MacroF1(), better.truth - good.truth, lambda n=n: f1(n, better)),  # type: ignore[misc]
        ]
        for case, scorer, real, pair in cases:
            found = [paired_gain(scorer, *pair()) for _ in range(repetitions)]
            called = sum(gain.p_value <= 0.05 for gain in found) / repetitions
            kept = covered("gain", f"{case}, {real:+.3f}", n, real, [gain.score for gain in found])
            yield kept, Called("gain", case, n, real, called)


def seeds(repetitions: int, generator: np.random.Generator) -> Iterator[Coverage]:
    """Accuracy over seeds and items, where seeds differ by a true standard deviation."""
    n = 300
    for k in (3, 5):
        for spread in (0.0, 0.01, 0.03):
            found = []
            for _ in range(repetitions):
                trained = np.clip(0.8 + spread * generator.standard_normal(k), 0, 1)
                right = (uniforms(generator, k, n, 0.8) < trained[:, None]) * 1.0
                found.append(seeds_and_items_measured(MEAN, [measured(row) for row in right]))
            yield covered("items and seeds", f"{k} seeds, sd {spread}", n, 0.8, found)


def ratios(repetitions: int, generator: np.random.Generator) -> Iterator[Coverage]:
    """The share of the reference's lead that was closed: base .6, score .72, reference .8, thus G = .6."""
    for n in (150, 500):
        found = []
        for _ in range(repetitions):
            base, after = (uniforms(generator, 2, n, 0.6) < np.array([[0.6], [0.72]])) * 1.0
            scores = [score_measured(MEAN, measured(values)) for values in (after, base)]
            found.append(gain_ratio(scores[0], scores[1], 0.8))
        yield covered("gain ratio", "as if independent", n, 0.6, [g for g in found if g is not None])


def best_of_many(repetitions: int, generator: np.random.Generator) -> Iterator[Called]:
    """The best of 60 candidates against the baseline, on the items it was selected on."""
    for n in (150, 500):
        for alike in (0.0, 0.9):
            for p, real in ((0.7, 0.0), (0.9, 0.0), *(((0.9, 0.03),) if n == 500 else ())):
                bar = np.full((CANDIDATES + 1, 1), p)
                bar[1] += real
                draws = (
                    (uniforms(generator, CANDIDATES + 1, n, alike) < bar) * 1.0 for _ in range(repetitions)
                )
                yield _called(f"accuracy {p}, alike {alike}", n, real, draws)
            skewed = OVERLAPS[1]
            draws = (skewed.values(uniforms(generator, CANDIDATES + 1, n, alike)) for _ in range(repetitions))
            yield _called(f"overlap, alike {alike}", n, 0.0, draws)


def _called(case: str, n: int, real: float, draws: Iterator[Array]) -> Called:
    significant, total = 0, 0
    for systems in draws:
        total += 1
        baseline, *candidates = map(measured, systems)
        found = improvement_measured(MEAN, baseline, candidates, seed=total, resamples=DRAWS)
        significant += found.p_value <= 0.05
    return Called("best of 60", case, n, real, significant / total)


def show(coverage: Sequence[Coverage], called: Sequence[Called], repetitions: int, seconds: float) -> None:
    """Print the tables."""
    first = Table(title=f"95 % intervals: the share that holds the truth, {repetitions} repetitions")
    for heading in ("score", "case", "items", "covered", "too low", "too high", "percentile bootstrap"):
        first.add_column(heading, justify="left" if heading in ("score", "case") else "right", no_wrap=True)
    for row in coverage:
        cells = [f"{row.share:.1%}", f"{row.below:.1%}", f"{row.above:.1%}"]
        first.add_row(
            row.kind,
            row.case,
            str(row.n),
            *cells,
            f"{row.percentile:.1%}" if row.percentile is not None else "",
        )
    second = Table(title="Called significant at the 5 % level: at most 5 % should be where the gain is 0")
    for heading in ("test", "case", "items", "true gain", "called"):
        second.add_column(heading, justify="left" if heading in ("test", "case") else "right", no_wrap=True)
    for line in called:
        cells = [f"{line.real:+.3f}", f"{line.share:.1%}"]
        second.add_row(line.test, line.case, str(line.n), *cells)
    console = Console(width=120)
    console.print(first)
    console.print(second)
    noise = 1.96 * math.sqrt(0.05 * 0.95 / repetitions)
    console.print(
        f"Shares near 5 or 95 % are known within ± {noise:.1%}; accuracy's are exact. {seconds:.0f} s."
    )


def main() -> int:
    """Run the simulations and print them."""
    parser = argparse.ArgumentParser(description="Coverage of intervals, and error rates of tests.")
    parser.add_argument("--repetitions", type=int, default=600, help="data sets a cell (at least 2)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    if options.repetitions < 2:
        parser.error("--repetitions must be at least 2")
    start, repetitions = time.perf_counter(), options.repetitions
    generator = np.random.default_rng(options.seed)
    coverage = [*shares(), *overlaps(repetitions, generator), *labels(repetitions, generator)]
    pairs = list(gains(repetitions, generator))
    coverage += [kept for kept, _ in pairs]
    coverage += [*seeds(repetitions, generator), *ratios(repetitions, generator)]
    called = [*(called for _, called in pairs), *best_of_many(repetitions, generator)]
    seconds = time.perf_counter() - start
    if options.json:
        figures = {"coverage": [asdict(row) for row in coverage], "called": [asdict(row) for row in called]}
        settings = {"repetitions": repetitions, "seed": options.seed, "seconds": round(seconds, 1)}
        print(json.dumps({**settings, **figures}, indent=1))
    else:
        show(coverage, called, repetitions, seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
