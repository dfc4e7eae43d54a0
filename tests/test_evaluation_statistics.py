from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from trex.errors import TrexError
from trex.evaluation.statistics import paired_permutation, score, wilson


def test_the_interval_agrees_with_scipy() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=200)
    ours = score("x", values.tolist())
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=5000, rng=1)
    assert ours.ci_low == pytest.approx(theirs.confidence_interval.low, abs=0.03)
    assert ours.ci_high == pytest.approx(theirs.confidence_interval.high, abs=0.03)
    assert ours.standard_error == pytest.approx(float(theirs.standard_error), rel=0.06)
    assert ours == score("x", values.tolist())


def test_another_aggregate_is_resampled_too() -> None:
    values = np.random.default_rng(0).normal(size=101).tolist()
    ours = score("median", values, lambda rows: float(np.median(rows)))
    theirs = stats.bootstrap((values,), np.median, method="percentile", n_resamples=5000, rng=1)
    assert ours.value == np.median(values)
    assert ours.ci_low == pytest.approx(theirs.confidence_interval.low, abs=0.1)


@pytest.mark.parametrize(("n", "share"), [(20, 0.5), (100, 0.9), (300, 0.65)])
def test_the_interval_covers_the_truth(n: int, share: float) -> None:
    generator = np.random.default_rng(n)
    repetitions = 300
    hits = 0
    for _ in range(repetitions):
        found = score("accuracy", (generator.random(n) < share).astype(float).tolist(), resamples=400)
        hits += found.ci_low <= share <= found.ci_high
    assert 0.90 <= hits / repetitions <= 0.99


@pytest.mark.parametrize("successes", [0, 1, 7, 10])
def test_few_binary_values_get_wilsons_interval(successes: int) -> None:
    values = [1.0] * successes + [0.0] * (10 - successes)
    found = score("accuracy", values)
    theirs = stats.binomtest(successes, 10).proportion_ci(method="wilson")
    assert (found.ci_low, found.ci_high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert found.standard_error > 0


def test_all_right_is_not_certain() -> None:
    found = score("accuracy", [1.0] * 500)
    assert found.value == 1.0
    assert 0.98 < found.ci_low < 1.0
    assert found.standard_error > 0


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=40))
def test_the_interval_lies_within_the_values(values: list[float]) -> None:
    found = score("x", values, resamples=50)
    if not set(values) <= {0.0, 1.0}:
        assert min(values) - 1e-9 <= found.ci_low <= found.ci_high <= max(values) + 1e-9


def test_no_score_of_nothing_or_of_nan() -> None:
    with pytest.raises(TrexError, match="no items"):
        score("x", [])
    with pytest.raises(TrexError, match="finite"):
        score("x", [1.0, math.nan])
    with pytest.raises(TrexError, match="finite"):
        score("x", [1.0, 0.0], lambda rows: math.nan)
    with pytest.raises(TrexError):
        wilson(0, 0)


def test_a_binary_paired_test_is_the_sign_test() -> None:
    a = [1.0] * 30 + [0.0] * 12 + [1.0] * 50
    b = [0.0] * 30 + [1.0] * 12 + [1.0] * 50
    assert paired_permutation(a, b) == pytest.approx(stats.binomtest(12, 42).pvalue)


def test_small_paired_tests_are_exact() -> None:
    a, b = [0.9, 0.7, 0.4, 0.8, 0.6], [0.1, 0.8, 0.3, 0.2, 0.5]
    differences = np.subtract(a, b)
    flips = [abs(float(np.dot(signs, differences))) for signs in itertools.product((1, -1), repeat=5)]
    expected = np.mean([flip >= abs(differences.sum()) - 1e-12 for flip in flips])
    assert paired_permutation(a, b) == pytest.approx(expected)


def test_large_paired_tests_agree_with_scipy() -> None:
    generator = np.random.default_rng(3)
    a, b = generator.random(60) + 0.06, generator.random(60)
    theirs = stats.permutation_test(
        (a, b), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=20_000, rng=1
    )
    assert paired_permutation(a.tolist(), b.tolist()) == pytest.approx(theirs.pvalue, abs=0.02)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=15))
def test_a_paired_test_has_no_direction(pairs: list[tuple[float, float]]) -> None:
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    assert 0 < paired_permutation(a, b) <= 1
    assert paired_permutation(a, b) == pytest.approx(paired_permutation(b, a))
    assert paired_permutation(a, a) == 1.0


def test_a_paired_test_needs_pairs() -> None:
    with pytest.raises(TrexError, match="same items"):
        paired_permutation([1.0], [1.0, 0.0])
