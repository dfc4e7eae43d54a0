"""An experiment: one node of the tree, with its plan, its trials and its report."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ...evaluation.results import ContaminationReport, Evaluation, Score
from ...training.data.recipe import DataRecipe
from ...training.jobs.job import Cause
from ...training.plan import TrainingPlan

SCHEMA_VERSION = 1

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


class TrialPlan(BaseModel):
    """One of the K configurations of an experiment: a training plan, and why it is worth a try."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: TrainingPlan
    note: str = Field(default="", description="What sets this trial apart, in a few words")


class ExperimentPlan(BaseModel):
    """What the Researcher decides for one round."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategy: Strategy
    direction: str = Field(description="The concrete direction within the strategy, e.g. 'learning_rate'")
    hypothesis: str = Field(description="What should happen and why, so that a result can refute it")
    recipe: DataRecipe
    trials: list[TrialPlan] = Field(min_length=1, max_length=8)


class TrialRecord(BaseModel):
    """One trial from plan to end: planned, running from rung to rung, then done, pruned, stopped or failed."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(
        default="", description="Hash of everything that determines the weights; empty before a start"
    )
    index: int = Field(description="Its place in the plan")
    status: Literal["planned", "running", "done", "pruned", "failed", "stopped"]
    training: TrainingPlan
    note: str = ""
    rung: int = Field(default=-1, description="Last rung finished, -1 if none")
    step: int = 0
    total_steps: int = 0
    train_loss: float | None = None
    curve: list[tuple[int, float]] = Field(default_factory=list)
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

    @property
    def value(self) -> float | None:
        """The latest score on `search`, None before the first evaluation."""
        return None if self.evaluation is None else self.evaluation.score.value


class DatasetCard(BaseModel):
    """A reference to a built data set, with what a person wants to know of it."""

    model_config = ConfigDict(frozen=True)

    fingerprint: str
    rows: int
    summary: str = ""
    steps: list[str] = Field(default_factory=list, description="Rows after each step of the recipe")
    contamination: ContaminationReport | None = None


class Claim(BaseModel):
    """An insight in a form that later experiments can bear out or refute."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = Field(max_length=500, description="One sentence that another experiment could use")
    direction: str = Field(description="The direction it speaks of, e.g. 'learning_rate'")
    expects: Literal["gain", "no_gain"] = Field(
        description="What it expects of further experiments in that direction"
    )


class Diagnosis(BaseModel):
    """What the Researcher read from the outcome."""

    verdict: Literal["supported", "refuted", "inconclusive", "failed"]
    summary: str
    causes: list[str] = Field(
        default_factory=list, description="Causes of failure cases, most frequent first"
    )
    symptoms: list[Symptom] = Field(
        default_factory=list,
        description="What ails the node, in words that the next plan's directions answer to",
    )
    fixed: int = Field(default=0, description="Items the parent got wrong and this one right")
    regressed: int = 0
    gain: float = Field(default=0.0, description="Score minus the parent's, on the same items")
    p_value: float | None = Field(default=None, description="Paired permutation test against the parent")
    insights: list[str] = Field(default_factory=list)
    claims: list[Claim] = Field(default_factory=list, description="Insights that the tree keeps score of")


class Experiment(BaseModel):
    """A node of the tree. Visits and cumulative reward are derived by `tree.Tree`, not stored."""

    model_config = ConfigDict(validate_assignment=True)

    schema_version: int = SCHEMA_VERSION
    id: str
    parent_id: str | None
    round: int
    strategy: Strategy
    status: Status
    plan: ExperimentPlan | None = None
    dataset: DatasetCard | None = None
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
