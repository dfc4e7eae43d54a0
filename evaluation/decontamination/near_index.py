"""An index that finds which known texts a new one repeats in large part, thousands of new ones a second.

A text is a row of units (see `normal_form.units`), its grams are the sequences of six units. A known text is found
in a new one if a stretch of the new one holds enough of its grams, by weight. A gram weighs log((1 + N) / n), N
known items of which n have it: inverse document frequency, Spärck Jones, "A statistical interpretation of term
specificity and its application in retrieval", Journal of Documentation 28 (1972). What many items share, then,
counts for little; a stretch of `TEMPLATE` units that more than a few of them share is wording of the task, and
counts for nothing.

New texts are looked up in two steps, as in set joins by prefix (Chaudhuri et al., "A primitive operator for
similarity joins in data cleaning", ICDE 2006): a known text is a candidate if enough of its seeds, its weightiest
grams, occur anywhere in the new text; candidates are compared in full.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .normal_form import ATOM_BODY, ATOM_END, ATOM_START, ATOM_UNITS, Units

GRAM = ATOM_UNITS
TEMPLATE = 24
CONTAINED = 0.55
"""Share of a known text's weight that makes it found."""
MOSTLY_ATOMS = 1 / 3
"""Share of a known text's units from which on formulas and numbers make it what it is: it is found only in full."""
SEEDED = 0.25
"""Share of the weight of its seeds that makes it a candidate."""
SEEDS = 32
AT_ONCE = 1 << 20
"""Units of new texts that are looked up together."""
FEWEST_GRAMS = 12
FEWEST_LEFT = 36
"""Grams of a text to be found: of a whole one, and of what is left of one without the task's wording."""

_SEPARATOR = np.array([np.iinfo(np.uint32).max], dtype=np.uint32)
_ROUNDING = 1e-6
_FACTOR = 0x9E3779B97F4A7C15
_EMPTY_BITS = 4
"""The table of seeds has this many times two slots a seed, so that few other grams hit one."""

Hashes = NDArray[np.uint64]
Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Known:
    """A text to be found: the item it belongs to, and which of its units are the task's wording, if any."""

    item: int
    units: Units
    wording: Flags | None = None
    whole: bool = False
    """Found only in full: it is too short to be recognised by a part."""


@dataclass(frozen=True)
class _Entry:
    """A known text's grams, sorted, with their weights; `reach` is how far apart they may stand."""

    grams: Hashes
    weights: NDArray[np.float64]
    atoms: Flags
    """Which grams are the beginning of a formula or all of a number."""
    needed: float
    reach: int


class NearIndex:
    """Known texts, indexed once. `shared_by`: how many items may share a stretch that still counts."""

    def __init__(self, known: Sequence[Known], items: int, shared_by: int) -> None:
        self._entries: list[_Entry] = []
        if known:
            self._weigh(known, items, shared_by)
        self._seed()

    def _weigh(self, known: Sequence[Known], items: int, shared_by: int) -> None:
        """Every text's grams with their weights, without what is the task's wording if enough is left then."""
        joined = _separated([text.units for text in known])
        text_of = np.repeat(np.arange(len(known)), [text.units.size + 1 for text in known])
        item_of = np.array([text.item for text in known])[text_of]
        hashes = hash_grams(joined, GRAM)
        atoms = (joined >= ATOM_START) & (joined < ATOM_BODY)
        in_atoms = np.bincount(text_of, (joined >= ATOM_START) & (joined < ATOM_END))
        crossing = _any_within(joined == _SEPARATOR, GRAM)
        wording = _any_within(_wording(known, joined, item_of, shared_by), GRAM)
        own_text = text_of[: hashes.size]
        edited = np.bincount(own_text, wording & ~crossing, minlength=len(known)) > 0
        left = np.bincount(own_text, ~wording & ~crossing, minlength=len(known))
        whole = np.array([text.whole for text in known]) | (edited & (left < FEWEST_LEFT))
        dense = in_atoms > MOSTLY_ATOMS * np.array([text.units.size for text in known])
        # A short list of numbers is the beginning of many longer ones: it is found as a whole text or not at all.
        listed = dense & whole
        whole |= dense
        crossing |= listed[own_text]
        place = np.flatnonzero(~crossing & (~wording | whole[own_text]))
        place = place[np.lexsort((hashes[place], own_text[place]))]
        # A gram that recurs in a text counts once.
        place = place[_changes(hashes[place]) | _changes(own_text[place])]
        weights = np.log((1 + items) / _carriers(hashes, item_of)[place])
        ends = np.searchsorted(own_text[place], np.arange(len(known) + 1))
        for number, (first, end) in enumerate(pairwise(ends.tolist())):
            if end - first < FEWEST_GRAMS:
                continue
            weighed = weights[first:end].copy()
            length = known[number].units.size
            entry = _Entry(
                grams=hashes[place[first:end]],
                weights=weighed,
                atoms=atoms[place[first:end]],
                needed=float(weighed.sum()) * (1 if whole[number] else CONTAINED) - _ROUNDING,
                reach=length if whole[number] else length + length // 2 + TEMPLATE,
            )
            self._entries.append(entry)

    def _seed(self) -> None:
        """A table from a gram's hash to the entries of which it is a seed."""
        chosen = [np.argsort(-entry.weights, kind="stable")[:SEEDS] for entry in self._entries]
        seeded = list(zip(self._entries, chosen, strict=True))
        sizes = [seeds.size for seeds in chosen]
        grams = np.concatenate([np.empty(0, np.uint64), *(entry.grams[seeds] for entry, seeds in seeded)])
        weights = np.concatenate([np.empty(0), *(entry.weights[seeds] for entry, seeds in seeded)])
        owners = np.repeat(np.arange(len(sizes)), sizes)
        self._seed_weight = np.bincount(owners, weights, minlength=len(sizes))
        self._shift = np.uint64(64 - max(10, int(grams.size).bit_length() + _EMPTY_BITS))
        slots = grams >> self._shift
        order = np.argsort(slots, kind="stable")
        self._owners, self._weights = owners[order], weights[order]
        used, starts = np.unique(slots[order], return_index=True)
        self._starts = np.append(starts, order.size)
        self._table = np.full(1 << (64 - int(self._shift)), -1, dtype=np.int32)
        self._table[used.astype(np.int64)] = np.arange(used.size)

    def found_in(self, texts: Sequence[Units]) -> list[bool]:
        """For each text, whether it holds a known one."""
        sizes = np.cumsum([text.size for text in texts])
        cuts = [0, *(np.flatnonzero(np.diff(sizes // AT_ONCE)) + 1).tolist(), len(texts)]
        return [one for first, end in pairwise(cuts) for one in self._found_at_once(texts[first:end])]

    def _found_at_once(self, texts: Sequence[Units]) -> list[bool]:
        found = [False] * len(texts)
        if not (self._entries and texts):
            return found
        ends = np.cumsum([text.size + 1 for text in texts])
        starts = ends - [text.size + 1 for text in texts]
        hashes = hash_grams(_separated(texts), GRAM)
        for text, entry in self._candidates(hashes, ends):
            if not found[text]:
                found[text] = _holds(
                    hashes[starts[text] : max(starts[text], ends[text] - GRAM)], self._entries[entry]
                )
        return found

    def _candidates(self, hashes: Hashes, ends: Numbers) -> list[tuple[int, int]]:
        """Pairs of a new text and an entry of which enough seeds occur in it."""
        row = self._table[(hashes >> self._shift).astype(np.int64)]
        places = np.flatnonzero(row >= 0)
        texts = np.searchsorted(ends, places, side="right")
        hits = _distinct(texts * self._starts.size + row[places])  # a gram counts once a text
        texts, seeds = np.divmod(hits, self._starts.size)
        sizes = self._starts[seeds + 1] - self._starts[seeds]
        total = int(sizes.sum())
        within = np.arange(total) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        postings = np.repeat(self._starts[seeds], sizes) + within
        pairs = np.repeat(texts, sizes) * len(self._entries) + self._owners[postings]
        order = np.argsort(pairs)
        pairs = pairs[order]
        first = np.flatnonzero(_changes(pairs))
        distinct = pairs[first]
        weights = np.add.reduceat(self._weights[postings[order]], first) if first.size else np.empty(0)
        texts, entries = np.divmod(distinct, len(self._entries))
        enough = weights >= SEEDED * self._seed_weight[entries]
        return list(zip(texts[enough].tolist(), entries[enough].tolist(), strict=True))


def hash_grams(units: Units, size: int) -> Hashes:
    """A hash of every sequence of `size` units, by joining hashes of halves that may overlap."""
    hashes, have = units.astype(np.uint64), 1
    while have < size:
        step = min(have, size - have)
        if hashes.size <= step:
            return np.empty(0, dtype=np.uint64)
        mixed = hashes * np.uint64(_FACTOR)
        mixed ^= mixed >> np.uint64(31)
        hashes = (mixed[:-step] + hashes[step:]) * np.uint64(_FACTOR)
        have += step
    return hashes ^ (hashes >> np.uint64(32)) * np.uint64(_FACTOR)


def _holds(hashes: Hashes, entry: _Entry) -> bool:
    """Whether a stretch of the text, given by its grams, has enough of the entry's."""
    place = np.searchsorted(entry.grams, hashes)
    place[place == entry.grams.size] = 0
    hits = np.flatnonzero(entry.grams[place] == hashes)
    grams = place[hits]
    distinct = _distinct(grams)
    if entry.weights[distinct].sum() < entry.needed:
        return False
    if 2 * np.count_nonzero(entry.atoms[distinct]) < np.count_nonzero(entry.atoms):
        return False
    return hashes.size <= entry.reach or _within_reach(hits.tolist(), grams.tolist(), entry)


def _within_reach(hits: list[int], grams: list[int], entry: _Entry) -> bool:
    """Whether a window as long as the entry's reach holds grams of the weight needed, each counted once."""
    weights = entry.weights.tolist()
    inside: dict[int, int] = {}
    weight, first = 0.0, 0
    for at, gram in zip(hits, grams, strict=True):
        inside[gram] = inside.get(gram, 0) + 1
        weight += weights[gram] if inside[gram] == 1 else 0
        while at - hits[first] >= entry.reach:
            inside[grams[first]] -= 1
            weight -= weights[grams[first]] if inside[grams[first]] == 0 else 0
            first += 1
        if weight >= entry.needed:
            return True
    return False


def _separated(parts: Sequence[Units]) -> Units:
    """All texts in one, each followed by what is no unit of any."""
    return np.concatenate([piece for part in parts for piece in (part, _SEPARATOR)])


def _wording(known: Sequence[Known], joined: Units, item_of: Numbers, shared_by: int) -> Flags:
    """Which units are the task's own wording: told to be, or shared by many items."""
    told = [np.zeros(text.units.size, np.bool_) if text.wording is None else text.wording for text in known]
    end = np.zeros(1, np.bool_)
    stretches = _carriers(hash_grams(joined, TEMPLATE), item_of) > shared_by
    return np.concatenate([part for one in told for part in (one, end)]) | _covered(
        stretches, TEMPLATE, joined.size
    )


def _carriers(hashes: Hashes, item_of: Numbers) -> Numbers:
    """For the gram at every place, how many items have it."""
    gram = np.unique(hashes, return_inverse=True)[1]
    items = int(item_of.max()) + 1
    return np.bincount(_distinct(gram * items + item_of[: gram.size]) // items)[gram]


def _covered(grams: Flags, size: int, length: int) -> Flags:
    """Units that lie in a gram that is marked."""
    marked = np.flatnonzero(grams)
    opened = np.bincount(marked, minlength=length + 1) - np.bincount(marked + size, minlength=length + 1)
    return np.asarray(np.cumsum(opened)[:length] > 0)


def _any_within(flags: Flags, size: int) -> Flags:
    """For the gram at every place, whether one of its units is marked."""
    sums = np.concatenate([[0], np.cumsum(flags)])
    return sums[size:] > sums[:-size]


def _changes(ordered: Numbers | Hashes) -> Flags:
    """Whether a number differs from the one before it."""
    changes = np.ones(ordered.size, dtype=np.bool_)
    changes[1:] = ordered[1:] != ordered[:-1]
    return changes


def _distinct(numbers: Numbers) -> Numbers:
    """Sorted and without repetition: faster than numpy's own way, which hashes."""
    ordered = np.sort(numbers)
    return ordered[_changes(ordered)]
