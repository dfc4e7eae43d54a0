"""Continued pretraining by `trl.SFTTrainer`. Importing this loads torch and TRL."""

from __future__ import annotations

from typing import Any

from ..jobs.stage_run import StageRun
from .pretraining import PretrainingStage
from .sft_trainer import prepare_labelled
from .stage_trainer import Prepared, train_stage


def train(run: StageRun) -> dict[str, Any]:
    """See `protocol.Method.trainer`."""
    return train_stage(run, prepare)


def prepare(run: StageRun) -> Prepared:
    """The trainer with its documents in order. Documents that are longer than `max_length` are cut there."""
    stage = run.stage
    assert isinstance(stage, PretrainingStage)
    return prepare_labelled(run, stage)
