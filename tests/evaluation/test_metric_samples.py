"""pass@k and majority vote: against all subsets, and through an engine."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
from support.grader import films_task
from trex.errors import InputError
from trex.evaluation.engines import Completion
from trex.evaluation.grader.metric_trial import check_metric
from trex.evaluation.grader.model_scoring import score_model
from trex.evaluation.metrics import SampledMetric, measure, metric
from trex.evaluation.metrics.samples import pass_at_k
from trex.evaluation.splits import search_items


@pytest.mark.parametrize("n", [1, 2, 5, 7])
def test_pass_at_k_is_the_share_of_subsets_with_a_right_answer(n: int) -> None:
    for right in range(n + 1):
        for k in range(1, n + 1):
            subsets = list(combinations([index < right for index in range(n)], k))
            assert pass_at_k(n, right, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


@pytest.mark.parametrize(
    ("name", "reference", "samples", "value"),
    [
        ("pass_at_k(k=1, n=4)", "5", ["5", "x", "5.", "y"], 0.5),
        ("pass_at_k(k=3, n=4)", "5", ["5", "x", "5", "y"], 1),
        ("pass_at_k(k=2, n=4, metric='numeric(tolerance=1)')", "5", ["it is 6", "x", "7", "y"], 0.5),
        ("pass_at_k(k=2, n=4, metric={'name': 'numeric', 'tolerance': 1})", "5", ["6", "x", "7", "y"], 0.5),
        ("majority(n=3)", "yes", ["No", "yes", "YES."], 1),
        ("majority(n=3)", "yes", ["no", "yes"], 0),  # a tie goes to the first
        ("majority(n=3, metric='numeric')", "4", ["5", "= 4", "so 4.0"], 1),
        ("majority(n=3, metric='token_f1')", "red cat", ["red", "red", "blue"], 2 / 3),
    ],
)
def test_values(name: str, reference: str, samples: list[str], value: float) -> None:
    made = metric(name)
    assert isinstance(made, SampledMetric)
    assert measure(made, [{"reference": reference}], [samples]).values == [pytest.approx(value)]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("pass_at_k(k=5, n=4)", "k is 5, but only n=4 answers are drawn"),
        ("pass_at_k(metric='bleu')", "gives no value to a single answer|not installed"),
        ("majority(metric='macro_f1')", "gives no value to a single answer"),
        ("majority(metric='majority')", "gives no value to a single answer"),
        ("majority(metric='acuracy')", "unknown metric 'acuracy'"),
        ("majority(temperature=0)", "temperature: .*greater than 0"),
    ],
)
def test_wrong_options_are_refused(name: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        metric(name)


class Alternating:
    precision = "rules"

    def sample(
        self, conversations: list[object], settings: object, sampling: object, adapter: object
    ) -> object:
        return [
            [Completion("positive"), Completion("negative"), Completion("negative", True)]
            for _ in conversations
        ]


def test_an_evaluation_samples_and_keeps_the_answer_that_stands_for_all(tmp_path: Path) -> None:
    task = films_task(tmp_path, choices=None, metric="majority(n=3)")
    items = search_items(task)
    scored = score_model(Alternating(), metric(task.metric), task, items, "generation", None)  # type: ignore[arg-type]
    assert {answer.text for answer in scored.answers} == {"negative"}
    wrong = sum(item.row["label"] == "positive" for item in items)
    assert scored.score.value == pytest.approx(1 - wrong / len(items))
    assert scored.measured.secondary["single"] == pytest.approx(
        (wrong + 2 * (len(items) - wrong)) / 3 / len(items)
    )


def test_samples_and_choices_exclude_each_other(tmp_path: Path) -> None:
    task = films_task(tmp_path, metric="majority(n=3)")
    with pytest.raises(InputError, match="needs answers in free text, but with `choices` none is"):
        check_metric(task)
