"""What a Researcher is: the questions the graph asks, and the typed answers it gets.

The built-in policy and an LLM answer the same questions with the same records.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from ...evaluation.failures.analysis import Comparison, FailureGroup
from ...evaluation.results import FailureCase
from ...evaluation.task import Task
from ..memory.memory_context import MemoryContext
from ..tree.experiment import Diagnosis, Experiment, ExperimentPlan


class Analysis(BaseModel):
    """The requirement, made precise."""

    model_config = ConfigDict(frozen=True)

    goal: str
    metric: str
    constraints: list[str] = Field(default_factory=list)
    allowed_data: list[str] = Field(default_factory=list, description="Names of the sources recipes may load")


class Note(BaseModel):
    """One thing that was found out, and where."""

    model_config = ConfigDict(frozen=True)

    text: str
    source: str = Field(description="A source's name, a paper, an address")


class Distribution(BaseModel):
    """A numeric column in brief: its range and how many rows lie in each of equally wide bins."""

    model_config = ConfigDict(frozen=True)

    low: float
    high: float
    mean: float
    counts: tuple[int, ...] = Field(min_length=1)

    def share(self, low: float = float("-inf"), high: float = float("inf")) -> float:
        """The share of rows in [low, high], taken as spread evenly within a bin."""
        return _share(self, low, high)

    def quantile(self, share: float) -> float:
        """The value below which that share of the rows lies."""
        width = (self.high - self.low) / len(self.counts)
        wanted, seen = share * sum(self.counts), 0
        for index, count in enumerate(self.counts):
            if count and seen + count >= wanted:
                return self.low + width * (index + (wanted - seen) / count)
            seen += count
        return self.high


@lru_cache(maxsize=4096)  # a plan asks for the same shares again and again
def _share(rows: Distribution, low: float, high: float) -> float:
    width = (rows.high - rows.low) / len(rows.counts)
    if width == 0:
        return float(low <= rows.low <= high)
    inside = 0.0
    for index, count in enumerate(rows.counts):
        start = rows.low + index * width
        inside += count * max(0.0, min(high, start + width) - max(low, start)) / width
    return inside / sum(rows.counts)


class SourceNotes(BaseModel):
    """A data source as it was found when it was looked at."""

    model_config = ConfigDict(frozen=True)

    name: str
    description: str = ""
    licence: str = "unknown"
    synthetic: bool = False
    rows: int = Field(ge=0)
    distinct: int = Field(ge=0, description="Rows left when those that are the same example count once")
    columns: list[str] = Field(default_factory=list)
    examples: list[dict[str, Any]] = Field(default_factory=list, description="A few rows, long texts cut")
    rating: Distribution | None = Field(default=None, description="Of the task's rating column")
    labels: dict[str, int] = Field(default_factory=dict, description="Rows by answer, if answers are few")
    words: Distribution | None = Field(
        default=None, description="Words of the longest text column of the input"
    )
    text_column: str | None = Field(default=None, description="The column `words` was counted in")
    closeness: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="1 minus the Jensen-Shannon divergence (bits) between its words and the search items'",
    )


class Candidate(BaseModel):
    """A data set found in open-domain research, whose rows and licence were looked at."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(description="Its id on the hub, e.g. 'owner/name'")
    licence: str = "unknown"
    rows_seen: int = Field(default=0, ge=0, description="Rows that were really looked at; 0: only read about")
    why: str = Field(default="", description="What it would bring, and what speaks against it")


class ResearchNotes(BaseModel):
    """What is known before the first plan."""

    model_config = ConfigDict(frozen=True)

    notes: list[Note] = Field(default_factory=list)
    findings: list[Note] = Field(default_factory=list, description="What bears on the plans, and its source")
    candidates: list[Candidate] = Field(default_factory=list)
    sources: list[SourceNotes] = Field(default_factory=list)

    def source(self, name: str) -> SourceNotes:
        """The notes on the source of that name. Raises KeyError."""
        for source in self.sources:
            if source.name == name:
                return source
        raise KeyError(f"no notes on a source named {name!r}")


@dataclass(frozen=True)
class PlanningRequest:
    """Everything a plan may be based on."""

    task: Task
    analysis: Analysis
    """Of the requirement, as `analyze` made it."""
    notes: ResearchNotes
    context: MemoryContext
    round: int
    trials: int = 4
    trial_examples: int = 1024
    """Training examples one trial may consume: rows × epochs. A setting: plans don't depend on speed."""
    seed: int = 0
    hint: str = ""
    """What a person asked for when they rejected a plan, in their words."""


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
    comparison: Comparison | None = None
    """Parent (`before`) and experiment (`after`) on the search items both answered."""


class Researcher(Protocol):
    """Thinks; the Executor acts. Every answer is data, validated before anything is done with it."""

    def analyze(self, task: Task) -> Analysis:
        """Read the requirement: what to reach, measured how, within which bounds."""
        ...

    def research(self, task: Task, analysis: Analysis) -> ResearchNotes:
        """Look at the data allowed (with tools: at literature). Raises InputError if none can be read."""
        ...

    def plan(self, request: PlanningRequest) -> ExperimentPlan:
        """One experiment that refines `request.context.node`, with `request.trials` different trials."""
        ...

    def revise(self, plan: ExperimentPlan, problem: str, experiment: str) -> ExperimentPlan | None:
        """The plan changed so that it can be carried out; None: there is no other plan, and it fails.

        `problem` is the Executor's report, `experiment` the id of the plan's experiment.
        """
        ...

    def diagnose(self, evidence: Evidence) -> Diagnosis:
        """What the outcome says about the hypothesis, and what went wrong on the items still failed."""
        ...
