"""The built-in Researcher: a policy without a language model, and the baseline that one has to beat.

It looks at the data, starts from a measured first plan, and then refines: symptoms of the node say which
directions could help, a bandit over the whole tree says which ones paid, and the chosen direction edits the
parent's best configuration. The same seed and tree give the same plan.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from ....errors import InputError
from ....evaluation.task import Task
from ...tree.experiment import Diagnosis, ExperimentPlan
from ..context import ResearcherContext
from ..protocol import Analysis, Evidence, PlanningRequest, ResearchNotes
from . import data_directions, training_directions  # noqa: F401 - importing them registers directions
from .bandit import arm, choose, outcomes, scale
from .diagnosis import read_outcome, verdict_only
from .directions import DIRECTIONS, FIRST, Direction
from .recipe_edits import is_usable
from .situation import History, Situation
from .source_notes import look_at_sources

REMEDY = 1.0
"""What a direction that answers to a symptom gets on top of its sample, in scales of the tree's gains."""

TRIED_HERE = -0.5
"""The same for each time it was already taken from this node."""

ASKED_FOR = 100.0
"""The same if a person's hint names it."""


def open_builtin(context: ResearcherContext) -> BuiltinResearcher:
    """The built-in Researcher of a run."""
    return BuiltinResearcher(context.settings.seed, diagnosis=context.settings.diagnosis)


class BuiltinResearcher:
    """See `protocol.Researcher`. `seed` makes two runs with the same outcomes plan the same."""

    def __init__(self, seed: int = 0, *, diagnosis: bool = True) -> None:
        self.seed = seed
        self._diagnosis = diagnosis
        self._history = History()

    def analyze(self, task: Task) -> Analysis:
        """The task's own fields, in sentences."""
        constraints = [
            f"the base model is {task.base_model}",
            f"an answer is the likeliest of: {', '.join(task.choices)}"
            if task.choices
            else f"answers are generated, at most {task.generation.max_new_tokens} tokens",
            f"prompts are cut to {task.generation.max_prompt_tokens} tokens",
            "rows that repeat dev or test items are refused",
        ]
        return Analysis(
            goal=task.requirement,
            metric=task.metric,
            constraints=constraints,
            allowed_data=[source.name for source in task.sources],
        )

    def research(self, task: Task, analysis: Analysis) -> ResearchNotes:
        """Loads and describes every allowed source. Raises InputError if no recipe can be made of any."""
        notes = look_at_sources(task)
        if not any(is_usable(task, source) for source in notes.sources):
            columns = {source.name: source.columns for source in notes.sources}
            raise InputError(
                f"no source of task '{task.name}' has the columns its prompt needs "
                f"({', '.join(sorted(task.prompt.fields))}); they have {columns}: "
                "rename columns, or set rating_column"
            )
        return notes

    def plan(self, request: PlanningRequest) -> ExperimentPlan:
        """The first plan for an untouched tree; afterwards the direction with the largest sampled gain."""
        situation = Situation.of(request, self._history)
        # A rejected plan is asked for again with a hint, from the same tree; without memory the tree stays small.
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
        word = "As asked" if followed else "The hint names nothing that this policy can still try"
        return plan.model_copy(update={"hypothesis": f"{word} ({request.hint!r}). {plan.hypothesis}"})

    def revise(self, plan: ExperimentPlan, problem: str, experiment: str) -> None:
        """No other plan: what failed is a result of its direction, and the next round plans with it."""

    def diagnose(self, evidence: Evidence) -> Diagnosis:
        """See `diagnosis.read_outcome`; switched off, the verdict alone."""
        return read_outcome(evidence) if self._diagnosis else verdict_only(evidence)

    def _ranked(self, situation: Situation, request: PlanningRequest, rng: random.Random) -> list[Direction]:
        """Every direction, the one with the largest sampled gain first."""
        size, seen = scale(situation.tree), outcomes(situation.tree)
        arms = {name: arm(d.optimism, size, seen.get(name, ())) for name, d in DIRECTIONS.items()}
        asked = asked_for(request.hint, DIRECTIONS.values()) if request.hint else set()
        here = [
            child.tried_plan.direction for child in request.context.children if child.tried_plan is not None
        ]
        bonus = {
            name: size
            * (
                REMEDY * bool(direction.remedies & situation.symptoms)
                + TRIED_HERE * here.count(name)
                + ASKED_FOR * (name in asked)
            )
            for name, direction in DIRECTIONS.items()
        }
        return [DIRECTIONS[name] for name in choose(arms, bonus, rng)]


def asked_for(hint: str, directions: Iterable[Direction]) -> set[str]:
    """The names of the directions a hint speaks of."""
    text = hint.casefold().replace("_", " ")
    return {d.name for d in directions if any(word in text for word in {*d.words, d.name.replace("_", " ")})}
