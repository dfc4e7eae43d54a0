"""What methods share that sample answers, and those that reward them with the task's metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self, TypeVar

from pydantic import Field, model_validator

from ...errors import InputError
from ..causes import Cause, Problem
from ..data.render import Contents
from .prompt_completion import measure_rows, wrong_kind
from .protocol import RowMeasurement, RowSchema, StageRepair
from .schedule import ScheduledMethod, ScheduledStage
from .task_reward import open_reward


class AnsweringStage(ScheduledStage):
    """Answers to the rows' questions are sampled."""

    learning_rate: float = Field(default=2e-5, gt=0, le=1e-2, description="Peak learning rate of AdamW")
    batch_size: int = Field(default=4, ge=1, le=128, description="Questions of one forward pass")
    max_new_tokens: int = Field(
        default=64, ge=1, le=8192, description="Tokens of an answer; longer ones are cut"
    )
    max_length: int = Field(
        default=512, ge=16, le=32_768, description="Tokens of question and answer; longer rows are refused"
    )
    temperature: float = Field(default=1.0, gt=0, le=2, description="Of sampling")
    top_p: float = Field(
        default=1.0, gt=0, le=1, description="Share of the likeliest tokens that are sampled from"
    )

    @model_validator(mode="after")
    def _answers_fit(self) -> Self:
        if self.max_new_tokens >= self.max_length:
            raise ValueError(
                f"max_new_tokens {self.max_new_tokens} leaves no room for a question in max_length "
                f"{self.max_length}: raise max_length"
            )
        return self


class SampledStage(AnsweringStage):
    """Answers are sampled in groups and scored by the task's metric."""

    generations: int = Field(default=8, ge=2, le=64, description="Answers to each question: a group")
    epsilon: float = Field(default=0.2, gt=0, lt=1, description="Clipping of probability ratios")
    beta: float = Field(
        default=0.0, ge=0, le=1, description="Weight of the KL divergence from the stage's beginning"
    )
    ended_weight: float = Field(
        default=0.0, ge=0, le=1, description="Reward added for an answer that ends within max_new_tokens"
    )
    valid_weight: float = Field(
        default=0.0, ge=0, le=1, description="Reward added for a valid answer; for metrics with a validity"
    )


A = TypeVar("A", bound=AnsweringStage)
T = TypeVar("T", bound=SampledStage)


class AnsweringMethod(ScheduledMethod[A]):
    """The part of `protocol.Method` that follows from sampled answers."""

    row_schema: RowSchema = "prompt_completion"

    def measure(self, stage: A, dataset: Path, base_model: Path) -> RowMeasurement:
        """See `protocol.Method`."""
        rows = measure_rows(str(dataset), str(base_model))
        lengths = [row.prompt + stage.max_new_tokens if row.total else 0 for row in rows.tokens]
        unfit = {
            "too_long": sum(length > stage.max_length for length in lengths),
            "not_rendered": lengths.count(0),
        }
        problems = list(self.other_problems(stage, dataset, base_model))
        if wrong := wrong_kind(self.row_schema, rows):
            problems = [Problem(cause="wrong_rows", message=wrong)]
        elif unfit["too_long"] and not problems:
            message = (
                f"{unfit['too_long']} of {len(rows.tokens)} questions have with {stage.max_new_tokens} new tokens "
                f"more than max_length {stage.max_length}: raise max_length, or filter long rows out"
            )
            problems = [Problem(cause="too_long", message=message)]
        return RowMeasurement(len(rows.tokens), max(lengths), unfit, problems)

    def other_problems(self, stage: A, dataset: Path, base_model: Path) -> Sequence[Problem]:
        """Problems besides those of the rows."""
        return ()

    def plan_faults(self, stage: A, contents: Contents, examples: int) -> list[str]:
        """See `protocol.Method`."""
        return self.schedule_faults(stage, contents, examples)


class SampledMethod(AnsweringMethod[T]):
    """The part of `protocol.Method` that follows from rewarded answers."""

    row_schema: RowSchema = "prompt_and_item"
    search_space: Mapping[str, tuple[float, float]] = {
        "learning_rate": (1e-7, 1e-3),
        "temperature": (0.5, 1.5),
        "beta": (0, 0.2),
    }

    def other_problems(self, stage: T, dataset: Path, base_model: Path) -> Sequence[Problem]:
        """A metric that cannot be a reward."""
        try:
            open_reward(dataset, stage.valid_weight > 0)
        except InputError as error:
            return [Problem(cause="no_reward", message=str(error))]
        return ()

    def plan_faults(self, stage: T, contents: Contents, examples: int) -> list[str]:
        """See `protocol.Method`. A question counts as many examples as it has answers."""
        return self.schedule_faults(stage, contents, examples // stage.generations)

    def repair(self, stage: T, cause: Cause) -> StageRepair | None:
        """Also against answers without differing rewards and a model far from its beginning; see `protocol.Method`."""
        if cause == "reward_collapse" and stage.temperature < 1.5:
            warmer = min(1.5, round(stage.temperature + 0.3, 2))
            report = (
                f"temperature {stage.temperature:g} → {warmer:g}: all answers to a question had equal rewards"
            )
            return StageRepair(stage.model_copy(update={"temperature": warmer}), report)
        if cause in ("kl_explosion", "length_explosion") and stage.learning_rate >= 1e-7:
            rate = stage.learning_rate / 3
            report = f"learning_rate {stage.learning_rate:g} → {rate:g}: {cause.replace('_', ' ')}"
            return StageRepair(stage.model_copy(update={"learning_rate": rate}), report)
        return super().repair(stage, cause)
