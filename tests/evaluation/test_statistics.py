from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from trex.errors import TrexError
from trex.evaluation.metrics import Counts, Measured, mean
from trex.evaluation.metrics.accuracy import Accuracy
from trex.evaluation.results import Score
from trex.evaluation.statistics.gain_ratio import gain_ratio
from trex.evaluation.statistics.intervals import bca, bootstrap_t, score_measured, wilson
from trex.evaluation.statistics.resampling import (
    RESAMPLES,
    item_draws,
    of_counts,
    of_values,
    replicates,
    sign_draws,
)
from trex.evaluation.statistics.seeds import seeds_and_items_measured, variance_of_mean

Array = NDArray[np.float64]


def f1(totals: Array) -> Array:
    """Macro-F1 of three classes from tp, fp, fn."""
    tp, fp, fn = totals[..., :3], totals[..., 3:6], totals[..., 6:]
    below = 2 * tp + fp + fn
    return np.asarray(np.divide(2 * tp, below, out=np.zeros_like(below), where=below > 0).mean(axis=-1))


def answers(seed: int, n: int) -> Array:
    """Counts of three classes, the third of them rare, answered rightly in 70, 80 and 50 %."""
    generator = np.random.default_rng(seed)
    truth = generator.choice(3, n, p=[0.5, 0.4, 0.1])
    right = generator.random(n) < np.array([0.7, 0.8, 0.5])[truth]
    said = np.where(right, truth, (truth + 1) % 3)
    gold, named = np.eye(3, dtype=bool)[truth], np.eye(3, dtype=bool)[said]
    return np.concatenate([gold & named, ~gold & named, gold & ~named], axis=1).astype(float)


class Stated(Accuracy):
    """A metric of that name, with that aggregate."""

    def __init__(self, name: str, aggregate: Callable[[Sequence[float]], float] = mean) -> None:
        self.name = name
        self.aggregate = aggregate  # type: ignore[method-assign]


class Pooling(Stated):
    """A metric whose score is pooled from counts."""

    def __init__(self, name: str, pooled: Callable[[Counts], Counts]) -> None:
        super().__init__(name)
        self.pooled = pooled

    def counts(self, items: object, predictions: object) -> Counts:
        raise NotImplementedError


def score(
    name: str,
    values: Sequence[float] | Array,
    aggregate: Callable[[Sequence[float]], float] = mean,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Score:
    measured = Measured(list(values), {})
    return score_measured(Stated(name, aggregate), measured, seed=seed, resamples=resamples)


def pooled_score(
    name: str, counts: Counts, pooled: Callable[[Counts], Counts], *, resamples: int = RESAMPLES
) -> Score:
    measured = Measured([0.0] * len(counts), {}, counts)
    return score_measured(Pooling(name, pooled), measured, resamples=resamples)


def seeds_and_items(name: str, values: Sequence[Sequence[float]] | Array) -> Score:
    return seeds_and_items_measured(Stated(name), [Measured(list(row), {}) for row in values])


# Shares


@pytest.mark.parametrize("n", [100, 200, 500, 1000])
def test_wilson_covers_every_share(n: int) -> None:
    """Exactly, from the binomial distribution."""
    hits = np.arange(n + 1)
    ends = np.array([wilson(int(x), n) for x in hits])
    for p in (0.5, 0.6, 0.75, 0.85, 0.9, 0.95, 0.97):
        inside = (ends[:, 0] <= p) & (p <= ends[:, 1])
        assert 0.93 <= stats.binom.pmf(hits, n, p)[inside].sum() <= 0.97


@pytest.mark.parametrize("n", [10, 400])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.7, 1.0])
def test_binary_values_get_wilsons_interval(n: int, share: float) -> None:
    successes = round(n * share)
    found = score("accuracy", [1.0] * successes + [0.0] * (n - successes))
    theirs = stats.binomtest(successes, n).proportion_ci(method="wilson")
    assert (found.ci_low, found.ci_high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert found.standard_error == pytest.approx((found.ci_high - found.ci_low) / (2 * 1.959964), rel=1e-6)
    assert found.covers == "items"


@pytest.mark.parametrize("values", [[1.0] * 50, [0.0] * 50, [1.0] * 30 + [0.0] * 20])
def test_a_share_in_per_cent_has_the_same_interval(values: list[float]) -> None:
    plain, scaled = score("a", values), score("a", values, lambda rows: 100 * sum(rows) / len(rows))
    for field in ("value", "ci_low", "ci_high", "standard_error"):
        assert getattr(scaled, field) == pytest.approx(100 * getattr(plain, field))
    assert plain.ci_high - plain.ci_low > 0.05


def test_a_median_of_binary_values_is_no_share() -> None:
    found = score("median", [1.0] * 45 + [0.0] * 5, lambda rows: float(np.median(rows)))
    assert (found.value, found.ci_low, found.ci_high) == (1.0, 1.0, 1.0)


# Means of other values


def skewed(seed: int, n: int) -> Array:
    return np.random.default_rng(seed).beta(0.3, 3, n)


def test_bootstrap_t_is_efrons() -> None:
    """Against the definition, one resample at a time, on the same draws."""
    values = skewed(0, 60)
    ratios = []
    for weights in item_draws(60, 300, 5):
        for row in weights:
            sample = np.repeat(values, row.astype(int))
            assert len(sample) == 60
            ratios.append((sample.mean() - values.mean()) / (sample.std() / math.sqrt(60)))
    low, high = np.quantile(ratios, [0.025, 0.975])
    error = values.std() / math.sqrt(60)
    expected = (values.mean() - high * error, values.mean() - low * error)
    assert bootstrap_t(values, seed=5, resamples=300) == pytest.approx(expected, rel=1e-9)


def test_the_standard_error_agrees_with_scipy() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=200)
    ours = score("x", values.tolist())
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=5000, rng=1)
    assert ours.ci_low == pytest.approx(theirs.confidence_interval.low, abs=0.04)
    assert ours.ci_high == pytest.approx(theirs.confidence_interval.high, abs=0.04)
    assert ours.standard_error == pytest.approx(float(theirs.standard_error), rel=0.06)
    assert ours.standard_error == pytest.approx(float(stats.sem(values)))
    assert ours == score("x", values.tolist()) != score("x", values.tolist(), seed=1)


@pytest.mark.parametrize("n", [40, 150])
def test_skewed_means_are_covered(n: int) -> None:
    truth, found = 0.3 / 3.3, [bootstrap_t(skewed(seed, n), resamples=1000) for seed in range(600)]
    inside = sum(low <= truth <= high for low, high in found) / 600
    assert 0.93 <= inside <= 0.97


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=40))
@settings(deadline=None)
def test_the_interval_lies_within_the_values(values: list[float]) -> None:
    found = score("x", values, resamples=50)
    if not set(values) <= {0.0, 1.0}:
        assert min(values) - 1e-9 <= found.ci_low <= found.value + 1e-9
        assert found.value - 1e-9 <= found.ci_high <= max(values) + 1e-9


def test_a_line_in_the_mean_is_known_as_one() -> None:
    values = skewed(1, 80).tolist()
    plain, line = score("x", values), score("x", values, lambda rows: 5 - 2 * sum(rows) / len(rows))
    assert (line.ci_low, line.ci_high) == pytest.approx((5 - 2 * plain.ci_high, 5 - 2 * plain.ci_low))
    assert line.standard_error == pytest.approx(2 * plain.standard_error)
    assert score("x", [0.7] * 9, lambda rows: 100 * sum(rows) / len(rows)).value == pytest.approx(70)


# Pooled scores and other aggregates


def test_bca_agrees_with_scipy() -> None:
    counts = answers(3, 300)
    ours = pooled_score("f1", counts, f1, resamples=4000)

    def statistic(*columns: Array, axis: int = -1) -> Array:
        return f1(np.moveaxis(np.stack([column.sum(axis=axis) for column in columns]), 0, -1))

    theirs = stats.bootstrap(
        tuple(counts.T), statistic, paired=True, method="BCa", n_resamples=4000, vectorized=True, rng=1
    )
    assert ours.value == pytest.approx(float(f1(counts.sum(axis=0))))
    assert ours.ci_low == pytest.approx(theirs.confidence_interval.low, abs=0.006)
    assert ours.ci_high == pytest.approx(theirs.confidence_interval.high, abs=0.006)
    assert ours.standard_error == pytest.approx(float(theirs.standard_error), rel=0.05)


def test_a_pooled_mean_is_the_mean() -> None:
    """The general path (BCa) and scipy's, on a score with a closed form."""
    values = skewed(2, 200)
    pooled = pooled_score("x", values[:, None], lambda sums: sums[..., 0] / 200, resamples=6000)
    theirs = stats.bootstrap((values,), np.mean, method="BCa", n_resamples=6000, rng=3).confidence_interval
    assert pooled.value == pytest.approx(values.mean())
    assert (pooled.ci_low, pooled.ci_high) == pytest.approx((theirs.low, theirs.high), abs=0.002)


def test_macro_f1_is_covered() -> None:
    at_large = answers(0, 400_000)
    truth = float(f1(at_large.sum(axis=0)))
    found = []
    for seed in range(1, 501):
        estimate = of_counts("f1", answers(seed, 150), f1)
        found.append(bca(estimate, replicates([estimate], resamples=1000)[0]))
    assert 0.93 <= sum(low <= truth <= high for low, high in found) / 500 <= 0.97


def test_another_aggregate_is_resampled_too() -> None:
    values = np.random.default_rng(0).normal(size=101).tolist()
    ours = score("median", values, lambda rows: float(np.median(rows)))
    theirs = stats.bootstrap((values,), np.median, method="BCa", n_resamples=5000, rng=1)
    assert ours.value == np.median(values)
    assert ours.ci_low == pytest.approx(theirs.confidence_interval.low, abs=0.1)
    assert ours.ci_high == pytest.approx(theirs.confidence_interval.high, abs=0.1)


def test_draws_are_resamples_and_signs() -> None:
    weights = np.concatenate(list(item_draws(7, 1200, 1)))
    assert weights.shape == (1200, 7) and set(weights.sum(axis=1)) == {7.0}
    assert weights.mean(axis=0) == pytest.approx(np.ones(7), abs=0.1)
    assert weights.var() == pytest.approx(6 / 7, abs=0.05)
    signs = np.concatenate(list(sign_draws(5, 1001, 1)))
    assert signs.shape == (1001, 5) and set(signs.ravel()) == {-1.0, 1.0}
    assert abs(signs.mean()) < 0.05
    again = np.concatenate(list(item_draws(7, 1200, 1)))
    assert (weights == again).all()


@pytest.mark.parametrize("make", [lambda: of_values("x", []), lambda: of_counts("x", np.empty((0, 2)), f1)])
def test_no_score_of_nothing(make: Callable[[], object]) -> None:
    with pytest.raises(TrexError, match="no items"):
        make()


def test_no_score_of_nan() -> None:
    with pytest.raises(TrexError, match="finite"):
        score("x", [1.0, math.nan])
    with pytest.raises(TrexError, match="finite"):
        score("x", [1.0, 0.0], lambda rows: math.nan)
    with pytest.raises(TrexError, match=r"x: .*finite"):
        pooled_score("x", np.eye(3), lambda sums: np.where(sums[..., 0] == 1, 1.0, np.nan))
    with pytest.raises(TrexError):
        wilson(0, 0)


def test_a_thousand_items_are_scored_at_once() -> None:
    values, counts = skewed(0, 1000).tolist(), answers(0, 1000)
    score("x", values)  # the draws are made once for as many items
    times = []
    for _ in range(5):
        start = time.perf_counter()
        score("x", values)
        pooled_score("f1", counts, f1)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.2  # about 0.02 on one idle core


# Seeds and items


def test_the_variance_of_a_two_way_table_by_hand() -> None:
    table = np.array([[1.0, 2.0, 6.0], [3.0, 6.0, 6.0]])
    # Mean squares. Seeds: 3 and 5, so 3 · 2 = 6. Items: 2, 4, 6, so 2 · 4 = 8. Rest: ±(0, 1, -1), so 4 / 2 = 2.
    variance, degrees = variance_of_mean(table)
    assert variance == pytest.approx((6 + 8 - 2) / 6)
    assert degrees == pytest.approx(12**2 / (6**2 / 1 + 8**2 / 2 + 2**2 / 2))
    assert variance_of_mean(np.ones((2, 3))) == (0.0, 2.0)
    # Seeds with one mean: theirs counts as the rest's, 4 / 2 = 2, and the items' 2 · 4 = 8 are left.
    level = np.array([[1.0, 3.0, 7.0], [3.0, 5.0, 3.0]])
    assert variance_of_mean(level)[0] == pytest.approx(2 * float(level.mean(axis=0).var(ddof=1)) / 6)


def test_equal_seeds_leave_the_items() -> None:
    values = skewed(4, 90)
    found = seeds_and_items("x", np.stack([values, values, values]))
    assert found.covers == "items and seeds" and found.n == 90
    assert found.standard_error == pytest.approx(float(stats.sem(values)))


@pytest.mark.parametrize(("k", "spread"), [(3, 0.0), (3, 0.04), (5, 0.02)])
def test_seeds_and_items_are_covered(k: int, spread: float) -> None:
    generator = np.random.default_rng(k)
    inside = 0
    for _ in range(600):
        difficulty = generator.uniform(-0.3, 0.3, 200)
        chance = 0.65 + difficulty + spread * generator.standard_normal((k, 1))
        found = seeds_and_items("x", (generator.random((k, 200)) < chance) * 1.0)
        inside += found.ci_low <= 0.65 <= found.ci_high
    assert 0.93 <= inside / 600 <= 0.975


class MacroF1(Accuracy):
    """Pooled: the counts are given, not made from answers."""

    name = "f1"

    def counts(self, items: object, predictions: object) -> Array:
        raise NotImplementedError

    def pooled(self, totals: Array) -> Array:
        return f1(totals)


def test_pooled_scores_have_seeds_too() -> None:
    seeds = [Measured([0.0] * 400, {}, answers(7, 400)) for _ in range(3)]
    found = seeds_and_items_measured(MacroF1(), seeds)
    alone = pooled_score("f1", answers(7, 400), f1)
    assert found.value == pytest.approx(alone.value)
    assert found.standard_error == pytest.approx(alone.standard_error, rel=0.08)
    values = [Measured(skewed(seed, 50).tolist(), {}) for seed in range(3)]
    error = variance_of_mean(np.array([measured.values for measured in values]))[0] ** 0.5
    assert seeds_and_items_measured(Accuracy(), values).standard_error == pytest.approx(error)


def test_seeds_of_a_score_in_per_cent() -> None:
    class PerCent(Accuracy):
        def aggregate(self, rows: Sequence[float]) -> float:
            return 100 * sum(rows) / len(rows)

    generator = np.random.default_rng(0)
    table = (generator.random((3, 80)) < 0.8) * 1.0
    plain = seeds_and_items("x", table)
    found = seeds_and_items_measured(PerCent(), [Measured(row.tolist(), {}) for row in table])
    assert found.value == pytest.approx(100 * plain.value)
    assert (found.ci_low, found.ci_high) == pytest.approx((100 * plain.ci_low, 100 * plain.ci_high))


@pytest.mark.parametrize("values", [[[1.0, 0.0]], [[1.0], [0.0]], [[1.0, 0.0], [1.0]], [[1.0, math.nan]] * 2])
def test_seeds_need_a_table(values: list[list[float]]) -> None:
    with pytest.raises(TrexError):
        seeds_and_items("x", values)


# The share of the reference's lead


def made(value: float, error: float, low: float, high: float) -> Score:
    return Score(name="x", value=value, n=100, ci_low=low, ci_high=high, standard_error=error)


def test_a_gain_ratio_by_hand() -> None:
    found = gain_ratio(made(0.7, 0.03, 0.64, 0.75), 0.6, 0.8)
    assert found is not None
    assert (found.value, found.standard_error) == pytest.approx((0.5, 0.15))
    assert (found.ci_low, found.ci_high) == pytest.approx((0.2, 0.75))
    base = made(0.6, 0.04, 0.52, 0.66)
    both = gain_ratio(made(0.7, 0.03, 0.64, 0.75), base, 0.8)
    assert both is not None
    assert both.standard_error == pytest.approx(math.hypot(0.03, 0.5 * 0.04) / 0.2)
    assert both.ci_low == pytest.approx(0.5 - math.hypot(0.06, 0.5 * 0.06) / 0.2)
    assert both.ci_high == pytest.approx(0.5 + math.hypot(0.05, 0.5 * 0.08) / 0.2)
    beyond = gain_ratio(made(0.9, 0.03, 0.84, 0.95), base, 0.8)  # 1 - G is negative: the base's ends swap
    assert beyond is not None
    assert beyond.ci_low == pytest.approx(1.5 - math.hypot(0.06, 0.5 * 0.08) / 0.2)
    assert beyond.ci_high == pytest.approx(1.5 + math.hypot(0.05, 0.5 * 0.06) / 0.2)


@pytest.mark.parametrize("reference", [0.6, 0.5])
def test_no_gain_ratio_without_a_lead(reference: float) -> None:
    assert gain_ratio(made(0.7, 0.03, 0.64, 0.75), 0.6, reference) is None
    with pytest.raises(TrexError, match="finite"):
        gain_ratio(made(0.7, 0.03, 0.64, 0.75), 0.6, math.inf)
