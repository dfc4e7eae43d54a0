"""finish.json: how a run ended, the winner, and its score on the sealed test split."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ...evaluation.results import Evaluation, RegressionCheck, Score

Ending = Literal["rounds", "perfect", "budget", "stopped", "failed"]
"""`perfect`: every search item is right. `failed`: every experiment failed, and the test split was not opened."""


class SelectionBias(BaseModel):
    """The best of many on `search` against the base model, corrected for selecting it on the same items."""

    model_config = ConfigDict(frozen=True)

    gain: float
    at_least: float = Field(description="End of a one-sided 95 % interval for its true gain")
    p_value: float = Field(description="For 'no configuration is better than the base model'")
    candidates: int = Field(description="Configurations that were evaluated on all of `search`")


class FinishRecord(BaseModel):
    """The content of finish.json."""

    model_config = ConfigDict(frozen=True)

    reason: Ending | None = Field(default="rounds", description="None: withheld")
    winner_trial: str | None = Field(
        default=None, description="None: nothing beat the base model, or all failed"
    )
    winner_experiment: str | None = None
    dev: Evaluation | None = Field(default=None, description="The winner on `search`")
    confirm: Evaluation | None = None
    test: Evaluation | None = None
    baseline_test: Evaluation | None = None
    test_gain: Score | None = Field(
        default=None, description="Winner minus baseline on the same test items, with a paired interval"
    )
    selection_bias: SelectionBias | None = None
    seeds: Score | None = Field(
        default=None, description="The winner's plan on `confirm`, over several training seeds"
    )
    regression_checks: list[RegressionCheck] = Field(
        default_factory=list, description="Whether the winner lost abilities"
    )
    test_seen: bool = Field(default=False, description="This test split was opened before this run ended")
    active_seconds: float | None = Field(
        default=None, description="Wall time, summed over resumes; None in runs of earlier versions"
    )
    overhead_seconds: float = Field(default=0.0, description="CPU time of the processes that drive the graph")
    best_path: str | None = Field(
        default=None, description="The winner's folder, relative to the run directory"
    )

    @property
    def states_scores(self) -> bool:
        """Whether it names a winner, or a score."""
        stated = (
            self.winner_experiment,
            self.winner_trial,
            self.dev,
            self.confirm,
            self.test,
            self.baseline_test,
        )
        return any(part is not None for part in (*stated, self.test_gain, self.seeds, self.selection_bias))
