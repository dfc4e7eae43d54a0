"""How a recipe differs from the plan's, in words; and which differences still test the plan's hypothesis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from ....files import canonical_json
from ....training.data.operators import operators
from ....training.data.recipe import DataRecipe, Step

MOST_CHANGES = 3
"""Steps that may differ from the plan's recipe, all in all."""

MOST_ROWS_LOST = 0.2
"""Share of the rows that a change may cost where the plan could be carried out as it was written."""


def differences(old: DataRecipe, new: DataRecipe) -> list[str]:
    """What was added, taken out and changed, a phrase each."""
    return [phrase for phrase, _, _ in _steps(old, new)]


def departure(plan: DataRecipe, new: DataRecipe, works: bool) -> str | None:
    """Why `new` would no longer test the plan's hypothesis, in a sentence; None if it would.

    Sources, weights and rows are the Researcher's. Where the plan's own recipe `works`, steps may only be added,
    and only such as clean or order rows (`Operator.cleans`).
    """
    if [(s.source, s.weight) for s in plan.streams] != [(s.source, s.weight) for s in new.streams]:
        return "sources, their order and their weights are the Researcher's choice: keep them"
    if plan.rows != new.rows:
        return f"rows is the Researcher's choice: keep {plan.rows}"
    steps = list(_steps(plan, new))
    if len(steps) > MOST_CHANGES:
        return f"{len(steps)} steps differ from the plan's, at most {MOST_CHANGES} may"
    if not works:
        return None
    for phrase, before, after in steps:
        if before is not None or after is None or not after.cleans():
            allowed = ", ".join(kind.cleaning for kind in operators().values() if kind.cleaning)
            return (
                f"{phrase}: the recipe can be carried out as it is, so only steps that clean or order rows "
                f"({allowed}) may be added, and nothing else be changed"
            )
    return None


def _steps(old: DataRecipe, new: DataRecipe) -> Iterator[tuple[str, Step | None, Step | None]]:
    """Phrase, step before, step after, for every step that differs."""
    pairs = [
        (f"source '{a.source}'", a.steps, b.steps) for a, b in zip(old.streams, new.streams, strict=True)
    ]
    for where, before, after in [*pairs, ("the mix", old.steps, new.steps)]:
        for gone, added in _paired(before, after):
            if gone is None:
                phrase = f"added {_described(added)}"
            elif added is None:
                phrase = f"took out {_described(gone)}"
            else:
                phrase = f"{_described(gone)} became {_described(added)}"
            yield f"{phrase} ({where})", gone, added


def _paired(before: Sequence[Step], after: Sequence[Step]) -> Iterator[tuple[Step | None, Step | None]]:
    matcher = SequenceMatcher(None, [*map(_described, before)], [*map(_described, after)], autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            continue
        gone, added = before[a:b], after[c:d]
        for place in range(max(len(gone), len(added))):
            yield (
                gone[place] if place < len(gone) else None,
                added[place] if place < len(added) else None,
            )


def _described(step: Step | None) -> str:
    """'filter {"column":"text","max_words":20}'."""
    if step is None:
        return "nothing"
    return f"{step.op} {canonical_json(step.model_dump(mode='json', exclude={'op'}, exclude_defaults=True))}"
