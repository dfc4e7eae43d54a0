"""F1 of labels against scikit-learn, on the whole set and on resamples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score
from sklearn.preprocessing import MultiLabelBinarizer
from trex.evaluation.metrics import PooledMetric, measure, metric
from trex.evaluation.statistics.intervals import score_measured

LABELS = ["billing", "network", "accounts", "rare"]


def drawn(seed: int, n: int = 60) -> tuple[list[dict[str, Any]], list[str]]:
    """Items with one label each, and answers of which some are wrong and some are no label."""
    generator = np.random.default_rng(seed)
    gold = generator.choice(LABELS, n, p=[0.5, 0.3, 0.15, 0.05]).tolist()
    noise = generator.choice([*LABELS, "no idea", ""], n).tolist()
    answers = [
        g if keep else other for g, other, keep in zip(gold, noise, generator.random(n) < 0.6, strict=True)
    ]
    return [{"id": str(i), "reference": label} for i, label in enumerate(gold)], answers


def several(seed: int, n: int = 50) -> tuple[list[dict[str, Any]], list[str]]:
    generator = np.random.default_rng(seed)

    def some() -> str:
        return ", ".join(generator.permutation(LABELS)[: generator.integers(0, 4)].tolist())

    return [{"id": str(i), "reference": some()} for i in range(n)], [some() for _ in range(n)]


def pooled(name: str, items: list[dict[str, Any]], answers: list[str]) -> float:
    return score_measured(made := metric(name), measure(made, items, answers)).value


@pytest.mark.parametrize("seed", range(4))
def test_macro_and_micro_f1_are_scikit_learns(seed: int) -> None:
    items, answers = drawn(seed)
    gold = [item["reference"] for item in items]
    macro = f1_score(gold, answers, labels=sorted(set(gold)), average="macro", zero_division=np.nan)
    assert pooled("macro_f1", items, answers) == pytest.approx(macro)
    assert pooled("micro_f1", items, answers) == pytest.approx(f1_score(gold, answers, average="micro"))
    assert pooled("micro_f1", items, answers) == pytest.approx(pooled("accuracy", items, answers))
    secondary = measure(metric("macro_f1"), items, answers).secondary
    single = f1_score(gold, answers, labels=["rare"], average="macro", zero_division=0)
    assert secondary["f1 rare"] == pytest.approx(single)


@pytest.mark.parametrize(
    ("average", "sklearn"), [("micro", "micro"), ("macro", "macro"), ("items", "samples")]
)
@pytest.mark.parametrize("seed", range(3))
def test_multilabel_f1_is_scikit_learns(average: str, sklearn: str, seed: int) -> None:
    items, answers = several(seed)
    binarize = MultiLabelBinarizer(classes=LABELS)
    sides = [
        [[label for label in text.split(", ") if label] for text in texts]
        for texts in ([i["reference"] for i in items], answers)
    ]
    gold, found = (binarize.fit_transform(side) for side in sides)
    wanted = f1_score(gold, found, average=sklearn, zero_division=1)
    assert pooled(f"multilabel_f1(average='{average}')", items, answers) == pytest.approx(wanted)


def test_a_resample_scores_as_its_items_do() -> None:
    items, answers = drawn(1)
    made = metric("macro_f1")
    assert isinstance(made, PooledMetric)
    counts = made.counts(items, answers)
    for seed in range(5):
        rows = np.random.default_rng(seed).integers(0, len(items), 20)
        again = pooled("macro_f1", [items[row] for row in rows], [answers[row] for row in rows])
        assert float(made.pooled(counts[rows].sum(axis=0))) == pytest.approx(again)


def test_a_label_outside_the_references_costs_precision_of_micro_f1_only() -> None:
    items = [{"reference": "a"}, {"reference": "b"}]
    assert pooled("multilabel_f1", items, ["a, junk", "b"]) == pytest.approx(2 * 2 / (2 * 2 + 1))
    assert pooled("multilabel_f1(average='macro')", items, ["a, junk", "b"]) == 1


@pytest.mark.parametrize(
    ("reference", "answer", "value"),
    [
        ("", "", 1),
        ("", "[]", 1),
        ("a", "[]", 0),
        ("a, b", "A\nB.", 1),
        ("a, a, b", "b; a", 1),
        ('["a, b", "c"]', '["c", "a, b"]', 1),
        ("['a', 'b']", "a, b", 1),
        ("a, b", "[a, b]", 1),
        ("a", "<think>b</think>a", 1),
    ],
)
def test_how_labels_are_read(reference: str, answer: str, value: float) -> None:
    assert metric("multilabel_f1").score_items([{"reference": reference}], [answer]) == [value]
