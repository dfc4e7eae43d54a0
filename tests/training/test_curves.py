"""Curves are means of bins, not single steps."""

from __future__ import annotations

import pytest
from trex.training.curves import binned, in_words


@pytest.mark.parametrize(
    ("points", "most", "expected"),
    [
        ([], 3, []),
        ([(1, 2.0), (2, 4.0)], 3, [(1, 2.0), (2, 4.0)]),
        ([(1, 2.0), (2, 4.0), (3, 9.0)], 2, [(2, 3.0), (3, 9.0)]),
        (
            [(n, float(n % 2)) for n in range(1, 101)],
            5,
            [(20, 0.5), (40, 0.5), (60, 0.5), (80, 0.5), (100, 0.5)],
        ),
    ],
)
def test_bins_are_means(
    points: list[tuple[int, float]], most: int, expected: list[tuple[int, float]]
) -> None:
    assert binned(points, most) == expected


def test_figures_in_words() -> None:
    figures = {"reward": [(1, 0.1234), (9, 0.5)], "kl": [(1, 0.2)], "grad_norm": [(1, 3.0)], "entropy": []}
    assert in_words(figures) == "reward 0.123 → 0.5, kl 0.2"
