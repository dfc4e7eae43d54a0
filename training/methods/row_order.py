"""The order in which rows are trained on: a pure function of lengths and seed, so a resume can skip ahead."""

from __future__ import annotations

import random
from collections.abc import Sequence

_WINDOW = 16  # batches that are sorted by length together


def training_order(lengths: Sequence[int], batches: int, batch_size: int, seed: int) -> list[int]:
    """Row numbers for `batches` batches of `batch_size`, one after the other.

    An endless shuffled walk through the rows: every row once before any comes again. Within a window of 16
    batches rows of similar length share a batch, which saves padding; the batches of a window come in random
    order. The order does not know where a rung or a process ends.
    """
    source = random.Random(seed)
    needed = batches * batch_size
    walk: list[int] = []
    while len(walk) < needed:
        rows = list(range(len(lengths)))
        source.shuffle(rows)
        walk.extend(rows)
    del walk[needed:]
    order: list[int] = []
    for start in range(0, needed, _WINDOW * batch_size):
        window = sorted(walk[start : start + _WINDOW * batch_size], key=lambda row: lengths[row])
        groups = [window[i : i + batch_size] for i in range(0, len(window), batch_size)]
        source.shuffle(groups)
        order.extend(row for group in groups for row in group)
    return order
