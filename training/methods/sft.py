"""Supervised fine-tuning: cross entropy on the completion's tokens, by `trl.SFTTrainer`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from ..causes import Problem
from ..data.render import Contents
from .prompt_completion import measure_rows
from .protocol import RowMeasurement, RowSchema
from .schedule import ScheduledMethod, ScheduledStage


class SftStage(ScheduledStage):
    """Supervised fine-tuning, loss on the completion only. Fields follow `transformers.TrainingArguments`."""

    method: Literal["sft"] = "sft"
    neftune_noise_alpha: float | None = Field(
        default=None, ge=0, le=50, description="NEFTune noise on the embeddings (Jain et al., 2023)"
    )

    @model_validator(mode="before")
    @classmethod
    def _without_append_eos(cls, fields: Any) -> Any:
        """Plans of earlier versions have `append_eos`. Now every answer ends."""
        return (
            {name: fields[name] for name in fields if name != "append_eos"}
            if isinstance(fields, dict)
            else fields
        )


class Sft(ScheduledMethod[SftStage]):
    """See `protocol.Method`."""

    name = "sft"
    stage = SftStage
    row_schema: RowSchema = "prompt_completion"
    trainer = f"{__package__}.sft_trainer:train"
    search_space: Mapping[str, tuple[float, float]] = {"learning_rate": (1e-6, 2e-2), "batch_size": (1, 512)}

    def measure(self, stage: SftStage, dataset: Path, base_model: Path) -> RowMeasurement:
        """See `protocol.Method`."""
        rows, measured = measure_rows(str(dataset), str(base_model))
        lengths = [row.total for row in measured]
        unfit = {
            "too_long": sum(length > stage.max_length for length in lengths),
            "without_loss": sum(
                row.prompt >= min(row.total, stage.max_length) for row in measured if row.total
            ),
            "not_rendered": lengths.count(0),
        }
        of = f"of {len(measured)} rows" + (" looked at" if len(measured) < rows else "")
        problems = _problems(stage, unfit, of, max(lengths))
        return RowMeasurement(len(measured), max(lengths), unfit, problems)

    def plan_faults(self, stage: SftStage, contents: Contents, examples: int) -> list[str]:
        """See `protocol.Method`."""
        faults = self.schedule_faults(stage, contents.rows, examples)
        if contents.words.max > stage.max_length:
            faults.append(
                f"the longest row has {contents.words.max} words, more than max_length {stage.max_length} "
                "tokens: raise max_length, or filter by max_words"
            )
        return faults

    def effective(self, stage: SftStage) -> dict[str, Any]:
        """See `protocol.Method`."""
        return super().effective(stage) | {"neftune_noise_alpha": stage.neftune_noise_alpha or None}


SFT = Sft()


def _problems(stage: SftStage, unfit: Mapping[str, int], of: str, longest: int) -> list[Problem]:
    found: list[Problem] = []
    if unfit["too_long"]:
        message = (
            f"{unfit['too_long']} {of} are longer than max_length {stage.max_length}; the longest has "
            f"{longest} tokens: raise max_length, or filter long rows out"
        )
        found.append(Problem(cause="too_long", message=message))
    elif unfit["without_loss"]:
        message = f"{unfit['without_loss']} {of} have no token with a loss: look at their answers"
        found.append(Problem(cause="empty", message=message))
    return found
