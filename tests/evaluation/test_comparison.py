from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from trex.errors import TrexError
from trex.evaluation.failures.analysis import Prediction, compare, counts_of, prediction_row, read_predictions
from trex.evaluation.metrics import Measured
from trex.evaluation.metrics.accuracy import Accuracy
from trex.evaluation.results import Evaluation
from trex.evaluation.statistics.best_of_many import Improvement, improvement_measured
from trex.evaluation.statistics.comparison import matched_shares, paired_gain, paired_permutation
from trex.evaluation.statistics.intervals import score_measured
from trex.files import write_jsonl

Array = NDArray[np.float64]


class Pooled(Accuracy):
    """Macro-F1 of two classes from (tp, fp, fn) of each; the counts are given, not made from answers."""

    name = "f1"

    def counts(self, items: object, predictions: object) -> Array:
        raise NotImplementedError

    def pooled(self, totals: Array) -> Array:
        tp, wrong = totals[..., 0::3], totals[..., 1::3] + totals[..., 2::3]
        below = 2 * tp + wrong
        return np.asarray(np.divide(2 * tp, below, out=np.zeros_like(below), where=below > 0).mean(axis=-1))


class Median(Accuracy):
    name = "median"

    def aggregate(self, rows: Sequence[float]) -> float:
        return float(np.median(rows))


def measured(values: Sequence[float] | Array, counts: Array | None = None) -> Measured:
    return Measured([float(value) for value in values], {}, counts)


def counted(truth: NDArray[np.bool_], said: NDArray[np.bool_]) -> Measured:
    """Two classes: the second is the absence of the first."""
    cells = [truth & said, ~truth & said, truth & ~said, ~truth & ~said, truth & ~said, ~truth & said]
    return measured(truth == said, np.stack(cells, axis=1).astype(float))


# One pair


def test_a_binary_paired_test_is_the_sign_test() -> None:
    a = [1.0] * 30 + [0.0] * 12 + [1.0] * 50
    b = [0.0] * 30 + [1.0] * 12 + [1.0] * 50
    assert paired_permutation(a, b) == pytest.approx(stats.binomtest(12, 42).pvalue)
    found = paired_gain(Accuracy(), measured(b), measured(a))
    assert found.p_value == pytest.approx(stats.binomtest(12, 42).pvalue)
    assert found.score.value == pytest.approx(18 / 92) and found.score.n == 92


def test_small_paired_tests_are_exact() -> None:
    a, b = [0.9, 0.7, 0.4, 0.8, 0.6], [0.1, 0.8, 0.3, 0.2, 0.5]
    differences = np.subtract(a, b)
    flips = [abs(float(np.dot(signs, differences))) for signs in itertools.product((1, -1), repeat=5)]
    expected = np.mean([flip >= abs(differences.sum()) - 1e-12 for flip in flips])
    assert paired_permutation(a, b) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(6))
def test_paired_tests_agree_with_scipy(seed: int) -> None:
    generator = np.random.default_rng(seed)
    n = int(generator.integers(5, 120))
    b = generator.beta(0.5, 2, n)
    a = np.where(generator.random(n) < 0.6, generator.beta(0.6, 2, n), b)
    theirs = stats.permutation_test(
        (a, b), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=10_000, rng=1
    )
    assert paired_permutation(a.tolist(), b.tolist()) == pytest.approx(theirs.pvalue, abs=0.03)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=15))
def test_a_paired_test_has_no_direction(pairs: list[tuple[float, float]]) -> None:
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    assert 0 < paired_permutation(a, b) <= 1
    assert paired_permutation(a, b) == pytest.approx(paired_permutation(b, a))
    assert paired_permutation(a, a) == 1.0


def test_a_paired_test_needs_pairs() -> None:
    with pytest.raises(TrexError, match="same items"):
        paired_permutation([1.0], [1.0, 0.0])
    with pytest.raises(TrexError, match="same items"):
        paired_gain(Accuracy(), measured([1.0]), measured([1.0, 0.0]))
    with pytest.raises(TrexError, match="no items"):
        paired_gain(Accuracy(), measured([]), measured([]))


def test_matched_shares_by_hand() -> None:
    """Agresti and Min: the table with half an item more in each cell."""
    b, c, n = 20.5, 8.5, 102
    gain, half = (b - c) / n, 1.959964 * math.sqrt(b + c - (b - c) ** 2 / n) / n
    assert matched_shares(20, 8, 100) == pytest.approx((gain - half, gain + half), abs=1e-6)
    low, high = matched_shares(0, 0, 50)
    assert low == -high and 0.03 < high < 0.06


@pytest.mark.parametrize(("better", "worse"), [(0.05, 0.05), (0.1, 0.05), (0.3, 0.1)])
def test_gains_of_accuracy_are_covered(better: float, worse: float) -> None:
    drawn = np.random.default_rng(1).multinomial(150, [better, worse, 1 - better - worse], size=4000)
    ends = np.array([matched_shares(int(b), int(w), 150) for b, w, _ in drawn])
    inside = (ends[:, 0] <= better - worse) & (better - worse <= ends[:, 1])
    assert 0.93 <= inside.mean() <= 0.97


def test_a_gain_in_other_values_agrees_with_scipy() -> None:
    generator = np.random.default_rng(4)
    before = generator.beta(0.5, 2, 200)
    after = np.clip(before + 0.05 + 0.2 * generator.standard_normal(200), 0, 1)
    found = paired_gain(Accuracy(), measured(before), measured(after))
    boot = stats.bootstrap((after - before,), np.mean, n_resamples=5000, rng=1)
    assert found.score.value == pytest.approx(float(np.mean(after - before)))
    assert found.score.ci_low == pytest.approx(boot.confidence_interval.low, abs=0.004)
    assert found.score.ci_high == pytest.approx(boot.confidence_interval.high, abs=0.004)
    theirs = stats.ttest_rel(after, before)
    interval = theirs.confidence_interval()
    assert (found.score.ci_low, found.score.ci_high) == pytest.approx((interval.low, interval.high))
    assert found.p_value == pytest.approx(theirs.pvalue, abs=0.01)


def labelled(seed: int, n: int, recall: float = 0.7) -> tuple[Measured, Measured]:
    """The same rare class, found by both in 70 % (or as said), their luck half shared."""
    generator = np.random.default_rng(seed)
    truth, shared = generator.random(n) < 0.15, generator.random(n)
    sides = []
    for chance in (0.7, recall):
        luck = np.where(generator.random(n) < 0.5, shared, generator.random(n))
        sides.append(counted(truth, np.where(truth, luck < chance, luck > 0.97)))
    return sides[0], sides[1]


def test_a_pooled_gain_agrees_with_scipy() -> None:
    before, after = labelled(2, 250)
    assert before.counts is not None and after.counts is not None
    both = np.concatenate([before.counts, after.counts], axis=1)

    def difference(*columns: Array, axis: int = -1) -> Array:
        sums = np.moveaxis(np.stack([column.sum(axis=axis) for column in columns]), 0, -1)
        return Pooled().pooled(sums[..., 6:]) - Pooled().pooled(sums[..., :6])

    found = paired_gain(Pooled(), before, after)
    boot = stats.bootstrap(
        tuple(both.T), difference, paired=True, vectorized=True, n_resamples=4000, method="percentile", rng=1
    )
    assert found.score.value == pytest.approx(float(difference(*both.T)))
    assert found.score.standard_error == pytest.approx(float(boot.standard_error), rel=0.05)
    assert found.score.ci_low == pytest.approx(boot.confidence_interval.low, abs=0.015)

    def swapped(x: NDArray[np.int_], y: NDArray[np.int_], axis: int = -1) -> float:
        table = np.stack([before.counts, after.counts])  # type: ignore[list-item]
        rows = np.arange(250)
        return float(
            Pooled().pooled(table[y, rows].sum(axis=0)) - Pooled().pooled(table[x, rows].sum(axis=0))
        )

    sides = np.zeros(250, dtype=int), np.ones(250, dtype=int)
    theirs = stats.permutation_test(
        sides, swapped, permutation_type="samples", n_resamples=4000, vectorized=False, rng=1
    )
    assert found.p_value == pytest.approx(theirs.pvalue, abs=0.025)


def test_a_pooled_gain_is_not_the_gain_in_values() -> None:
    """Naming the rare class more often loses in accuracy and wins in macro-F1."""
    truth = np.arange(200) < 20
    nothing = counted(truth, np.zeros(200, dtype=bool))
    most = counted(truth, np.where(truth, np.arange(200) < 16, np.arange(200) < 60))
    found = paired_gain(Pooled(), nothing, most)
    tp, fp, fn = 16, 40, 4
    tn = 200 - tp - fp - fn
    after = (2 * tp / (2 * tp + fp + fn) + 2 * tn / (2 * tn + fp + fn)) / 2
    before = (0 + 2 * 180 / (2 * 180 + 20)) / 2
    assert found.score.value == pytest.approx(after - before)
    assert found.score.value > 0.1 and np.mean(most.values) < np.mean(nothing.values)
    assert found.p_value < 0.05 and found.score.ci_low > 0


def test_pooled_gains_are_covered_and_called_rarely() -> None:
    found = [paired_gain(Pooled(), *labelled(seed, 150)) for seed in range(120)]
    assert np.mean([g.score.ci_low <= 0 <= g.score.ci_high for g in found]) >= 0.91
    assert np.mean([g.p_value <= 0.05 for g in found]) <= 0.09
    real = [paired_gain(Pooled(), *labelled(seed, 400, 0.95)).p_value for seed in range(20)]
    assert np.mean([p <= 0.05 for p in real]) > 0.8


def test_no_difference_is_no_gain() -> None:
    before, _ = labelled(1, 60)
    for metric in (Pooled(), Accuracy(), Median()):
        found = paired_gain(metric, before, before)
        assert (found.score.value, found.p_value) == (0.0, 1.0)
        assert found.score.ci_low <= 0 <= found.score.ci_high


def test_a_gain_in_a_median_is_tested_too() -> None:
    generator = np.random.default_rng(0)
    before = generator.normal(size=81)
    found = paired_gain(Median(), measured(before), measured(before + generator.normal(1, 0.5, 81)))
    assert found.p_value < 0.01 and found.score.ci_low > 0
    assert found.score.ci_low < found.score.value < found.score.ci_high


# Many


def improvement(
    baseline: Sequence[float] | Array,
    candidates: Sequence[Sequence[float] | Array],
    *,
    seed: int = 0,
    resamples: int = 10_000,
) -> Improvement:
    """Of means."""
    values = [measured(candidate) for candidate in candidates]
    return improvement_measured(Accuracy(), measured(baseline), values, seed=seed, resamples=resamples)


def significant(found: Improvement) -> bool:
    return found.p_value <= 0.05


def equals(seed: int, n: int, m: int, alike: float, p: float = 0.8, real: float = 0.0) -> Array:
    """A baseline and m candidates, equally good but for the last one, right or wrong on n items."""
    generator = np.random.default_rng(seed)
    shared, own = generator.standard_normal(n), generator.standard_normal((m + 1, n))
    bar = np.full((m + 1, 1), stats.norm.ppf(p))
    bar[-1] = stats.norm.ppf(p + real)
    return (np.sqrt(alike) * shared + np.sqrt(1 - alike) * own < bar) * 1.0


@pytest.mark.parametrize("alike", [0.0, 0.95])
def test_the_best_of_sixty_equals_is_no_improvement(alike: float) -> None:
    called, looked_better = 0, 0
    for seed in range(120):
        baseline, *candidates = equals(seed, 200, 60, alike)
        found = improvement(baseline, candidates, seed=seed, resamples=400)
        called += significant(found)
        looked_better += found.gain > 0
        assert found.gain == pytest.approx(max(c.mean() for c in candidates) - baseline.mean())
        assert candidates[found.best].mean() == max(c.mean() for c in candidates)
        assert found.candidates == 60
    assert called <= 11  # 5 % of 120 and twice the binomial deviation
    assert looked_better > 108


def test_skewed_equals_are_no_improvement() -> None:
    called = 0
    for seed in range(120):
        uniform = stats.norm.cdf(np.random.default_rng(seed).standard_normal((41, 100)))
        baseline, *candidates = uniform**6
        called += significant(improvement(baseline, candidates, seed=seed, resamples=400))
    assert called <= 11


def test_a_real_improvement_is_found() -> None:
    found = [
        improvement(systems[0], systems[1:], resamples=400)
        for systems in (equals(seed, 500, 60, 0.97, 0.9, 0.03) for seed in range(40))
    ]
    assert np.mean([significant(f) for f in found]) >= 0.6
    assert np.mean([f.best == 59 for f in found]) >= 0.9
    # The lower end is for the candidate that was picked, and consistent with the p-value.
    assert np.mean([f.at_least <= 0.03 for f in found]) >= 0.9
    assert all((f.at_least > 0) == significant(f) for f in found if abs(f.p_value - 0.05) > 0.01)


def test_one_candidate_is_a_one_sided_paired_test() -> None:
    baseline, candidate = equals(3, 300, 1, 0.5, 0.7, 0.08)
    found = improvement(baseline, [candidate], resamples=8000)
    better, worse = int((candidate > baseline).sum()), int((candidate < baseline).sum())
    exact = stats.binomtest(better, better + worse, alternative="greater").pvalue
    assert found.p_value == pytest.approx(exact, abs=0.02)


def test_candidates_that_answer_alike_count_as_one() -> None:
    baseline, candidate = equals(5, 300, 1, 0.5, 0.7, 0.1)
    one, many = improvement(baseline, [candidate]), improvement(baseline, [candidate] * 60)
    assert many.p_value == one.p_value and many.best == 0
    assert improvement(baseline, [baseline]).p_value == 1.0


def test_a_hopeless_candidate_hides_no_good_one() -> None:
    """One that differs on two items, or loses everywhere, must not raise the bar."""
    baseline, candidate = equals(5, 300, 1, 0.5, 0.7, 0.1)
    lost = baseline.copy()
    lost[np.flatnonzero(baseline)[:2]] = 0.0
    alone = improvement(baseline, [candidate])
    among = improvement(baseline, [lost, candidate, np.zeros(300)])
    assert among.best == 1 and among.p_value <= alone.p_value + 0.03


def test_pooled_scores_are_tested_for_the_best_of_many() -> None:
    baseline, good = labelled(1, 500, 0.97)
    others = [labelled(1, 500, 0.71)[1] for _ in range(5)]
    found = improvement_measured(Pooled(), baseline, [*others, good])
    assert found.best == 5 and significant(found)
    assert found.gain == pytest.approx(paired_gain(Pooled(), baseline, good).score.value)
    assert not significant(improvement_measured(Pooled(), good, [baseline, *others]))


def test_the_best_of_many_needs_candidates_and_pairs() -> None:
    with pytest.raises(TrexError, match="no candidate"):
        improvement([1.0, 0.0], [])
    with pytest.raises(TrexError, match="same items"):
        improvement([1.0, 0.0], [[1.0]])
    with pytest.raises(
        TrexError, match="median: the test of the best of many needs a mean or a pooled score"
    ):
        values = measured(np.random.default_rng(0).normal(size=30))
        improvement_measured(Median(), values, [values])


# What predictions files keep of a pooled metric


def evaluation(folder: Path, name: str, side: Measured, *, kept: bool = True) -> Evaluation:
    rows = [
        prediction_row(
            Prediction(
                f"i{i:03d}",
                "x",
                value,
                counts=side.counts[i].tolist() if kept and side.counts is not None else None,
            )
        )
        for i, value in enumerate(side.values)
    ]
    (folder / "predictions").mkdir(exist_ok=True)
    write_jsonl(folder / f"predictions/{name}.jsonl", rows)
    return Evaluation(
        id=name,
        split="search",
        scoring="generation",
        score=score_measured(Accuracy(), measured(side.values)),
        predictions=f"predictions/{name}.jsonl",
    )


def test_counts_survive_the_predictions_file(tmp_path: Path) -> None:
    before, after = labelled(1, 60)
    old, new = evaluation(tmp_path, "a", before), evaluation(tmp_path, "b", after)
    assert before.counts is not None
    assert [p.counts for p in read_predictions(tmp_path, old)] == before.counts.tolist()
    found = paired_gain(Pooled(), *compare(old, new, tmp_path).measured)
    assert found == paired_gain(Pooled(), before, after)


def test_other_metrics_keep_no_counts(tmp_path: Path) -> None:
    before, after = labelled(1, 60)
    old, new = (evaluation(tmp_path, name, s, kept=False) for name, s in (("a", before), ("b", after)))
    assert "counts" not in (tmp_path / "predictions/a.jsonl").read_text(encoding="utf-8")
    comparison = compare(old, new, tmp_path)
    assert comparison.before_counts is None is comparison.after_counts
    found = paired_gain(Accuracy(), *comparison.measured)
    assert found.score.value == pytest.approx(comparison.gain)
    assert counts_of([[1.0], None]) is None is counts_of([])
