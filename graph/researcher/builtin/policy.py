"""The built-in Researcher: a policy without a language model, and the baseline for runs with one.

It describes the data, starts from a measured first plan, and then refines it. The symptoms of the node and a bandit
over the gains in the whole tree select a direction; the direction edits the parent's best configuration. The same seed
and tree give the same plan.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from ....errors import InputError
from ....evaluation.task import Task
from ....training.data.sources import missing_columns
from ...tree.experiment import Diagnosis, ExperimentPlan
from ..context import ResearcherContext
from ..protocol import Analysis, Evidence, PlanningRequest, ResearchNotes
from . import data_directions, method_directions, training_directions  # noqa: F401 - importing them registers directions
from .bandit import arm, choose, outcomes, scale
from .diagnosis import read_outcome, verdict_only
from .directions import DIRECTIONS, FIRST, Direction
from .recipe_edits import is_usable
from .situation import History, Situation
from .source_notes import look_at_sources

REMEDY = 1.0
"""Added to the sample of a direction that treats a symptom of the node, in units of the scale of gains."""

TRIED_HERE = -0.5
"""Added for each child of the node in the same direction, in the same units."""

ASKED_FOR = 100.0
"""Added if the user's hint names the direction, in the same units."""


def open_builtin(context: ResearcherContext) -> BuiltinResearcher:
    """The built-in Researcher of a run."""
    return BuiltinResearcher(context.settings.seed, diagnosis=context.settings.diagnosis)


class BuiltinResearcher:
    """See `protocol.Researcher`. With the same `seed` and the same outcomes two runs make the same plans."""

    def __init__(self, seed: int = 0, *, diagnosis: bool = True) -> None:
        self.seed = seed
        self._diagnosis = diagnosis
        self._history = History()

    def analyze(self, task: Task) -> Analysis:
        """Goal, metric, constraints and sources from the fields of the task."""
        constraints = [
            f"the base model is {task.base_model}",
            f"the answer is the choice with the highest likelihood: {', '.join(task.choices)}"
            if task.choices
            else f"answers are generated, at most {task.generation.max_new_tokens} tokens",
            f"prompts are cut to {task.generation.max_prompt_tokens} tokens",
            "rows that repeat dev or test items are removed, and recipes that select for them are refused",
        ]
        return Analysis(
            goal=task.requirement,
            metric=task.metric,
            constraints=constraints,
            allowed_data=[source.name for source in task.sources],
        )

    def research(self, task: Task, analysis: Analysis) -> ResearchNotes:
        """Load and describe every allowed source. Raises InputError if none has the columns that a recipe needs."""
        notes = look_at_sources(task)
        if not any(is_usable(task, source) for source in notes.sources):
            columns = {source.name: source.columns for source in notes.sources}
            raise InputError(missing_columns(task, columns))
        return notes

    def direction(self, request: PlanningRequest) -> dict[str, Any]:
        """Empty: `plan` ranks all directions."""
        return {}

    def plan(self, request: PlanningRequest) -> ExperimentPlan:
        """The first plan if the tree holds only the baseline, else the direction with the largest sampled gain."""
        situation = self.situation(request)
        # After a rejection the request has the same tree and a hint. Without memory the tree holds few nodes.
        size = max(len(request.context.tree), request.round)
        rng = random.Random(f"{self.seed}/{request.seed}/{size}/{request.hint}")
        directions = (FIRST, *self._ranked(situation, request, rng))
        plans = (direction.propose(situation, rng) for direction in directions)
        plan = next((plan for plan in plans if plan is not None), None)
        if plan is None:
            plan = training_directions.learning_rate.around(situation, [], rng)
        if not request.hint:
            return plan
        followed = plan.direction in asked_for(request.hint, DIRECTIONS.values())
        note = "This plan follows the hint" if followed else "No untried direction matches the hint"
        return plan.model_copy(update={"hypothesis": f"{note} {request.hint!r}. {plan.hypothesis}"})

    def revise(self, plan: ExperimentPlan, problem: str, experiment: str) -> None:
        """None: the failure counts as a result of the direction, and the next round uses it."""

    def diagnose(self, evidence: Evidence) -> Diagnosis:
        """See `diagnosis.read_outcome`; with `diagnosis` off only the verdict."""
        return read_outcome(evidence) if self._diagnosis else verdict_only(evidence)

    def situation(self, request: PlanningRequest) -> Situation:
        """The configuration that a plan starts from, and its context."""
        return Situation.of(request, self._history)

    def _ranked(self, situation: Situation, request: PlanningRequest, rng: random.Random) -> list[Direction]:
        """All directions, sorted by sampled gain, the largest first."""
        size, seen = scale(situation.tree), outcomes(situation.tree)
        arms = {name: arm(d.optimism, size, seen.get(name, ())) for name, d in DIRECTIONS.items()}
        asked = asked_for(request.hint, DIRECTIONS.values()) if request.hint else set()
        here = [child.tried_plan.direction for child in request.context.children if child.tried_plan]

        def bonus(name: str, direction: Direction) -> float:
            remedy = REMEDY * bool(direction.remedies & situation.symptoms)
            return size * (remedy + TRIED_HERE * here.count(name) + ASKED_FOR * (name in asked))

        ranked = choose(arms, {name: bonus(name, each) for name, each in DIRECTIONS.items()}, rng)
        return [DIRECTIONS[name] for name in ranked]


def asked_for(hint: str, directions: Iterable[Direction]) -> set[str]:
    """The names of the directions that a hint mentions."""
    text = hint.casefold().replace("_", " ")
    return {d.name for d in directions if any(word in text for word in {*d.words, d.name.replace("_", " ")})}
