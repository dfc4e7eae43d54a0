"""What a chat model answers as Researcher, typed. Names and descriptions are what it reads; it needs no other form.

Texts are cut and made harmless when they are read: they go on into memory, reports and later prompts.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from ....tools.excerpt import brief
from ....tools.guide import recipe_guide, training_guide
from ....tools.preview import RecipeArgument
from ....tools.untrusted import defanged
from ....training.methods.protocol import RecipeName
from ....training.plan import TrainingPlan
from ...tree.experiment import MOST_RECIPES, Claim, ExperimentPlan, TrialPlan

LONGEST_LINE = 500
"""Characters of one sentence of an answer that are kept."""


def _line(text: str) -> str:
    line = brief(defanged(text[: 20 * LONGEST_LINE]), LONGEST_LINE)
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


class _Answer(BaseModel):
    # What a model adds beside the fields is no reason to ask again.
    model_config = ConfigDict(frozen=True, extra="ignore")


class Requirement(_Answer):
    """The requirement, made precise."""

    goal: Line = Field(description="What the fine-tuned model must do, in a sentence, and what makes it hard")
    constraints: list[Line] = Field(
        default_factory=list,
        max_length=8,
        description="Bounds that follow from the requirement and are not listed yet; none is fine",
    )


class Finding(_Answer):
    """One thing that was found out."""

    text: Line = Field(description="What was found, and what it means for a plan of this task")
    source: Line = Field(
        description="Where: the address of a page or paper as a tool returned it, the source line of a note on "
        "practice, the name of a data source, or a data set's name on the hub"
    )


class FoundDataset(_Answer):
    """A data set that could help."""

    name: str = Field(max_length=200, description="Its name on the hub, 'owner/name'")
    why: Line = Field(description="What it would bring, and what speaks against it")


class Findings(_Answer):
    """What open-domain research brought."""

    findings: list[Finding] = Field(
        max_length=12, description="What bears on the plans, most important first; only what tools returned"
    )
    candidates: list[FoundDataset] = Field(
        default_factory=list,
        max_length=8,
        description="Data sets of the hub whose card and rows you looked at. A person decides about them",
    )


class Direction(_Answer):
    """The coarse decision: what kind of change to try next."""

    strategy: Literal["refine_data", "construct_synthetic_data", "adjust_training"] = Field(
        description="refine_data: other sources, filters, labels or mixtures. construct_synthetic_data: rows made "
        "by a rule. adjust_training: the same data, trained in another way"
    )
    direction: Annotated[str, BeforeValidator(lambda v: _name(v) if isinstance(v, str) else v)] = Field(
        pattern=r"^[a-z][a-z0-9_]{1,39}$",
        description="The concrete direction in one or two words, e.g. learning_rate; the same word as before for "
        "the same direction, so that what it brought adds up",
    )
    why: Line = Field(description="Why this and not the others, from evidence")
    refuted_by: Line = Field(description="Which result would show that it was wrong")
    rests_on: list[str] = Field(
        default_factory=list, max_length=12, description="Ids of the experiments that this rests on"
    )


class TrialAnswer(_Answer):
    """One of the trials."""

    note: Line = Field(description="What sets this trial apart, in a few words")
    training: TrainingArgument = Field(
        description="Settings that differ from the defaults. " + training_guide()
    )


class Details(_Answer):
    """The plan in full: recipes by name, and trials that differ on purpose."""

    hypothesis: Line = Field(
        description="What should happen and why, with the score to beat, so that a result can refute it"
    )
    recipes: Recipes = Field(
        description="Data recipes by name, e.g. main; trials that name different ones compare data. "
        + recipe_guide()
    )
    trials: list[TrialAnswer] = Field(min_length=1, max_length=8)

    def plan(self, direction: Direction) -> ExperimentPlan:
        """As the plan of an experiment in that direction."""
        return ExperimentPlan(
            strategy=direction.strategy,
            direction=direction.direction,
            hypothesis=self.hypothesis,
            recipes=self.recipes,
            trials=[TrialPlan(training=trial.training, note=trial.note) for trial in self.trials],
        )


class Revision(_Answer):
    """A plan that cannot be carried out as written: changed, or given up."""

    give_up: bool = Field(
        default=False,
        description="True if no change would keep the idea of the plan; then leave out the rest",
    )
    why: Line = Field(description="What you changed, or why you give up")
    recipes: Recipes | None = Field(default=None, description="All recipes, changed; none: as they were")
    trials: list[TrialAnswer] | None = Field(
        default=None, min_length=1, max_length=8, description="All trials, changed; none: as they were"
    )

    def applied(self, plan: ExperimentPlan) -> ExperimentPlan:
        """The plan with what was changed."""
        changed: dict[str, Any] = {}
        if self.recipes is not None:
            changed["recipes"] = self.recipes
        if self.trials is not None:
            changed["trials"] = [TrialPlan(training=t.training, note=t.note) for t in self.trials]
        return plan.model_copy(update=changed)


class ClaimAnswer(_Answer):
    """An insight in a form that later experiments can bear out or refute."""

    text: Line = Field(description="One sentence that another experiment could use")
    direction: str = Field(max_length=60, description="The direction it speaks of, e.g. learning_rate")
    expects: Literal["gain", "no_gain"] = Field(
        description="What it expects of further experiments in that direction"
    )

    def claim(self) -> Claim:
        """As the tree keeps it."""
        return Claim(
            text=self.text, direction=brief(_name(defanged(self.direction)), 60), expects=self.expects
        )


class Reading(_Answer):
    """What you read from an outcome, beside what was computed."""

    causes: list[Line] = Field(
        max_length=5, description="What the failure cases have in common, most frequent first"
    )
    insights: list[Line] = Field(
        default_factory=list, max_length=4, description="What was learnt that the next plan should know"
    )
    claims: list[ClaimAnswer] = Field(
        default_factory=list,
        max_length=3,
        description="Insights that later experiments can confirm or refute",
    )
