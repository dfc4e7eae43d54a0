"""The layout of a tree of experiments, for every drawing of it: SVG, matplotlib and text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class TreeNode(Protocol):
    """What the layout needs to know of an experiment."""

    @property
    def id(self) -> str: ...

    @property
    def parent_id(self) -> str | None: ...


@dataclass(frozen=True)
class Position:
    """Where a node is drawn. `column` is its depth; no two leaves share a `row`.

    `guide` are the lines that lead to it in a drawing as text, one node a line: '│  ├─ '.
    """

    column: int
    row: int
    guide: str


def layout(nodes: Sequence[TreeNode], best: str | None = None) -> dict[str, Position]:
    """Positions by id, in depth-first order, which is the order of lines in a drawing as text.

    A first child continues its parent's row, further children open rows below. The branch that leads to `best`
    comes first, so that its path is the straight line at the top. Parents must come before their children.
    """
    path = path_to(nodes, best)
    children: dict[str | None, list[str]] = {}
    column: dict[str, int] = {}
    for node in nodes:
        children.setdefault(node.parent_id, []).append(node.id)
        column[node.id] = 0 if node.parent_id is None else column[node.parent_id] + 1
    positions: dict[str, Position] = {}
    row = -1
    # A stack instead of recursion: a chain of a thousand rounds is a legal tree.
    waiting = [(root, True, "", "") for root in reversed(children.get(None, []))]
    while waiting:
        name, opens_row, guide, indent = waiting.pop()
        row += opens_row
        positions[name] = Position(column[name], row, guide)
        below = sorted(children.get(name, []), key=lambda child: child not in path)
        for place, child in reversed(list(enumerate(below))):
            branch, line = ("└─ ", "   ") if place == len(below) - 1 else ("├─ ", "│  ")
            waiting.append((child, place > 0, indent + branch, indent + line))
    return positions


def path_to(nodes: Sequence[TreeNode], end: str | None) -> set[str]:
    """The ids from the root to the node `end`; empty without one."""
    parents = {node.id: node.parent_id for node in nodes}
    path: set[str] = set()
    while end is not None and end in parents:
        path.add(end)
        end = parents[end]
    return path
