"""An index that finds the known texts (dev and test items) that a new text repeats in large part.

- A text is an array of units (see `normal_form.units`). A gram is a sequence of six units, stored as a hash.
- The weight of a gram is log((1 + N) / n), where n of the N known items contain it: inverse document frequency
  (Spärck Jones, "A statistical interpretation of term specificity and its application in retrieval", Journal of
  Documentation 28, 1972). Grams that many items share therefore weigh little.
- A stretch of `TEMPLATE` units that more than a few items share is wording of the task. It weighs nothing.
- A new text contains a known text if a stretch of the new text contains enough of the known text's grams, by weight,
  or if an unbroken run of grams does: a run is no coincidence, so that less of the weight is enough.

A look-up has two steps, as in a set join by prefix (Chaudhuri et al., "A primitive operator for similarity joins in
data cleaning", ICDE 2006). The seeds of a known text are its grams with the largest weights. A known text is a
candidate if enough of its seeds, by weight, occur anywhere in the new text. Only candidates are compared in full.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .normal_form import ATOM_BODY, ATOM_END, ATOM_START, ATOM_UNITS, Units

GRAM = ATOM_UNITS
"""Units of a gram."""
TEMPLATE = 24
"""Units of a stretch that counts as wording of the task if many items share it."""
CONTAINED = 0.55
"""A known text is found if a stretch contains this share of its weight."""
IN_A_RUN = 0.35
"""So is one of which an unbroken run contains this share: a half, whose share of the weight may be smaller."""
LONGEST_QUOTE = 31
"""Units of a run that may occur by chance, or in a saying; a repeat is longer."""
MOSTLY_ATOMS = 1 / 3
"""A text with a larger share of units in formulas and numbers is compared in full only."""
SEEDED = 0.25
"""A known text is a candidate if this share of the weight of its seeds occurs."""
SEEDS = 32
"""Seeds of a known text."""
AT_ONCE = 1 << 20
"""Units of new texts that are looked up together."""
FEWEST_GRAMS = 12
"""Known texts with fewer grams are not indexed."""
FEWEST_LEFT = 36
"""A text with fewer grams outside of the task's wording is compared in full only, with its wording."""

_SEPARATOR = np.array([np.iinfo(np.uint32).max], dtype=np.uint32)
_ROUNDING = 1e-6
_FACTOR = 0x9E3779B97F4A7C15
_EMPTY_BITS = 4
"""The seed table has 16 to 32 slots a seed, so that few other grams fall into the slot of a seed."""

Hashes = NDArray[np.uint64]
Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Known:
    """A text to find. `item` is the number of the item that contains it."""

    item: int
    units: Units
    wording: Flags | None = None
    """Which units are wording of the task; None: none of them."""
    in_full: bool = False
    """Whether only the whole text counts as a repeat, because it is too short to identify by a part."""


@dataclass(frozen=True)
class _Entry:
    """The sorted distinct grams of a known text, and what a new text must contain."""

    item: int
    grams: Hashes
    weights: NDArray[np.float64]
    atoms: Flags
    """Which grams begin a formula or number."""
    needed: float
    """Weight that a stretch must contain."""
    reach: int
    """Length of that stretch in grams."""
    needed_in_run: float
    """Weight that an unbroken run must contain."""


class NearIndex:
    """An index of known texts. A stretch that more than `shared_by` of the `items` contain is wording of the task."""

    def __init__(self, known: Sequence[Known], items: int, shared_by: int) -> None:
        self._entries = _make_entries(known, items, shared_by) if known else []
        self._make_seed_table()

    def _make_seed_table(self) -> None:
        """Map the leading bits of a seed's hash (its slot) to the entries with such a seed, and to its weights."""
        chosen = [np.argsort(-entry.weights, kind="stable")[:SEEDS] for entry in self._entries]
        seeded = list(zip(self._entries, chosen, strict=True))
        grams = np.concatenate([np.empty(0, np.uint64), *(entry.grams[seeds] for entry, seeds in seeded)])
        weights = np.concatenate([np.empty(0), *(entry.weights[seeds] for entry, seeds in seeded)])
        owners = np.repeat(np.arange(len(chosen)), [seeds.size for seeds in chosen])
        self._seed_weight = np.bincount(owners, weights, minlength=len(chosen))
        self._shift = np.uint64(64 - max(10, int(grams.size).bit_length() + _EMPTY_BITS))
        slots = grams >> self._shift
        order = np.argsort(slots, kind="stable")
        self._owners, self._weights = owners[order], weights[order]
        used, starts = np.unique(slots[order], return_index=True)
        self._starts = np.append(starts, order.size)
        self._table = np.full(1 << (64 - int(self._shift)), -1, dtype=np.int32)
        self._table[used.astype(np.int64)] = np.arange(used.size)

    def find_items(self, texts: Sequence[Units], every: bool = True) -> list[set[int]]:
        """For each text, the items of which it contains a known text; at most one of them without `every`."""
        sizes = np.cumsum([text.size for text in texts])
        cuts = [0, *(np.flatnonzero(np.diff(sizes // AT_ONCE)) + 1).tolist(), len(texts)]
        return [one for first, end in pairwise(cuts) for one in self._look_up(texts[first:end], every)]

    def _look_up(self, texts: Sequence[Units], every: bool) -> list[set[int]]:
        found: list[set[int]] = [set() for _ in texts]
        if not (self._entries and texts):
            return found
        ends = np.cumsum([text.size + 1 for text in texts])
        starts = ends - [text.size + 1 for text in texts]
        hashes = hash_grams(_join(texts), GRAM)
        for text, number in self._candidates(hashes, ends):
            entry = self._entries[number]
            if not found[text] or (every and entry.item not in found[text]):
                grams = hashes[starts[text] : max(starts[text], ends[text] - GRAM)]
                if _contains(grams, entry, _atom_starts(texts[text])):
                    found[text].add(entry.item)
        return found

    def _candidates(self, hashes: Hashes, ends: Numbers) -> list[tuple[int, int]]:
        """Pairs of a text and an entry of which enough seeds occur in the text. `ends`: where each text ends."""
        row = self._table[(hashes >> self._shift).astype(np.int64)]
        places = np.flatnonzero(row >= 0)
        texts = np.searchsorted(ends, places, side="right")
        hits = _distinct(texts * self._starts.size + row[places])  # a gram counts once a text
        texts, slots = np.divmod(hits, self._starts.size)
        # One posting for each entry with a seed in the slot.
        sizes = self._starts[slots + 1] - self._starts[slots]
        within = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        postings = np.repeat(self._starts[slots], sizes) + within
        pairs = np.repeat(texts, sizes) * len(self._entries) + self._owners[postings]
        # The weight of each distinct pair is the sum over its postings.
        order = np.argsort(pairs)
        pairs = pairs[order]
        first = np.flatnonzero(_changes(pairs))
        weights = np.add.reduceat(self._weights[postings[order]], first) if first.size else np.empty(0)
        texts, entries = np.divmod(pairs[first], len(self._entries))
        enough = weights >= SEEDED * self._seed_weight[entries]
        return list(zip(texts[enough].tolist(), entries[enough].tolist(), strict=True))


def _make_entries(known: Sequence[Known], items: int, shared_by: int) -> list[_Entry]:
    """Entries of known texts with enough grams.

    All texts are joined: place i of `hashes` and of the flags below is the gram that begins at unit i. Grams in the
    task's wording are left out, except for texts that are compared in full.
    """
    joined = _join([text.units for text in known])
    lengths = np.array([text.units.size for text in known])
    text_of = np.repeat(np.arange(len(known)), lengths + 1)
    item_of = np.array([text.item for text in known])[text_of]
    hashes = hash_grams(joined, GRAM)
    gram_text = text_of[: hashes.size]
    crossing = _any_within(joined == _SEPARATOR, GRAM)
    wording = _any_within(_find_wording(known, joined, item_of, shared_by), GRAM)
    has_wording = np.bincount(gram_text, wording & ~crossing, minlength=len(known)) > 0
    left = np.bincount(gram_text, ~wording & ~crossing, minlength=len(known))
    atom_units = np.bincount(text_of, (joined >= ATOM_START) & (joined < ATOM_END))
    mostly_atoms = atom_units > MOSTLY_ATOMS * lengths
    in_full = np.array([text.in_full for text in known]) | (has_wording & (left < FEWEST_LEFT))
    # A short list of numbers is the beginning of many longer lists: an exact comparison finds it, this index does not.
    skipped = crossing | (mostly_atoms & in_full)[gram_text]
    in_full |= mostly_atoms
    place = np.flatnonzero(~skipped & (~wording | in_full[gram_text]))
    place = place[np.lexsort((hashes[place], gram_text[place]))]
    place = place[_changes(hashes[place]) | _changes(gram_text[place])]  # a gram counts once a text
    grams, weights = hashes[place], np.log((1 + items) / _item_counts(hashes, item_of)[place])
    atoms = ((joined >= ATOM_START) & (joined < ATOM_BODY))[place]
    entries = []
    ends = np.searchsorted(gram_text[place], np.arange(len(known) + 1))
    for text, full, (first, end) in zip(known, in_full, pairwise(ends.tolist()), strict=True):
        if end - first >= FEWEST_GRAMS:
            own, length = weights[first:end].copy(), text.units.size
            total = float(own.sum())
            entries.append(
                _Entry(
                    item=text.item,
                    grams=grams[first:end].copy(),
                    weights=own,
                    atoms=atoms[first:end].copy(),
                    needed=total * (1 if full else CONTAINED) - _ROUNDING,
                    reach=length if full else length + length // 2 + TEMPLATE,
                    needed_in_run=total * (1 if full else IN_A_RUN) - _ROUNDING,
                )
            )
    return entries


def hash_grams(units: Units, size: int) -> Hashes:
    """A hash of every sequence of `size` units. Hashes of two shorter sequences, which may overlap, are combined."""
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


def _contains(hashes: Hashes, entry: _Entry, text_atoms: int) -> bool:
    """Whether a stretch or a run of a text, given by its grams, contains enough of the entry's weight and atoms.

    A run may lack the entry's formulas and numbers, which may be in its other half, if the text has no others.
    """
    place = np.searchsorted(entry.grams, hashes)
    place[place == entry.grams.size] = 0
    hits = np.flatnonzero(entry.grams[place] == hashes)
    grams = place[hits]
    if _is_enough(grams, entry, entry.needed) and (
        hashes.size <= entry.reach or _within_reach(hits.tolist(), grams.tolist(), entry)
    ):
        return True
    with_atoms = text_atoms > int(np.count_nonzero(entry.atoms[grams]))
    runs = np.split(grams, np.flatnonzero(np.diff(hits) > 1) + 1)
    return any(
        run.size > LONGEST_QUOTE - GRAM + 1 and _is_enough(run, entry, entry.needed_in_run, with_atoms)
        for run in runs
    )


def _atom_starts(text: Units) -> int:
    return int(np.count_nonzero((text >= ATOM_START) & (text < ATOM_BODY)))


def _is_enough(grams: Numbers, entry: _Entry, needed: float, with_atoms: bool = True) -> bool:
    """Whether these of the entry's grams have the weight needed and, `with_atoms`, half of its formulas and numbers."""
    distinct = _distinct(grams)
    if not distinct.size or entry.weights[distinct].sum() < needed:
        return False
    own, all_atoms = np.count_nonzero(entry.atoms[distinct]), np.count_nonzero(entry.atoms)
    return not with_atoms or 2 * int(own) >= int(all_atoms)


def _within_reach(hits: list[int], grams: list[int], entry: _Entry) -> bool:
    """Whether a window of the entry's reach contains the weight needed. A gram counts once a window."""
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


def _join(parts: Sequence[Units]) -> Units:
    """All texts in one array, each followed by a separator that is no unit of a text."""
    return np.concatenate([piece for part in parts for piece in (part, _SEPARATOR)])


def _find_wording(known: Sequence[Known], joined: Units, item_of: Numbers, shared_by: int) -> Flags:
    """Which units of all texts are the task's wording: marked as such, or in a stretch that many items share."""
    shared = np.flatnonzero(_item_counts(hash_grams(joined, TEMPLATE), item_of) > shared_by)
    steps = np.bincount(shared, minlength=joined.size + 1)
    steps -= np.bincount(shared + TEMPLATE, minlength=joined.size + 1)
    marked = [np.zeros(text.units.size, np.bool_) if text.wording is None else text.wording for text in known]
    return np.concatenate([np.append(flags, False) for flags in marked]) | (np.cumsum(steps)[:-1] > 0)


def _item_counts(hashes: Hashes, item_of: Numbers) -> Numbers:
    """For the gram at every place, how many items contain it."""
    gram = np.unique(hashes, return_inverse=True)[1]
    items = int(item_of.max()) + 1
    return np.bincount(_distinct(gram * items + item_of[: gram.size]) // items)[gram]


def _any_within(flags: Flags, size: int) -> Flags:
    """For the gram of `size` units at every place, whether one of its units has the flag."""
    sums = np.concatenate([[0], np.cumsum(flags)])
    return sums[size:] > sums[:-size]


def _changes(ordered: Numbers | Hashes) -> Flags:
    """Whether a number differs from the one before it; true for the first."""
    changes = np.ones(ordered.size, dtype=np.bool_)
    changes[1:] = ordered[1:] != ordered[:-1]
    return changes


def _distinct(numbers: Numbers) -> Numbers:
    """Sorted without repetition. Measured faster than `np.unique`, which hashes."""
    ordered = np.sort(numbers)
    return ordered[_changes(ordered)]
