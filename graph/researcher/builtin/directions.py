"""What a direction is: a named, bounded kind of change, in one place with when it helps and why.

A function that lists recipe edits becomes a direction with `@data_direction`, one that lists training
variants with `@training_direction`; nothing else has to know of it.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from ....training.data.expected_rows import expected_rows
from ....training.data.recipe import DataRecipe
from ....training.methods.protocol import MAIN
from ....training.methods.sft import SFT
from ....training.plan import TrainingPlan
from ...tree.experiment import ExperimentPlan, Strategy, Symptom, TrialPlan
from . import first_plan
from .first_plan import MAX_ROWS
from .situation import Situation, lora_weights, recipe_key, sft_stage

MIN_ROWS = 8
"""A recipe that yields fewer rows than this is not proposed."""

DATA_RATES = (1.0, 1.5, 0.67, 2.2, 0.45, 3.0, 0.3, 1.2)
"""Learning rates tried on new data, in units of the parent's best, which comes first."""

NUDGE = 1.25
SPREAD = 4.0


@dataclass(frozen=True)
class Direction(ABC):
    """A kind of change. `optimism`: the gain expected at first, in units of how far gains go in a tree."""

    name: str
    strategy: Strategy
    optimism: float
    remedies: frozenset[Symptom]
    words: frozenset[str]
    """Words of a person's hint that mean this direction."""

    @abstractmethod
    def propose(self, situation: Situation, rng: random.Random) -> ExperimentPlan | None:
        """A plan in this direction, of which no configuration was tried before; None if nothing is left."""


@dataclass(frozen=True)
class Edit:
    """A changed recipe: what changes, why that should help, and how promising it is among its like."""

    recipe: DataRecipe
    change: str
    because: str
    preference: float = 1.0


@dataclass(frozen=True)
class Variant:
    """A changed training plan, and the change in words."""

    training: TrainingPlan
    note: str


@dataclass(frozen=True)
class DataDirection(Direction):
    """Changes the data; the parent's best configuration is tried on them unchanged, and beside it others."""

    edits: Callable[[Situation], list[Edit]]

    def propose(self, situation: Situation, rng: random.Random) -> ExperimentPlan | None:
        """See `Direction`."""
        edits = self._untried(situation)
        if not edits:
            return None
        [edit] = rng.choices(edits, weights=[edit.preference for edit in edits])
        base = situation.fitted(
            situation.training, edit.recipe.rows or expected_rows(edit.recipe, situation.notes)
        )
        variants = [Variant(scaled_rate(base, factor), _rate_note(base, factor)) for factor in DATA_RATES]
        chosen = untried(situation, edit.recipe, variants, rng)
        hypothesis = (
            f"{situation.symptom_phrase(self.remedies)}{edit.change}: {edit.because}. Expected: "
            f"{situation.task.metric} above {situation.score}, also for the trial that keeps the parent's "
            "training plan."
        )
        return plan(self, edit.recipe, chosen, hypothesis)

    def _untried(self, situation: Situation) -> list[Edit]:
        found: dict[str, Edit] = {}
        for edit in self.edits(situation):
            recipe = with_rows(edit.recipe, situation)
            key = recipe_key(recipe)
            if key not in found and not situation.tried(key) and (recipe.rows or 0) >= MIN_ROWS:
                found[key] = replace(edit, recipe=recipe)
        return list(found.values())


@dataclass(frozen=True)
class TrainingDirection(Direction):
    """Changes the training plan on the parent's data; one trial stays close to the parent's best."""

    because: str
    variants: Callable[[Situation], list[Variant]]

    def propose(self, situation: Situation, rng: random.Random) -> ExperimentPlan | None:
        """See `Direction`."""
        tried = situation.tried(recipe_key(situation.recipe))
        fitted = [
            replace(v, training=situation.fitted(v.training, situation.rows))
            for v in self.variants(situation)
        ]
        others = [variant for variant in fitted if variant.training not in tried]
        return self.around(situation, others, rng) if others else None

    def around(self, situation: Situation, others: list[Variant], rng: random.Random) -> ExperimentPlan:
        """A plan of these variants and one near the parent's best, filled up with others nearby."""
        close = _near(situation.fitted(situation.training, situation.rows), situation, rng)
        chosen = untried(situation, situation.recipe, [*others[:1], close, *others[1:]], rng)
        tries = "; ".join(variant.note for variant in chosen if variant is not close)
        hypothesis = (
            f"{situation.symptom_phrase(self.remedies)}{tries}: {self.because}. Expected: {situation.task.metric} "
            f"above {situation.score}, and above the trial that stays close to the parent's best."
        )
        return plan(self, situation.recipe, chosen, hypothesis)


@dataclass(frozen=True)
class FirstPlan(Direction):
    """All in-domain data at several settings: what there is to refine afterwards."""

    def propose(self, situation: Situation, rng: random.Random) -> ExperimentPlan | None:
        """Only while the tree holds nothing but the baseline; see `Direction`."""
        if not situation.untouched:
            return None
        base = situation.fitted(situation.training, situation.recipe.rows or situation.rows)
        variants = [Variant(training, note) for training, note in first_plan.variants(base)]
        sources = ", ".join(stream.source for stream in situation.recipe.streams)
        hypothesis = (
            f"The base model knows the language but not the task; rows of the closest sources ({sources}), "
            f"deduplicated, teach it the answers. Expected: {situation.task.metric} clearly above the "
            f"baseline's {situation.score}."
        )
        return plan(self, situation.recipe, untried(situation, situation.recipe, variants, rng), hypothesis)


FIRST = FirstPlan("first_plan", "refine_data", 0.0, frozenset(), frozenset())

DIRECTIONS: dict[str, Direction] = {}
"""Every direction by name, in the order of definition."""


def data_direction(
    strategy: Strategy, optimism: float, words: Iterable[str], remedies: Iterable[Symptom] = ()
) -> Callable[[Callable[[Situation], list[Edit]]], DataDirection]:
    """Make a direction, named like the function, of a function that lists recipe edits."""

    def register(edits: Callable[[Situation], list[Edit]]) -> DataDirection:
        direction = DataDirection(
            edits.__name__, strategy, optimism, frozenset(remedies), frozenset(words), edits
        )
        DIRECTIONS[direction.name] = direction
        return direction

    return register


def training_direction(
    because: str, optimism: float, words: Iterable[str], remedies: Iterable[Symptom] = ()
) -> Callable[[Callable[[Situation], list[Variant]]], TrainingDirection]:
    """Make a direction, named like the function, of a function that lists training variants, best first."""

    def register(variants: Callable[[Situation], list[Variant]]) -> TrainingDirection:
        direction = TrainingDirection(
            variants.__name__,
            "adjust_training",
            optimism,
            frozenset(remedies),
            frozenset(words),
            because,
            variants,
        )
        DIRECTIONS[direction.name] = direction
        return direction

    return register


def with_rate(training: TrainingPlan, rate: float, digits: int = 3) -> TrainingPlan:
    """The plan with that learning rate, rounded and within sane limits."""
    low, high = SFT.search_space["learning_rate"]
    return training.with_stage(learning_rate=float(f"{min(high, max(low, rate)):.{digits}g}"))


def scaled_rate(training: TrainingPlan, factor: float, digits: int = 3) -> TrainingPlan:
    """The plan with its learning rate times `factor`; see `with_rate`."""
    return with_rate(training, sft_stage(training).learning_rate * factor, digits)


def with_rows(recipe: DataRecipe, situation: Situation) -> DataRecipe:
    """The recipe with as many rows as its sources give and a trial may consume.

    A parent that was short of rows doesn't limit its child, one that took fewer on purpose does.
    """
    supply = expected_rows(recipe.model_copy(update={"rows": None}), situation.notes)
    wanted = situation.trial_examples
    if recipe.rows is not None and (recipe.rows != situation.recipe.rows or recipe.rows < situation.supply):
        wanted = min(wanted, recipe.rows)
    return recipe.model_copy(update={"rows": max(1, min(wanted, supply, MAX_ROWS))})


def untried(
    situation: Situation, recipe: DataRecipe, variants: Iterable[Variant], rng: random.Random
) -> list[Variant]:
    """The first K variants that were never tried on this recipe, filled up with others nearby."""
    seen = situation.tried(recipe_key(recipe))
    chosen: list[Variant] = []
    pool = list(variants)
    base = pool[0].training
    while len(chosen) < situation.trials:
        variant = pool.pop(0) if pool else _stray(base, rng)
        if variant.training not in seen:
            seen.add(variant.training)
            chosen.append(variant)
    return chosen


def plan(
    direction: Direction, recipe: DataRecipe, chosen: Iterable[Variant], hypothesis: str
) -> ExperimentPlan:
    """The plan of these trials, validated."""
    return ExperimentPlan(
        strategy=direction.strategy,
        direction=direction.name,
        hypothesis=hypothesis[:1].upper() + hypothesis[1:],
        recipes={MAIN: DataRecipe.model_validate(recipe.model_dump())},
        trials=[
            TrialPlan(training=TrainingPlan.model_validate(v.training.model_dump()), note=v.note)
            for v in chosen
        ],
    )


def _near(base: TrainingPlan, situation: Situation, rng: random.Random) -> Variant:
    """An untried learning rate within `NUDGE` of the parent's best, on the promising side if there is one."""
    tried = situation.tried(recipe_key(situation.recipe))
    near = scaled_rate(base, NUDGE ** (situation.rate_lean or rng.choice((-1, 1))))
    while near in tried:
        near = scaled_rate(base, NUDGE ** rng.uniform(-1, 1), digits=6)
    return Variant(near, f"close to the parent's best: learning rate {sft_stage(near).learning_rate:g}")


def _stray(base: TrainingPlan, rng: random.Random) -> Variant:
    """Another learning rate and rank near the base: there are enough of them for any search."""
    near = scaled_rate(base, math.exp(rng.uniform(-1, 1) * math.log(SPREAD)))
    rank = rng.choice(sorted({lora_weights(base).rank, 4, 8, 16, 32}))
    note = f"learning rate {sft_stage(near).learning_rate:g}, rank {rank}"
    return Variant(near.with_weights(rank=rank, alpha=2 * rank), note)


def _rate_note(base: TrainingPlan, factor: float) -> str:
    if factor == 1.0:
        return "the parent's training plan on the new data"
    return f"learning rate {sft_stage(scaled_rate(base, factor)).learning_rate:g}"
