"""On-policy distillation (Agarwal et al., 2024): a teacher's distribution on the model's own answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from ...evaluation.base_models import resolve_model
from ...evaluation.causal_models import shapes_of
from ..causes import Problem
from .sampling import AnsweringMethod, AnsweringStage

BASE = "base"


class DistillationStage(AnsweringStage):
    """Samples answers to the rows' questions and learns the next-token distribution of a teacher on them.

    The rows' own answers are not read. The teacher has the same vocabulary. With the teacher `base`, a later stage
    can restore what earlier stages made the model forget.
    """

    method: Literal["distillation"] = "distillation"
    teacher: str = Field(
        default=BASE, description="The absolute path of a model's folder, or base: the base model"
    )
    beta: float = Field(
        default=1.0, ge=0, le=1, description="0: forward KL divergence; 1: reverse; between: Jensen-Shannon"
    )

    @field_validator("teacher")
    @classmethod
    def _is_a_folder(cls, teacher: str) -> str:
        if "://" in teacher:
            raise ValueError(
                "a teacher behind an endpoint gives answers and no distributions: let it answer in a recipe, and "
                "train on the answers with sft"
            )
        if teacher != BASE and not Path(teacher).is_absolute():
            raise ValueError(
                f"teacher {teacher!r} is no absolute path: give that of a model's folder, or base"
            )
        return teacher

    def model_folders(self) -> tuple[str, ...]:
        """See `protocol.Stage`."""
        return () if self.teacher == BASE else (self.teacher,)


class Distillation(AnsweringMethod[DistillationStage]):
    """See `protocol.Method`."""

    name = "distillation"
    stage = DistillationStage
    trainer = f"{__package__}.distillation_trainer:train"
    search_space: Mapping[str, tuple[float, float]] = {
        "learning_rate": (1e-7, 1e-3),
        "temperature": (0.5, 1.5),
        "beta": (0, 1),
    }

    def other_problems(self, stage: DistillationStage, dataset: Path, base_model: Path) -> Sequence[Problem]:
        """A teacher that cannot be had, or that has another vocabulary."""
        try:
            for folder in map(resolve_model, stage.model_folders()):
                if not _same_tokens(folder, base_model):
                    message = (
                        f"the teacher {folder} has another vocabulary than the base model: take one of its "
                        "family, or let it answer in a recipe and train on the answers with sft"
                    )
                    return [Problem(cause="base_model", message=message)]
        except Exception as error:  # tokenizers raises it for a damaged file
            return [Problem(cause="base_model", message=f"teacher: {error}")]
        return ()


def _same_tokens(one: Path, other: Path) -> bool:
    from transformers import AutoTokenizer

    local = {"local_files_only": True, "trust_remote_code": False}
    first, second = (AutoTokenizer.from_pretrained(folder, **local).get_vocab() for folder in (one, other))
    return bool(first == second) and shapes_of(one).vocabulary == shapes_of(other).vocabulary


DISTILLATION = Distillation()
