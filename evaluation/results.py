"""What an evaluation returns: scores that carry their noise, and where the predictions lie."""

from __future__ import annotations

from typing import Literal

from pydantic import AliasChoices, BaseModel, Field

from .task import Split

RegressionCheckName = Literal["knowledge", "refusal", "compliance", "answered", "ended"]


class Score(BaseModel, frozen=True):
    """A metric's value with its number of items and a 95 % interval; see `statistics` for how it is made."""

    name: str
    value: float = Field(allow_inf_nan=False)
    n: int = Field(ge=1)
    ci_low: float
    ci_high: float
    standard_error: float = Field(ge=0)
    covers: Literal["items", "items and seeds"] = Field(
        default="items",
        description="What was drawn again in thought: other items, or also other seeds of the training",
    )


class Evaluation(BaseModel, frozen=True):
    """One model scored on (part of) one split. `predictions` is a path relative to the run directory."""

    id: str = Field(description="Hash of adapter, items, prompt, settings and grader: the same, the same id")
    split: Split
    scoring: str = Field(description="'choices' (likelihood) or 'generation'")
    score: Score
    secondary: dict[str, float] = Field(
        default_factory=dict,
        validation_alias=AliasChoices("secondary", "extras"),  # its name in runs of version 0.1
        description="e.g. validity, uniqueness, novelty",
    )
    predictions: str | None = None
    unjudged: tuple[str, ...] = Field(
        default=(), description="Items that a judge gave no verdict; their value is 0"
    )
    seconds: float = 0.0


class ContaminationReport(BaseModel, frozen=True):
    """What the gate found: rows of a training set that repeat dev or test items."""

    checked_rows: int
    against_items: int
    matches: int
    examples: list[int] = Field(default_factory=list, description="Matching rows by index, never test text")
    rows: list[int] = Field(default_factory=list, description="All matching rows; not in the record of a run")
    removed: int = Field(default=0, description="Matching rows that were left out of the training set")
    clean: bool = Field(description="Whether no row that is trained on matches")

    @property
    def refusal(self) -> str | None:
        """Why a training set with this report is not trained on; None if it is clean."""
        if self.clean:
            return None
        return (
            f"{self.matches} of {self.checked_rows} training rows repeat dev or test items: refused; use rows "
            "that do not"
        )


class RegressionCheck(BaseModel, frozen=True):
    """What a winner may have lost beside its task: the share of items on which each model did what it should."""

    name: RegressionCheckName
    base: float
    winner: float
    n: int = Field(ge=1)
    p_value: float = Field(description="Two-sided, paired over items")
    broken: bool = Field(description="Worse beyond noise, and by enough to matter")


class FailureCase(BaseModel, frozen=True):
    """A search item answered wrongly. Only ever built from the `search` part of dev."""

    id: str
    prompt: str
    reference: str
    prediction: str
