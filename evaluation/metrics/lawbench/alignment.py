"""Alignments of a sentence with its correction: the cheapest ways from one to the other, token by token.

Zhang et al., "MuCGEC: a Multi-Reference Multi-Source Evaluation Dataset for Chinese Grammatical Error Correction",
NAACL 2022, whose ChERRANT extends ERRANT (Bryant et al., ACL 2017); the rules followed are those of LawBench's copy
(evaluation/utils/modules/alignment.py and merger.py, commit e30981b) at the granularity of characters.

Operations are M (equal), D (left out, 1), I (put in, 1), S (replaced, 0…1.7 by similarity) and T (k + 1 neighbours in
another order, k). All cheapest ways count, unless the lengths differ by more than ten: then the one that prefers T,
S, I, D in this order. The official code walks through every way; here those that lead to the same edits are one,
which is what makes long corrections affordable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from math import inf
from string import punctuation
from typing import NamedTuple

Tokens = Sequence[str]
Operation = tuple[str, int]
"""The letter, and how many tokens it spans."""
Choices = tuple[Operation, ...]
Table = list[list[Choices]]

PUNCTUATION = (
    "！？｡＂＃＄％＆＇（）＊＋，－／：；＜＝＞＠［＼］＾＿｀｛｜｝～｟｠｢｣､、〃》「」『』【】〔〕〖〗〘〙〚〛〜〝〞〟〰〾〿–—‘'‛“”„‟…‧﹏"
    + punctuation
)
"""What counts as punctuation when two tokens are weighed (。 and 《 don't)."""

_FAR_APART = 10
_MATCH: Choices = (("M", 1),)
_REPLACE: Choices = (("S", 1),)
_INSERT: Choices = (("I", 1),)
_DELETE: Choices = (("D", 1),)


class TokenEdit(NamedTuple):
    """Tokens start…end of the sentence become tokens start…end of the correction."""

    operation: str
    start: int
    end: int
    to_start: int
    to_end: int


def substitution(a: str, b: str, meaning: float, sound: float) -> float:
    """What it costs to replace one token by another."""
    if (a in PUNCTUATION) and (b in PUNCTUATION):
        kind = 0.0
    elif (a not in PUNCTUATION) and (b not in PUNCTUATION):
        kind = 0.25
    else:
        kind = 0.499
    return meaning + sound + kind  # in this order: ties between ways are exact


def operations(source: Tokens, target: Tokens, cost: Callable[[str, str], float]) -> Table:
    """For every cell the operations by which a cheapest way may reach it, in order of preference."""
    above = [float(j) for j in range(len(target) + 1)]
    table: Table = [[_INSERT] * len(above)]
    reordered = _Reordered(source, target)
    earlier = above
    costs = [above]
    for i, a in enumerate(source):
        row: list[float] = [i + 1.0]
        choices: list[Choices] = [_DELETE]
        for j, b in enumerate(target):
            diagonal = above[j]
            size = reordered.size(i, j, i > 0 and j > 0 and diagonal == earlier[j - 1])
            if a == b:
                row.append(diagonal)
                choices.append(_MATCH)
                continue
            replace, insert, delete = diagonal + cost(a, b), row[j] + 1, above[j + 1] + 1
            move = costs[i - size + 1][j - size + 1] + (size - 1) if size else inf
            best = min(move, replace, insert, delete)
            row.append(best)
            if replace == best and best < insert and best < delete and best < move:
                choices.append(_REPLACE)
            else:
                prices = ((move, ("T", size)), (replace, ("S", 1)), (insert, ("I", 1)), (delete, ("D", 1)))
                choices.append(tuple(operation for price, operation in prices if price == best))
        earlier, above = above, row
        costs.append(row)
        table.append(choices)
    return table


class _Reordered:
    """Finds, cell by cell in reading order, the nearest tokens before that are the same in another order.

    A text's prefix is the sum of its tokens' weights, powers of a base above any count, so that equal sums are
    equal multisets; two spans that end in a cell are reorderings of each other if the difference of prefixes is
    what it was at their start.
    """

    def __init__(self, source: Tokens, target: Tokens) -> None:
        base = len(source) + len(target) + 1
        weights = {token: base**rank for rank, token in enumerate(dict.fromkeys((*source, *target)))}
        self._source = list(accumulate((weights[token] for token in source), initial=0))
        self._target = list(accumulate((weights[token] for token in target), initial=0))
        self._starts: dict[int, dict[int, int]] = {}

    def size(self, i: int, j: int, free: bool) -> int:
        """How many tokens up to and with i and j; 0 if none are. `free`: the step to this cell cost nothing.

        ChERRANT looks back no further than such a step.
        """
        starts = self._starts.setdefault(i - j, {})
        if free:
            starts.clear()
        start = starts.get(self._source[i + 1] - self._target[j + 1])
        starts[self._source[i] - self._target[j]] = i
        return 0 if start is None else i + 1 - start


def far_apart(table: Table) -> bool:
    """Whether the lengths differ by so much that one way alone counts."""
    return abs(len(table) - len(table[0])) > _FAR_APART


def ways(table: Table) -> int:
    """How many cheapest ways there are, followed from the end."""
    row, column = len(table) - 1, len(table[0]) - 1
    counts = {(row, column): 1}
    for i in range(row, -1, -1):
        for j in range(column, -1, -1):
            count = counts.pop((i, j), 0)
            if not (i or j):
                return count
            for operation in table[i][j] if count else ():
                di, dj = _step(operation)
                counts[i - di, j - dj] = counts.get((i - di, j - dj), 0) + count
    raise AssertionError("every way ends at the beginning")


def _step(operation: Operation) -> tuple[int, int]:
    letter, size = operation
    return (size if letter != "I" else 0, size if letter != "D" else 0)


Group = tuple[str, int, int]
"""Neighbouring operations not yet closed, as their letters, and where in source and target they end.

Letters are kept one by one while they are D and I alone; with a replacement among them the group is 'S'.
"""
_State = tuple[tuple[TokenEdit, ...], Group | None]


def edit_lists(table: Table, every: bool = True) -> list[tuple[TokenEdit, ...]]:
    """The different lists of edits that the cheapest ways give, M among them; one if not `every`.

    Neighbouring M are one edit, as are neighbouring D, I and S, unless D and I stand there without S; a T stands
    alone.
    """
    end = (len(table) - 1, len(table[0]) - 1)
    every = every and not far_apart(table)
    open_states: dict[tuple[int, int], dict[_State, None]] = {end: {((), None): None}}
    finished: dict[tuple[TokenEdit, ...], None] = {}
    for i in range(end[0], -1, -1):
        for j in range(end[1], -1, -1):
            for edits, group in open_states.pop((i, j), {}):
                if not (i or j):
                    finished[_closed(edits, group, i, j)] = None
                    continue
                for operation in table[i][j] if every else table[i][j][:1]:
                    di, dj = _step(operation)
                    state = _extended(edits, group, operation, i, j)
                    open_states.setdefault((i - di, j - dj), {})[state] = None
    return list(finished)


def _extended(
    edits: tuple[TokenEdit, ...], group: Group | None, operation: Operation, i: int, j: int
) -> _State:
    """The state after one more operation, which ends at i and j (ways are followed from their ends)."""
    letter, size = operation
    if letter == "T":
        return (TokenEdit("T", i - size, i, j - size, j), *_closed(edits, group, i, j)), None
    if group is None or (group[0] == "M") != (letter == "M"):
        return _closed(edits, group, i, j), (letter, i, j)
    letters, ends_at, ends_at_target = group
    if letter == "M":
        return edits, group
    merged = "S" if "S" in (letter, letters) else letter + letters
    return edits, (merged, ends_at, ends_at_target)


def _closed(edits: tuple[TokenEdit, ...], group: Group | None, i: int, j: int) -> tuple[TokenEdit, ...]:
    """The edits with the open group put before them; it begins at i and j."""
    if group is None:
        return edits
    letters, end, to_end = group
    if len(set(letters)) == 1:
        return (TokenEdit(letters[0], i, end, j, to_end), *edits)
    apart = []
    for letter in letters:
        di, dj = _step((letter, 1))
        apart.append(TokenEdit(letter, i, i + di, j, j + dj))
        i, j = i + di, j + dj
    return (*apart, *edits)
