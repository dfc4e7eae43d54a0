"""An experiment: one node of the tree, with its plan, its trials and its report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, Field, model_validator

from ...evaluation.results import ContaminationReport, Evaluation, Score
from ...training.causes import Cause
from ...training.curves import Series
from ...training.data.recipe import DataRecipe
from ...training.jobs.job import StartWeights
from ...training.methods.protocol import RecipeName
from ...training.plan import TrainingPlan

SCHEMA_VERSION = 3

MOST_RECIPES = 4

Strategy = Literal["establish_baseline", "refine_data", "construct_synthetic_data", "adjust_training"]
Status = Literal["running", "done", "failed"]
Symptom = Literal[
    "under_fitting",
    "over_fitting",
    "divergence",
    "label_bias",
    "long_inputs",
    "short_inputs",
    "format_errors",
    "mode_collapse",
    "too_little_data",
]


class TrialPlan(BaseModel, frozen=True, extra="forbid"):
    """One of the K configurations of an experiment: a training plan, and why it is worth a try."""

    training: TrainingPlan
    note: str = Field(default="", description="What sets this trial apart, in a few words")


class ExperimentPlan(BaseModel, frozen=True, extra="forbid"):
    """What the Researcher decides for one round."""

    strategy: Strategy
    direction: str = Field(description="The concrete direction within the strategy, e.g. 'learning_rate'")
    hypothesis: str = Field(description="What should happen and why, so that a result can refute it")
    recipes: dict[RecipeName, DataRecipe] = Field(
        min_length=1, max_length=MOST_RECIPES, description="Data recipes by name; stages name them"
    )
    trials: list[TrialPlan] = Field(min_length=1, max_length=8)
    fallback: str = Field(
        default="", description="Why the built-in policy made this plan in place of the chat model"
    )
    notes: str = Field(default="", description="What a chat model's answer held besides the plan; no effect")

    @model_validator(mode="after")
    def _recipes_are_those_of_the_trials(self) -> ExperimentPlan:
        used = {stage.recipe for trial in self.trials for stage in trial.training.stages}
        if missing := sorted(used - self.recipes.keys()):
            known = ", ".join(self.recipes)
            raise ValueError(f"a stage trains on the recipe {missing[0]!r}, but the recipes are {known}")
        if unused := sorted(self.recipes.keys() - used):
            raise ValueError(f"no stage trains on the recipe {unused[0]!r}: leave it out, or use it")
        return self

    def recipe_of(self, training: TrainingPlan) -> DataRecipe:
        """The recipe that the first stage of a training plan of this experiment trains on."""
        return self.recipes[training.stage.recipe]

    def with_recipe(self, name: str, recipe: DataRecipe) -> ExperimentPlan:
        """The plan with another recipe of that name."""
        return self.model_copy(update={"recipes": self.recipes | {name: recipe}})


class TrialRecord(BaseModel, frozen=True):
    """One trial from plan to end: planned, running from rung to rung, then done, pruned, stopped or failed."""

    id: str = Field(default="", description="Hash of all that determines the weights; empty before a start")
    index: int = Field(description="Its place in the plan")
    status: Literal["planned", "running", "done", "pruned", "failed", "stopped"]
    training: TrainingPlan = Field(description="As executed")
    start: StartWeights | None = Field(
        default=None, description="The weights that it continues from; None: the base model's"
    )
    planned: TrainingPlan | None = Field(default=None, description="As planned, if repairs changed it")
    note: str = ""
    rung: int = Field(default=-1, description="Last rung finished, -1 if none")
    step: int = 0
    total_steps: int = 0
    train_loss: float | None = None
    curve: list[tuple[int, float]] = Field(default_factory=list)
    figures: dict[str, Series] = Field(
        default_factory=dict, description="What the methods logged besides the loss, in bins: (step, mean)"
    )
    scored: list[tuple[int, float, float]] = Field(
        default_factory=list, description="Step, score and its standard error at the end of each rung"
    )
    evaluation: Evaluation | None = None
    cause: Cause | None = None
    message: str = ""
    repairs: list[str] = Field(default_factory=list)
    load_seconds: float = 0.0
    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    attempts: int = 0
    reused: bool = False

    def repaired(self, training: TrainingPlan, report: str) -> TrialRecord:
        """The trial with a repaired training plan, and the repair reported."""
        planned = self.planned if training == self.training else self.planned or self.training
        changes = {"training": training, "planned": planned, "repairs": [*self.repairs, report]}
        return self.model_copy(update=changes)

    @property
    def recipe(self) -> str:
        """The name of the recipe that its first stage trains on."""
        return self.training.stage.recipe

    @property
    def value(self) -> float | None:
        """The latest score on `search`, None before the first evaluation."""
        return None if self.evaluation is None else self.evaluation.score.value


class DatasetCard(BaseModel, frozen=True):
    """A reference to a built data set, with what a person wants to know of it."""

    fingerprint: str
    rows: int
    summary: str = ""
    steps: list[str] = Field(default_factory=list, description="Rows after each step of the recipe")
    contamination: ContaminationReport | None = None
    later_stages: tuple[str, ...] = Field(
        default=(),
        description="Of a trial with several stages: fingerprints of the data sets of the later ones",
    )

    @property
    def stage_fingerprints(self) -> tuple[str, ...]:
        """The data set of each stage."""
        return (self.fingerprint, *self.later_stages)


def trial_dataset(cards: Mapping[str, DatasetCard], training: TrainingPlan) -> DatasetCard | None:
    """The data sets that a training plan uses, by the names of their recipes; None if one is missing."""
    names = [stage.recipe for stage in training.stages]
    if any(name not in cards for name in names):
        return None
    later = tuple(cards[name].fingerprint for name in names[1:])
    return cards[names[0]].model_copy(update={"later_stages": later})


class Claim(BaseModel, frozen=True, extra="forbid"):
    """An insight in a form that later experiments can bear out or refute."""

    text: str = Field(max_length=500, description="One sentence that another experiment could use")
    direction: str = Field(description="The direction it speaks of, e.g. 'learning_rate'")
    expects: Literal["gain", "no_gain"] = Field(description="What further experiments in it should bring")


class Diagnosis(BaseModel):
    """What the Researcher read from the outcome."""

    verdict: Literal["supported", "refuted", "inconclusive", "failed"]
    summary: str
    causes: list[str] = Field(default_factory=list, description="Of failure cases, most frequent first")
    symptoms: list[Symptom] = Field(default_factory=list, description="What the next plan's direction treats")
    fixed: int = Field(default=0, description="Items the parent got wrong and this one right")
    regressed: int = 0
    gain: float = Field(default=0.0, description="Score minus the parent's, on the same items")
    p_value: float | None = Field(default=None, description="Paired permutation test against the parent")
    insights: list[str] = Field(default_factory=list)
    claims: list[Claim] = Field(default_factory=list, description="Insights that the tree keeps score of")
    fallback: str = Field(default="", description="Why the chat model added nothing to what was computed")


def reward_of(score: Score | None) -> float:
    """The primary metric within [0, 1]; 0 without one."""
    return 0.0 if score is None else min(1.0, max(0.0, score.value))


class Experiment(BaseModel, validate_assignment=True):
    """A node of the tree. Visits and cumulative reward are derived by `tree.Tree`, not stored."""

    schema_version: int = SCHEMA_VERSION
    id: str
    parent_id: str | None
    round: int
    strategy: Strategy
    status: Status
    plan: ExperimentPlan | None = Field(default=None, description="As the Researcher, or a person, decided")
    executed_plan: ExperimentPlan | None = Field(default=None, description="As executed, if it was changed")
    datasets: dict[str, DatasetCard] = Field(default_factory=dict, description="By the name of their recipe")
    baseline: Evaluation | None = Field(default=None, description="Of the root: the base model on `search`")
    trials: list[TrialRecord] = Field(default_factory=list)
    best_trial: str | None = None
    score: Score | None = Field(default=None, description="The best trial's primary metric on `search`")
    reward: float = Field(default=0.0, description="Normalised primary metric in [0, 1]; 0 for a failed node")
    secondary: dict[str, float] = Field(default_factory=dict)
    diagnosis: Diagnosis | None = None
    failure: str | None = None
    repairs: list[str] = Field(default_factory=list)
    seconds: float = 0.0

    @property
    def evaluation(self) -> Evaluation | None:
        """The evaluation behind the score: the best trial's, or the base model's at the root."""
        return next((t.evaluation for t in self.trials if t.id == self.best_trial), self.baseline)

    @property
    def best_record(self) -> TrialRecord | None:
        """The best trial; None without one."""
        return next((trial for trial in self.trials if trial.id == self.best_trial), None)

    @property
    def tried_plan(self) -> ExperimentPlan | None:
        """What was tried: the plan as executed, else as planned."""
        return self.executed_plan or self.plan

    def trainings(self, plan: ExperimentPlan) -> list[TrainingPlan]:
        """The different training plans tried on the recipes of `plan`, as planned and as repaired."""
        planned, executed = (t.training for t in plan.trials), (t.training for t in self.trials)
        return [each for each in dict.fromkeys([*planned, *executed]) if each.stage.recipe in plan.recipes]

    @property
    def dataset(self) -> DatasetCard | None:
        """The best trial's data set; without a best trial the first that was built."""
        name = self.best_record.recipe if self.best_record else next(iter(self.datasets), "")
        return self.datasets.get(name)
