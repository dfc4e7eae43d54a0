"""What kinds of change a search tried: new parts of a plan, or only other values of its parent's settings.

Agents tend to keep their first strategy and vary its settings (arXiv:2608.19072). So what was never tried is told to
the Researcher, and a report counts the rounds of either kind and what they brought.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from ...training.data.operators import operators
from ...training.methods import METHODS
from ...training.weights import WEIGHTS
from .experiment import Experiment, ExperimentPlan
from .tree import Tree

KINDS = ("sources", "operators", "methods", "weights")


@dataclass(frozen=True)
class StrategyCount:
    """Rounds of one kind, and their gains over the parent on `search`."""

    rounds: int
    gains: tuple[float, ...]

    @property
    def mean_gain(self) -> float | None:
        """None without a scored round."""
        return statistics.fmean(self.gains) if self.gains else None


def parts(plan: ExperimentPlan) -> dict[str, set[str]]:
    """The sources, operators, methods and kinds of weights that a plan uses."""
    recipes, trainings = plan.recipes.values(), [trial.training for trial in plan.trials]
    streams = [stream for recipe in recipes for stream in recipe.streams]
    steps = [*(step for stream in streams for step in stream.steps), *(s for r in recipes for s in r.steps)]
    return {
        "sources": {stream.source for stream in streams},
        "operators": {step.op for step in steps},
        "methods": {stage.method for training in trainings for stage in training.stages},
        "weights": {training.weights.kind for training in trainings},
    }


def untried(experiments: Iterable[Experiment], sources: Iterable[str]) -> dict[str, list[str]]:
    """By kind, what no plan of these experiments used; kinds of which all was used are left out."""
    used = [parts(experiment.tried_plan) for experiment in experiments if experiment.tried_plan is not None]
    known = dict(zip(KINDS, (sources, operators(), METHODS.names(), WEIGHTS.names()), strict=True))
    left = {kind: sorted(set(known[kind]).difference(*(each[kind] for each in used))) for kind in KINDS}
    return {kind: names for kind, names in left.items() if names}


def is_nudge(plan: ExperimentPlan, parent: ExperimentPlan | None) -> bool:
    """Whether a plan has no source, operator, method or kind of weights that its parent's plan lacks, nor lacks one."""
    return parent is not None and parts(plan) == parts(parent)


def count_strategies(tree: Tree) -> tuple[StrategyCount, StrategyCount]:
    """Rounds that changed the strategy, and rounds that varied only settings; children of the base model change it."""
    gains: dict[bool, list[float]] = {True: [], False: []}
    rounds = {True: 0, False: 0}
    for experiment in tree:
        parent = tree.parent(experiment.id)
        if experiment.tried_plan is None or parent is None or experiment.status == "running":
            continue
        nudge = is_nudge(experiment.tried_plan, parent.tried_plan)
        rounds[nudge] += 1
        if experiment.score is not None and parent.score is not None:
            gains[nudge].append(experiment.score.value - parent.score.value)
    return StrategyCount(rounds[False], tuple(gains[False])), StrategyCount(rounds[True], tuple(gains[True]))


def strategy_lines(tree: Tree) -> list[str]:
    """'3 rounds changed the strategy: mean gain over the parent +0.021 (of 3 scored)'; empty without rounds."""
    lines = []
    for count, what in zip(
        count_strategies(tree), ("changed the strategy", "varied only settings"), strict=True
    ):
        gain = "" if count.mean_gain is None else f": mean gain over the parent {count.mean_gain:+.3f}"
        scored = f" (of {len(count.gains)} scored)" if count.gains else ""
        if count.rounds:
            plural = "round" if count.rounds == 1 else "rounds"
            lines.append(f"{count.rounds} {plural} {what}{gain}{scored}")
    return lines
