"""Supervised fine-tuning: cross entropy on the completion's tokens, by `trl.SFTTrainer`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from ..causes import Problem
from ..data.render import Contents
from .prompt_completion import measure_rows, wrong_kind
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
        rows = measure_rows(str(dataset), str(base_model))
        unfit = {
            "too_long": sum(row.total > stage.max_length for row in rows.tokens),
            "without_loss": sum(
                row.prompt >= min(row.total, stage.max_length) for row in rows.tokens if row.total
            ),
            "not_rendered": sum(not row.total for row in rows.tokens),
        }
        problems = rows.too_long(stage.max_length)
        if wrong := wrong_kind(self.row_schema, rows):
            problems = [Problem(cause="wrong_rows", message=wrong)]
        elif unfit["without_loss"] and not problems:
            message = f"{unfit['without_loss']} {rows.of} have no token with a loss: look at their answers"
            problems = [Problem(cause="empty", message=message)]
        return RowMeasurement(len(rows.tokens), rows.longest, unfit, problems)

    def plan_faults(self, stage: SftStage, contents: Contents, examples: int) -> list[str]:
        """See `protocol.Method`."""
        faults = self.schedule_faults(stage, contents, examples)
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
