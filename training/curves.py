"""Values by step: learning curves, and what methods log besides the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Series = list[tuple[int, float]]


def binned(points: Sequence[tuple[int, float]], most: int) -> Series:
    """The points in `most` bins of equal size at most, each as its last step and its mean value."""
    size = max(1, -(-len(points) // most))
    bins = [points[start : start + size] for start in range(0, len(points), size)]
    return [(each[-1][0], sum(value for _, value in each) / len(each)) for each in bins]


def in_words(figures: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """What methods logged, from the first bin to the last: 'reward 0.12 → 0.45, kl 0.002 → 0.1'; may be empty."""
    ends = {name: (points[0][1], points[-1][1]) for name, points in figures.items() if points}
    return ", ".join(
        f"{name} {first:.3g}" if first == last else f"{name} {first:.3g} → {last:.3g}"
        for name, (first, last) in ends.items()
        if name not in _OF_THE_OPTIMISER
    )


_OF_THE_OPTIMISER = frozenset({"grad_norm"})
