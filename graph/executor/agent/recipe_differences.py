"""The differences of a recipe from the plan's, and which of them keep the plan's hypothesis testable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import zip_longest

from ....files import canonical_json
from ....training.data.operators import operators
from ....training.data.recipe import DataRecipe, Step

MOST_CHANGES = 3
"""Largest number of steps that may differ from the plan's recipe."""

MOST_ROWS_LOST = 0.2
"""Largest share of rows that a change may remove if the plan can be executed unchanged."""


def differences(old: DataRecipe, new: DataRecipe) -> list[str]:
    """One phrase for each step that was added, removed or changed."""
    return [phrase for phrase, _, _ in _steps(old, new)]


def departure(plan: DataRecipe, new: DataRecipe, works: bool) -> str | None:
    """Why `new` does not test the plan's hypothesis, in one sentence; None if it does.

    Sources, weights and rows must stay. If the plan's own recipe `works`, steps may only be added, and only those
    that clean or order rows (`Operator.cleans`).
    """
    if [(s.source, s.weight) for s in plan.streams] != [(s.source, s.weight) for s in new.streams]:
        return "the Researcher chooses sources, their order and their weights: keep them"
    if plan.rows != new.rows:
        return f"the Researcher chooses rows: keep {plan.rows}"
    steps = list(_steps(plan, new))
    if len(steps) > MOST_CHANGES:
        return f"{len(steps)} steps differ from the plan's, at most {MOST_CHANGES} may"
    if not works:
        return None
    for phrase, before, after in steps:
        if before is not None or after is None or not after.cleans():
            allowed = ", ".join(kind.cleaning for kind in operators().values() if kind.cleaning)
            return f"{phrase}: the recipe works unchanged, so the only change allowed is to add {allowed}"
    return None


def _steps(old: DataRecipe, new: DataRecipe) -> Iterator[tuple[str, Step | None, Step | None]]:
    """Phrase, step before, step after, for every step that differs."""
    streams = zip(old.streams, new.streams, strict=True)
    pairs = [(f"source '{a.source}'", a.steps, b.steps) for a, b in streams]
    for where, before, after in [*pairs, ("the mix", old.steps, new.steps)]:
        for removed, added in _paired(before, after):
            if removed is None:
                phrase = f"added {_described(added)}"
            elif added is None:
                phrase = f"removed {_described(removed)}"
            else:
                phrase = f"{_described(removed)} became {_described(added)}"
            yield f"{phrase} ({where})", removed, added


def _paired(before: Sequence[Step], after: Sequence[Step]) -> Iterator[tuple[Step | None, Step | None]]:
    matcher = SequenceMatcher(None, [*map(_described, before)], [*map(_described, after)], autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            continue
        yield from zip_longest(before[a:b], after[c:d])


def _described(step: Step | None) -> str:
    """Such as 'filter {"column":"text","max_words":20}'."""
    if step is None:
        return "nothing"
    return f"{step.op} {canonical_json(step.model_dump(mode='json', exclude={'op'}, exclude_defaults=True))}"
