"""The interface of a Researcher: its methods and the typed records they return.

The built-in policy and the agent with a chat model implement the same interface.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

from pydantic import BaseModel, Field

from ...evaluation.failures.analysis import Comparison, FailureGroup
from ...evaluation.results import FailureCase
from ...evaluation.task import Task
from ..memory.memory_context import MemoryContext
from ..tree.experiment import Diagnosis, Experiment, ExperimentPlan


class Analysis(BaseModel, frozen=True):
    """The analysis of the requirement."""

    goal: str
    metric: str
    constraints: list[str] = Field(default_factory=list)
    allowed_data: list[str] = Field(default_factory=list, description="Sources that recipes may load")


class Note(BaseModel, frozen=True):
    """A finding and its source."""

    text: str
    source: str = Field(description="A source's name, a paper, an address")


class Distribution(BaseModel, frozen=True):
    """A histogram of a numeric column: its range, mean, and the number of rows in bins of equal width."""

    low: float
    high: float
    mean: float
    counts: tuple[int, ...] = Field(min_length=1)

    def share(self, low: float = float("-inf"), high: float = float("inf")) -> float:
        """The share of rows in [low, high], assuming a uniform distribution within a bin."""
        return _share(self, low, high)

    def quantile(self, share: float) -> float:
        """The value below which that share of the rows lies, interpolated within a bin."""
        width = (self.high - self.low) / len(self.counts)
        wanted, seen = share * sum(self.counts), 0
        for index, count in enumerate(self.counts):
            if count and seen + count >= wanted:
                return self.low + width * (index + (wanted - seen) / count)
            seen += count
        return self.high


@lru_cache(maxsize=4096)  # a plan computes the same shares many times
def _share(rows: Distribution, low: float, high: float) -> float:
    width = (rows.high - rows.low) / len(rows.counts)
    if width == 0:
        return float(low <= rows.low <= high)
    inside = 0.0
    for index, count in enumerate(rows.counts):
        start = rows.low + index * width
        inside += count * max(0.0, min(high, start + width) - max(low, start)) / width
    return inside / sum(rows.counts)


class SourceNotes(BaseModel, frozen=True):
    """Statistics and examples of a data source."""

    name: str
    description: str = ""
    licence: str = "unknown"
    synthetic: bool = False
    rows: int = Field(ge=0)
    distinct: int = Field(ge=0, description="Rows without duplicates")
    columns: list[str] = Field(default_factory=list)
    examples: list[dict[str, Any]] = Field(default_factory=list, description="A few rows, long texts cut")
    rating: Distribution | None = Field(default=None, description="Of the task's rating column")
    labels: dict[str, int] = Field(default_factory=dict, description="Rows by answer, if answers are few")
    words: Distribution | None = Field(default=None, description="Words of a row in `text_column`")
    text_column: str | None = Field(default=None, description="The longest text column of the question")
    closeness: float = Field(default=0.0, ge=0, le=1, description="Similarity to the search items")


class Candidate(BaseModel, frozen=True):
    """A data set that open-domain research found, with the licence and rows that were opened."""

    name: str = Field(description="Its id on the hub, e.g. 'owner/name'")
    licence: str = "unknown"
    rows_seen: int = Field(default=0, ge=0, description="Number of rows that were shown; 0: none")
    why: str = Field(default="", description="Its benefit and its risks")


class ResearchNotes(BaseModel, frozen=True):
    """Everything known before the first plan."""

    notes: list[Note] = Field(default_factory=list)
    findings: list[Note] = Field(default_factory=list, description="What matters for plans, with sources")
    candidates: list[Candidate] = Field(default_factory=list)
    sources: list[SourceNotes] = Field(default_factory=list)

    def source(self, name: str) -> SourceNotes:
        """The notes on the source of that name. Raises KeyError."""
        return {source.name: source for source in self.sources}[name]


@dataclass(frozen=True)
class BudgetLeft:
    """What was used before this round, and the limits. A round that is repeated after a crash has the same."""

    rounds: int
    """Of the whole run."""
    job_seconds: float = 0.0
    """Training and evaluation so far, summed over jobs."""
    seconds_limit: float | None = None
    tokens: int = 0
    """Of chat models, read and written."""
    tokens_limit: int | None = None
    cost_usd: float = 0.0
    cost_limit_usd: float | None = None
    seconds_per_example: float | None = None
    """Of training, measured."""
    seconds_per_item: float | None = None
    """Of an evaluation, measured on the base model."""


@dataclass(frozen=True)
class PlanningRequest:
    """Everything a plan may be based on."""

    task: Task
    analysis: Analysis
    """The result of `analyze`."""
    notes: ResearchNotes
    context: MemoryContext
    round: int
    trials: int = 4
    trial_examples: int = 1024
    """Training examples that one trial may use: rows × epochs. A setting: plans do not depend on speed."""
    seed: int = 0
    resources: BudgetLeft | None = None
    hint: str = ""
    """The text of a person who rejected a plan or gave a hint."""
    direction: dict[str, Any] = field(default_factory=dict)
    """What `direction` returned for this request."""


@dataclass(frozen=True)
class Evidence:
    """Everything a diagnosis may be based on. Only items of `search`, never of `confirm` or `test`."""

    task: Task
    experiment: Experiment
    parent: Experiment | None = None
    failures: list[FailureCase] = field(default_factory=list)
    """Search items that the experiment's best trial answered wrongly."""
    groups: list[FailureGroup] = field(default_factory=list)
    """Causes that these failures share, most frequent first."""
    degenerate: list[str] = field(default_factory=list)
    """Kinds of right answers that only exploit the metric."""
    comparison: Comparison | None = None
    """Parent (`before`) and experiment (`after`) on the search items both answered."""


class Researcher(Protocol):
    """Analyses, researches, plans and diagnoses. Every result is data and is validated before it is used."""

    def analyze(self, task: Task) -> Analysis:
        """The goal, the metric and the constraints of a task."""

    def research(self, task: Task, analysis: Analysis) -> ResearchNotes:
        """Examine the allowed data and, with tools, literature. Raises InputError if no source can be read."""

    def direction(self, request: PlanningRequest) -> dict[str, Any]:
        """The direction of the next plan as JSON; empty if `plan` chooses it."""

    def plan(self, request: PlanningRequest) -> ExperimentPlan:
        """One experiment that refines `request.context.node`, with `request.trials` different trials."""

    def revise(self, plan: ExperimentPlan, problem: str, experiment: str) -> ExperimentPlan | None:
        """The plan changed so that it can be carried out; None: there is no other plan, and it fails.

        `problem` is the Executor's report, `experiment` the id of the plan's experiment.
        """

    def diagnose(self, evidence: Evidence) -> Diagnosis:
        """The verdict on the hypothesis, and the causes of the remaining failures."""
