"""Answer types of the Researcher's chat model. It reads the names and descriptions of the fields.

Texts are cut and cleaned on input, since they go into memory, reports and later prompts.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, create_model

from ....tools.excerpt import brief
from ....tools.parent_changes import ParentConfiguration
from ....tools.preview import RecipeArgument
from ....tools.untrusted import defanged
from ....training.methods.protocol import RecipeName
from ....training.plan import TrainingPlan
from ...llm.model_answer import ModelAnswer
from ...tree.experiment import MOST_RECIPES, Claim, ExperimentPlan, TrialPlan

MAX_LINE = 500
"""Longest sentence of an answer, in characters."""


def _line(text: str) -> str:
    line = brief(defanged(text[: 20 * MAX_LINE]), MAX_LINE)
    if not line:
        raise ValueError("write a sentence")
    return line


def _name(text: str) -> str:
    return text.strip().casefold().replace(" ", "_").replace("-", "_")


Line = Annotated[str, AfterValidator(_line)]
TrainingArgument = Annotated[TrainingPlan, WithJsonSchema({"type": "object"})]
Recipes = Annotated[
    dict[RecipeName, RecipeArgument],
    Field(min_length=1, max_length=MOST_RECIPES),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": "object"}}),
]


class AnalysisAnswer(ModelAnswer):
    """The requirement, made precise."""

    goal: Line = Field(description="What the fine-tuned model must do, in one sentence, and why it is hard")
    constraints: list[Line] = Field(
        default_factory=list,
        max_length=8,
        description="Constraints that follow from the requirement and are not listed yet; may be empty",
    )


class FindingAnswer(ModelAnswer):
    """One finding of research."""

    text: Line = Field(description="What was found, and what it means for plans of this task")
    source: Line = Field(
        description="Where: the address of a page or paper as a tool returned it, the source line of a note on "
        "practice, the name of a data source, or a data set's name on the hub"
    )


class CandidateAnswer(ModelAnswer):
    """A data set that could help."""

    name: str = Field(max_length=200, description="Its name on the hub, 'owner/name'")
    why: Line = Field(description="Its benefit and its risks")


class ResearchAnswer(ModelAnswer):
    """The result of open-domain research."""

    findings: list[FindingAnswer] = Field(
        max_length=12,
        description="What matters for the plans, most important first; only what tools returned",
    )
    candidates: list[CandidateAnswer] = Field(
        default_factory=list,
        max_length=8,
        description="Data sets of the hub whose card and rows you have seen. A person decides about them",
    )


class DirectionAnswer(ModelAnswer):
    """The kind of change to try next."""

    strategy: Literal["refine_data", "construct_synthetic_data", "adjust_training"] = Field(
        description="refine_data: other sources, filters, labels or mixtures. construct_synthetic_data: rows made "
        "by a rule. adjust_training: the same data with other training settings"
    )
    direction: Annotated[str, BeforeValidator(lambda v: _name(v) if isinstance(v, str) else v)] = Field(
        pattern=r"^[a-z][a-z0-9_]{1,39}$",
        description="The concrete direction in one or two words, e.g. learning_rate; use the same name for "
        "the same direction, so that its results are counted together",
    )
    why: Line = Field(description="Why this direction and no other, from evidence")
    refuted_by: Line = Field(description="Which result would refute it")
    over_untried: str = Field(
        default="",
        max_length=4 * MAX_LINE,
        description="For adjust_training: why varying settings is better than what was never tried",
    )
    rests_on: list[str] = Field(
        default_factory=list, max_length=12, description="Ids of the experiments that this is based on"
    )


class TrialAnswer(ModelAnswer):
    """One trial of the plan."""

    note: Line = Field(description="How this trial differs, in a few words")
    training: TrainingArgument = Field(description="Settings other than the defaults")


class PlanAnswer(ModelAnswer):
    """The complete plan: recipes by name, and trials that differ on purpose."""

    hypothesis: Line = Field(
        description="The expected result and why, with the score to beat, so that a result can refute it"
    )
    recipes: Recipes = Field(
        description="Data recipes by name, e.g. main; trials that name different ones compare data"
    )
    trials: list[TrialAnswer] = Field(min_length=1, max_length=8)

    def plan(self, direction: DirectionAnswer, known: Collection[str] | None = None) -> ExperimentPlan:
        """The plan of an experiment in that direction. Of experiments that are not `known` the notes say so."""
        unknown = [] if known is None else [name for name in direction.rests_on if name not in known]
        over = brief(defanged(direction.over_untried), MAX_LINE)
        notes = [
            f"rather than the untried: {over}" if over else "",
            direction.notes,
            self.notes,
            *(trial.notes for trial in self.trials),
        ]
        notes += [f"no such experiment: {brief(defanged(', '.join(unknown)), 100)}"] if unknown else []
        return ExperimentPlan(
            strategy=direction.strategy,
            direction=direction.direction,
            hypothesis=self.hypothesis,
            recipes=self.recipes,
            trials=[TrialPlan(training=trial.training, note=trial.note) for trial in self.trials],
            notes="; ".join(filter(None, notes)),
        )


def plan_answer(trials: int, parent: ParentConfiguration) -> type[PlanAnswer]:
    """The answer type of a plan with that number of trials, which its JSON schema requires.

    Recipes and trainings may be written as changes of the parent's.
    """
    trial: Any = create_model(
        "TrialAnswer",
        __base__=TrialAnswer,
        training=(parent.training_argument(), TrialAnswer.model_fields["training"]),
    )
    bounds = Field(
        min_length=1, max_length=8, json_schema_extra={"minItems": trials, "maxItems": trials}
    )  # another number is a problem that the check of the plan names
    return create_model(
        "PlanAnswer",
        __base__=PlanAnswer,
        __doc__=PlanAnswer.__doc__,
        recipes=(Annotated[Recipes, parent.recipes_argument()], PlanAnswer.model_fields["recipes"]),
        trials=(list[trial], bounds),
    )


class RevisionAnswer(ModelAnswer):
    """The change of a plan that cannot be executed, or the decision to give it up."""

    give_up: bool = Field(
        default=False,
        description="True if no change would keep the idea of the plan; then only `why` is needed",
    )
    why: Line = Field(description="What you changed, or why you give up")
    recipes: Recipes | None = Field(default=None, description="All recipes, changed; none: as they were")
    trials: list[TrialAnswer] | None = Field(
        default=None, min_length=1, max_length=8, description="All trials, changed; none: as they were"
    )

    def applied(self, plan: ExperimentPlan) -> ExperimentPlan:
        """The changed plan."""
        changed: dict[str, Any] = {}
        if self.recipes is not None:
            changed["recipes"] = self.recipes
        if self.trials is not None:
            changed["trials"] = [TrialPlan(training=t.training, note=t.note) for t in self.trials]
        return plan.model_copy(update=changed)


class ClaimAnswer(ModelAnswer):
    """An insight that later experiments can confirm or refute."""

    text: Line = Field(description="One sentence that another experiment could use")
    direction: str = Field(max_length=60, description="The direction it is about, e.g. learning_rate")
    expects: Literal["gain", "no_gain"] = Field(description="What further experiments in it should bring")

    def claim(self) -> Claim:
        """The claim as stored in the tree."""
        direction = brief(_name(defanged(self.direction)), 60)
        return Claim(text=self.text, direction=direction, expects=self.expects)


class DiagnosisAnswer(ModelAnswer):
    """What you conclude from a result, in addition to what was computed."""

    causes: list[Line] = Field(max_length=5, description="What failure cases share, most frequent first")
    insights: list[Line] = Field(default_factory=list, max_length=4, description="For the next plan")
    claims: list[ClaimAnswer] = Field(
        default_factory=list,
        max_length=3,
        description="Insights that later experiments can confirm or refute",
    )
