"""Directions that train the parent's best weights with another method: on pairs, or on the metric as a reward."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ....errors import TrexError
from ....evaluation.metrics import is_ours, metric
from ....evaluation.metrics.protocol import RewardingMetric
from ....training.data.operators.reject import Reject
from ....training.data.recipe import DataRecipe
from ....training.methods import METHODS
from ....training.methods.schedule import FEWEST_STEPS
from ....training.plan import TrainingPlan
from ...tree.experiment import ExperimentPlan, Symptom
from .directions import DIRECTIONS, Direction, Variant, plan
from .recipe_edits import answer_column, is_usable, with_step, without_step
from .situation import Situation, on_main, recipe_key

RATE_FACTORS = (1.0, 4.0, 0.4)
"""Learning rates, in units of the method's default."""

Rows = Callable[[Situation, DataRecipe], DataRecipe | None]


@dataclass(frozen=True)
class MethodDirection(Direction):
    """One stage of `method` on the parent's best weights. Trials differ in settings of the method's search space."""

    method: str
    because: str
    rows: Rows
    """The rows to train on, made of the recipe that the parent was trained on; None where the method does not apply."""
    settings: Callable[[Situation], dict[str, Any]]
    examples_per_row: int
    """Examples of a trial that a row consumes: answers that are sampled, or the two of a pair."""

    def propose(self, situation: Situation, rng: random.Random) -> ExperimentPlan | None:
        """See `Direction`; None without trained weights, or if the trial's examples are too few for the method."""
        source = situation.tree.trained(situation.node.id)
        best = source.best_record if source else None
        if source is None or best is None or source.tried_plan is None:
            return None
        recipe = self.rows(situation, source.tried_plan.recipe_of(best.training))
        if recipe is None:
            return None
        count = min(situation.trial_examples // self.examples_per_row, recipe.rows or situation.rows)
        recipe = recipe.model_copy(update={"rows": count})
        stage = METHODS.load(self.method).stage
        settings = {"epochs": self._epochs(situation, count), **self.settings(situation)}
        first = TrainingPlan(start="parent", weights=best.training.weights, stages=(stage(**settings),))
        if first.total_steps(count) < FEWEST_STEPS:
            return None
        tried = situation.tried(recipe_key(recipe))
        chosen: list[Variant] = []
        for variant in self._variants(first, rng):
            if len(chosen) < situation.trials and on_main(variant.training) not in tried:
                tried.add(on_main(variant.training))
                chosen.append(variant)
            if len(chosen) == situation.trials:
                break
        cost = (
            f"{count} rows, {self.examples_per_row} examples each, {first.total_steps(count)} steps a trial"
        )
        hypothesis = (
            f"{situation.symptom_phrase(self.remedies)}training with {self.method} from the parent's best weights "
            f"({cost}): {self.because}. Expected: {situation.task.metric} above {situation.score}."
        )
        return plan(self, recipe, chosen, hypothesis)

    def _epochs(self, situation: Situation, rows: int) -> float:
        passes = situation.trial_examples / (rows * self.examples_per_row)
        return max(0.001, math.floor(min(3.0, passes) * 1000) / 1000)

    def _variants(self, first: TrainingPlan, rng: random.Random) -> Iterator[Variant]:
        """The default, other values of one setting of the search space each, then random learning rates; no end."""
        space = METHODS.load(self.method).search_space
        rate = getattr(first.stage, "learning_rate")  # noqa: B009 - not every method has one
        for factor in RATE_FACTORS:
            yield _varied(first, space, "learning_rate", rate * factor)
        for name, (low, high) in space.items():
            if name != "learning_rate":
                now = getattr(first.stage, name)
                for value in (low + (high - low) / 4, high - (high - low) / 4):
                    if value != now:
                        yield _varied(first, space, name, value)
        while True:
            yield _varied(first, space, "learning_rate", rate * math.exp(rng.uniform(-1.5, 1.5)))


def _varied(first: TrainingPlan, space: Any, name: str, value: float) -> Variant:
    low, high = space[name]
    value = float(f"{min(high, max(low, value)):.4g}")
    return Variant(
        first.with_stage(**{name: value}), f"{first.stage.method}, {name.replace('_', ' ')} {value:g}"
    )


def _rewarded_rows(situation: Situation, recipe: DataRecipe) -> DataRecipe | None:
    """The parent's rows, if the task's metric gives partial credit to answers that are generated."""
    task = situation.task
    if task.choices or not is_ours(task.metric):
        return None
    try:
        if not isinstance(metric(task.metric), RewardingMetric):
            return None
    except TrexError:
        return None
    return recipe.model_copy(update={"output": "answers", "steps": without_step(recipe.steps, Reject)})


def _pairs(situation: Situation, recipe: DataRecipe) -> DataRecipe | None:
    """The parent's rows with a worse answer: their own, or another row's."""
    used = [situation.notes.source(stream.source) for stream in recipe.streams]
    if all("rejected" in source.columns for source in used):
        return recipe.model_copy(update={"output": "pairs"})
    if not all(is_usable(situation.task, source) for source in used):
        return None
    steps = with_step(recipe.steps, Reject(column=answer_column(situation.task)))
    return recipe.model_copy(update={"output": "pairs", "steps": steps})


def _sampling(situation: Situation) -> dict[str, Any]:
    limits = situation.task.generation
    return {
        "learning_rate": 1e-4,
        "generations": GENERATIONS,
        "max_new_tokens": limits.max_new_tokens,
        "max_length": min(32_768, max(256, limits.max_prompt_tokens + limits.max_new_tokens)),
    }


def _lengths(situation: Situation) -> dict[str, Any]:
    limits = situation.task.generation
    return {"max_length": min(32_768, max(256, limits.max_prompt_tokens + limits.max_new_tokens))}


GENERATIONS = 8


def _register(
    name: str, method: str, optimism: float, words: Iterable[str], remedies: Iterable[Symptom], **more: Any
) -> None:
    DIRECTIONS[name] = MethodDirection(
        name, "adjust_training", optimism, frozenset(remedies), frozenset(words), method, **more
    )


_register(
    "reinforcement", "grpo", 0.4, ("reinforcement", "grpo", "reward"), ("format_errors", "mode_collapse"),
    because="the metric gives partial credit, so sampled answers that are better than others of their group teach more "
    "than the one answer of a row",
    rows=_rewarded_rows, settings=_sampling, examples_per_row=GENERATIONS,
)  # fmt: skip
_register(
    "preferences", "dpo", 0.1, ("preference", "dpo", "pairs"), ("label_bias", "format_errors"),
    because="a pair says which answer is wrong, which a right answer alone does not",
    rows=_pairs, settings=_lengths, examples_per_row=2,
)  # fmt: skip
