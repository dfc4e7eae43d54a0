"""On-policy distillation by `trl.DistillationTrainer`. Importing this loads torch and TRL."""

from __future__ import annotations

from typing import Any

import torch
import trl

from ...evaluation.causal_models import load_causal_model
from ..jobs.stage_run import StageRun
from .distillation import BASE, DistillationStage
from .sampled_trainer import PromptTrainer, questions, sampling_arguments
from .stage_trainer import Prepared, Progress, attention, load_tokenizer, read_rows, train_stage


class TeacherTrainer(PromptTrainer, trl.DistillationTrainer):
    """`DistillationTrainer` on prompts that are tokens already."""

    # The questions of a step are sampled together, in the order of `in_order`.
    _get_train_sampler = trl.DistillationTrainer._get_train_sampler


def train(run: StageRun) -> dict[str, Any]:
    """See `protocol.Method.trainer`."""
    return train_stage(run, prepare)


def prepare(run: StageRun) -> Prepared:
    """The trainer with its teacher and its questions in order. Questions that are too long are dropped."""
    stage = run.stage
    assert isinstance(stage, DistillationStage)
    rows = read_rows(run)
    asked = questions(run, rows)
    trainer = TeacherTrainer(
        model=asked.model,
        teacher_model=load_causal_model(
            run.trial.base_model if stage.teacher == BASE else stage.teacher,
            dtype=torch.float32,
            attn_implementation=attention(run.trial.device, stage.max_length),
        ).requires_grad_(False),
        args=trl.DistillationConfig(**sampling_arguments(run), beta=stage.beta),
        processing_class=load_tokenizer(run),
        train_dataset=asked.ordered,
        callbacks=[Progress(run)],
    )
    trainer.prompts = asked.prompts
    return Prepared(trainer, len(rows) - len(asked.prompts))
