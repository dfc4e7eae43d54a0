"""Directions: named kinds of change, each with the symptoms that it treats and the words of a hint that mean it.

The decorator `@data_direction` makes a direction of a function that lists recipe edits, `@training_direction` of one
that lists training variants.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from ....training.data.expected_rows import expected_rows
from ....training.data.operators.balance import Balance
from ....training.data.recipe import DataRecipe
from ....training.methods.protocol import MAIN
from ....training.methods.sft import SFT
from ....training.plan import TrainingPlan
from ...tree.experiment import ExperimentPlan, Strategy, Symptom, TrialPlan
from . import first_plan
from .first_plan import MAX_ROWS
from .recipe_edits import edit_streams, without_step
from .situation import Situation, lora_weights, recipe_key, sft_stage

NATURAL = "natural"
"""The recipe that leaves the answers as frequent as they are in the sources."""

MIN_ROWS = 8
"""A recipe with fewer rows than this is not proposed."""

DATA_RATES = (1.0, 1.5, 0.67, 2.2, 0.45, 3.0, 0.3, 1.2)
"""Learning rates on new data, in units of the parent's best. The parent's own comes first."""

NUDGE = 1.25
"""Largest factor between the learning rate of the close trial and the parent's best."""

SPREAD = 4.0
"""Largest factor between a random learning rate and the base's."""


@dataclass(frozen=True)
class Direction(ABC):
    """A kind of change. `optimism`: the gain expected at first, in units of the scale of gains (`bandit.scale`)."""

    name: str
    strategy: Strategy
    optimism: float
    remedies: frozenset[Symptom]
    words: frozenset[str]
    """Words of a user's hint that mean this direction."""

    @abstractmethod
    def propose(self, situation: Situation, rng: random.Random) -> ExperimentPlan | None:
        """A plan in this direction with configurations that were not tried before; None if there are none."""


@dataclass(frozen=True)
class Edit:
    """A changed recipe, the change and its reason as text, and its weight when one of several edits is drawn."""

    recipe: DataRecipe
    change: str
    because: str
    preference: float = 1.0


@dataclass(frozen=True)
class Variant:
    """A changed training plan, and the change as text."""

    training: TrainingPlan
    note: str


@dataclass(frozen=True)
class DataDirection(Direction):
    """Changes the data. One trial keeps the parent's best training plan, the others vary its learning rate."""

    edits: Callable[[Situation], list[Edit]]

    def propose(self, situation: Situation, rng: random.Random) -> ExperimentPlan | None:
        """See `Direction`."""
        edits = self._untried(situation)
        if not edits:
            return None
        [edit] = rng.choices(edits, weights=[edit.preference for edit in edits])
        rows = edit.recipe.rows or expected_rows(edit.recipe, situation.notes)
        base = situation.fitted(situation.training, rows)
        variants = [Variant(scaled_rate(base, factor), _rate_note(base, factor)) for factor in DATA_RATES]
        chosen = untried(situation, edit.recipe, variants, rng)
        hypothesis = (
            f"{situation.symptom_phrase(self.remedies)}{edit.change}: {edit.because}. Expected: "
            f"{situation.task.metric_label} above {situation.score}, also for the trial with the parent's "
            "training plan."
        )
        return plan(self, edit.recipe, chosen, hypothesis)

    def _untried(self, situation: Situation) -> list[Edit]:
        edits: dict[str, Edit] = {}
        for edit in self.edits(situation):
            recipe = with_rows(edit.recipe, situation)
            key = recipe_key(recipe)
            if not situation.tried(key) and (recipe.rows or 0) >= MIN_ROWS:
                edits.setdefault(key, replace(edit, recipe=recipe))
        return list(edits.values())


@dataclass(frozen=True)
class TrainingDirection(Direction):
    """Changes the training plan on the parent's data. One trial is close to the parent's best."""

    because: str
    variants: Callable[[Situation], list[Variant]]

    def propose(self, situation: Situation, rng: random.Random) -> ExperimentPlan | None:
        """See `Direction`."""
        tried = situation.tried(recipe_key(situation.recipe))
        plans = ((each, situation.fitted(each.training, situation.rows)) for each in self.variants(situation))
        others = [replace(each, training=training) for each, training in plans if training not in tried]
        return self.around(situation, others, rng) if others else None

    def around(self, situation: Situation, others: list[Variant], rng: random.Random) -> ExperimentPlan:
        """A plan of these variants and one close to the parent's best, filled up with random variants of it."""
        close = _near(situation.fitted(situation.training, situation.rows), situation, rng)
        chosen = untried(situation, situation.recipe, [*others[:1], close, *others[1:]], rng)
        changes = "; ".join(variant.note for variant in chosen if variant is not close)
        hypothesis = (
            f"{situation.symptom_phrase(self.remedies)}{changes}: {self.because}. Expected: "
            f"{situation.task.metric_label} above {situation.score}, and above the trial close to the parent's best."
        )
        return plan(self, situation.recipe, chosen, hypothesis)


@dataclass(frozen=True)
class FirstPlan(Direction):
    """All in-domain data with several training settings."""

    def propose(self, situation: Situation, rng: random.Random) -> ExperimentPlan | None:
        """See `Direction`; None unless the tree holds only the baseline."""
        if not situation.untouched:
            return None
        base = situation.fitted(situation.training, situation.recipe.rows or situation.rows)
        variants = [Variant(training, note) for training, note in first_plan.variants(base)]
        chosen = untried(situation, situation.recipe, variants, rng)
        sources = ", ".join(stream.source for stream in situation.recipe.streams)
        hypothesis = (
            "The base model has not been trained on this task. Training on deduplicated rows of the sources closest "
            f"to the search items ({sources}) should raise the score. Expected: {situation.task.metric_label} clearly "
            f"above the baseline's {situation.score}."
        )
        return _with_and_without_balance(plan(self, situation.recipe, chosen, hypothesis), situation)


FIRST = FirstPlan("first_plan", "refine_data", 0.0, frozenset(), frozenset())

DIRECTIONS: dict[str, Direction] = {}
"""All directions by name, in the order of definition."""

_Direction = TypeVar("_Direction", bound=Direction)


def _register(direction: _Direction) -> _Direction:
    DIRECTIONS[direction.name] = direction
    return direction


def data_direction(
    strategy: Strategy, optimism: float, words: Iterable[str], remedies: Iterable[Symptom] = ()
) -> Callable[[Callable[[Situation], list[Edit]]], DataDirection]:
    """Registers a function that lists recipe edits as the direction of its name."""
    return lambda edits: _register(
        DataDirection(edits.__name__, strategy, optimism, frozenset(remedies), frozenset(words), edits)
    )


def training_direction(
    because: str, optimism: float, words: Iterable[str], remedies: Iterable[Symptom] = ()
) -> Callable[[Callable[[Situation], list[Variant]]], TrainingDirection]:
    """Registers a function that lists training variants, the best expected first, as the direction of its name."""
    treats, meant = frozenset(remedies), frozenset(words)
    return lambda variants: _register(
        TrainingDirection(variants.__name__, "adjust_training", optimism, treats, meant, because, variants)
    )


def with_rate(training: TrainingPlan, rate: float, digits: int = 3) -> TrainingPlan:
    """The plan with that learning rate, rounded and within the method's search space."""
    low, high = SFT.search_space["learning_rate"]
    return training.with_stage(learning_rate=float(f"{min(high, max(low, rate)):.{digits}g}"))


def scaled_rate(training: TrainingPlan, factor: float, digits: int = 3) -> TrainingPlan:
    """The plan with its learning rate times `factor`; see `with_rate`."""
    return with_rate(training, sft_stage(training).learning_rate * factor, digits)


def with_rows(recipe: DataRecipe, situation: Situation) -> DataRecipe:
    """The recipe with as many rows as its sources have and a trial may use.

    The parent's number of rows is kept if it is smaller than its sources allow.
    """
    supply = expected_rows(recipe.model_copy(update={"rows": None}), situation.notes)
    wanted = situation.trial_examples
    if recipe.rows is not None and (recipe.rows != situation.recipe.rows or recipe.rows < situation.supply):
        wanted = min(wanted, recipe.rows)
    return recipe.model_copy(update={"rows": max(1, min(wanted, supply, MAX_ROWS))})


def untried(
    situation: Situation, recipe: DataRecipe, variants: Iterable[Variant], rng: random.Random
) -> list[Variant]:
    """The first `situation.trials` variants not tried on this recipe, filled up with random variants of the first."""
    seen = situation.tried(recipe_key(recipe))
    chosen: list[Variant] = []
    pool = list(variants)
    base = pool[0].training
    while len(chosen) < situation.trials:
        variant = pool.pop(0) if pool else _random_variant(base, rng)
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
            TrialPlan.model_validate({"training": v.training.model_dump(), "note": v.note}) for v in chosen
        ],
    )


def _with_and_without_balance(planned: ExperimentPlan, situation: Situation) -> ExperimentPlan:
    """If the recipe is balanced: every second trial repeats the one before it on the recipe without this step."""
    recipe = situation.recipe
    natural = with_rows(edit_streams(recipe, lambda s: without_step(s.steps, Balance)), situation)
    if natural.streams == recipe.streams or len(planned.trials) < 2:
        return planned
    trials = list(planned.trials)
    for place, trial in enumerate(trials[:-1:2]):
        training = situation.fitted(trial.training, natural.rows or situation.rows).with_stage(recipe=NATURAL)
        trials[2 * place + 1] = TrialPlan(training=training, note=f"{trial.note}, answers as in the sources")
        trials[2 * place] = trial.model_copy(update={"note": f"{trial.note}, balanced answers"})
    return planned.model_copy(update={"recipes": planned.recipes | {NATURAL: natural}, "trials": trials})


def _near(base: TrainingPlan, situation: Situation, rng: random.Random) -> Variant:
    """The parent's best with an untried learning rate within a factor of `NUDGE`, see `Situation.rate_direction`."""
    tried = situation.tried(recipe_key(situation.recipe))
    near = scaled_rate(base, NUDGE ** (situation.rate_direction or rng.choice((-1, 1))))
    while near in tried:
        near = scaled_rate(base, NUDGE ** rng.uniform(-1, 1), digits=6)
    return Variant(near, f"close to the parent's best: learning rate {sft_stage(near).learning_rate:g}")


def _random_variant(base: TrainingPlan, rng: random.Random) -> Variant:
    """The base with a random learning rate within a factor of `SPREAD` and a random rank."""
    near = scaled_rate(base, math.exp(rng.uniform(-1, 1) * math.log(SPREAD)))
    rank = rng.choice(sorted({lora_weights(base).rank, 4, 8, 16, 32}))
    note = f"learning rate {sft_stage(near).learning_rate:g}, rank {rank}"
    return Variant(near.with_weights(rank=rank, alpha=2 * rank), note)


def _rate_note(base: TrainingPlan, factor: float) -> str:
    if factor == 1.0:
        return "the parent's training plan on the new data"
    return f"learning rate {sft_stage(scaled_rate(base, factor)).learning_rate:g}"
