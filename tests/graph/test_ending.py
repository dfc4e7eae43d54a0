"""When a search ends before its rounds do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from support.tree import experiment
from trex.evaluation.results import Score
from trex.graph.finish.finish import ENOUGH_ITEMS, reason_to_end
from trex.graph.tree.tree import Tree


def runtime(metric: str = "accuracy", left: bool = True) -> Any:
    settings = SimpleNamespace(rounds=4, slots=1, trials=2, rungs=(0.5, 1.0))
    budget = SimpleNamespace(allows=lambda seconds: left)
    return SimpleNamespace(settings=settings, budget=budget, task=SimpleNamespace(metric=metric))


def grown(value: float, n: int) -> Tree:
    score = Score(name="accuracy", value=value, n=n, ci_low=value, ci_high=value, standard_error=0.0)
    first = experiment("e001", "e000", value).model_copy(update={"score": score})
    return Tree([experiment("e000", None, 0.5), first])


@pytest.mark.parametrize(
    ("value", "n", "metric", "left", "reason"),
    [
        (1.0, ENOUGH_ITEMS, "accuracy", True, "perfect"),
        (1.0, ENOUGH_ITEMS, "accuracy", False, "perfect"),
        (1.0, ENOUGH_ITEMS - 1, "accuracy", True, None),
        (0.99, 500, "accuracy", True, None),
        (0.99, 500, "accuracy", False, "budget"),
        (1.0, 500, "scores.py:Mine", True, None),  # its maximum is not known
    ],
)
def test_a_search_with_nothing_left_to_gain_ends(
    value: float, n: int, metric: str, left: bool, reason: str | None
) -> None:
    assert reason_to_end(runtime(metric, left), grown(value, n)) == reason
