"""Cuts rows into parts by group, so that rows that belong together never stand in two parts."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence

from .splits import position

ROWS_PER_CLASS = 5
"""With fewer rows a class on average, the shares of the classes are not kept."""

Group = list[int]


def cut_by_group(
    keys: Sequence[Collection[str]],
    classes: Sequence[str],
    shares: Mapping[str, float],
    rest: str,
    pinned: Collection[int] = (),
) -> list[str]:
    """The part of each row: a name in `shares`, which hold about these shares of the rows, or `rest`.

    Rows that share a key, directly or by way of other rows, are one group. Each class is cut on its own; a group of
    several classes counts as its rarest. Rare classes, groups larger than what a part still needs, and groups with a
    row in `pinned` go to `rest`. If a part stays empty, it gets a small group. The hash of a group's keys decides, not
    the order of rows.
    """
    sizes, kept = Counter(classes), set(pinned)
    stratified = len(sizes) * ROWS_PER_CLASS <= len(classes)
    strata: dict[str, list[Group]] = defaultdict(list)
    for group in _groups(keys):
        if kept.isdisjoint(group):
            rarest = min((sizes[classes[index]], classes[index]) for index in group)[1]
            strata[rarest if stratified else ""].append(group)
    parts = [rest] * len(keys)
    left: list[Group] = []
    for stratum in (strata[name] for name in sorted(strata, key=lambda name: (len(strata[name]), name))):
        rows = sum(map(len, stratum))
        needed = {name: math.ceil(share * rows - 0.5) for name, share in shares.items()}
        for group in sorted(stratum, key=lambda group: _place(group, keys)):
            part = next((name for name in shares if len(group) <= needed[name]), rest)
            if part == rest:
                left.append(group)
            else:
                needed[part] -= len(group)
                _assign(parts, group, part)
    for name in shares:
        if name not in parts and len(left) > 1:
            smallest = min(reversed(left), key=len)
            left.remove(smallest)
            _assign(parts, smallest, name)
    return parts


def _assign(parts: list[str], group: Group, part: str) -> None:
    for index in group:
        parts[index] = part


def _place(group: Group, keys: Sequence[Collection[str]]) -> tuple[float, str]:
    key = min(key for index in group for key in keys[index])
    return position(key, "split"), key


def _groups(keys: Sequence[Collection[str]]) -> list[Group]:
    """The connected components of rows that share keys (union-find with path halving)."""
    parent = list(range(len(keys)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[str, int] = {}
    for index, own in enumerate(keys):
        for key in own:
            parent[root(index)] = root(first.setdefault(key, index))
    groups: dict[int, Group] = defaultdict(list)
    for index in range(len(keys)):
        groups[root(index)].append(index)
    return list(groups.values())
