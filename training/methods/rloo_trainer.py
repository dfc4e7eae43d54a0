"""REINFORCE leave-one-out by `trl.RLOOTrainer`. Importing this loads torch and TRL."""

from __future__ import annotations

from typing import Any

import trl

from ..jobs.stage_run import StageRun
from . import sampled_trainer
from .rloo import RlooStage
from .sampled_trainer import PromptTrainer
from .stage_trainer import Prepared, train_stage


class LeaveOneOutTrainer(PromptTrainer, trl.RLOOTrainer):
    """`RLOOTrainer` on prompts that are tokens already."""

    # Each prompt is repeated for its group, in the order of `in_order`.
    _get_train_sampler = trl.RLOOTrainer._get_train_sampler


def train(run: StageRun) -> dict[str, Any]:
    """See `protocol.Method.trainer`."""
    return train_stage(run, prepare)


def prepare(run: StageRun) -> Prepared:
    """See `sampled_trainer.prepare`."""
    stage = run.stage
    assert isinstance(stage, RlooStage)
    return sampled_trainer.prepare(
        run,
        LeaveOneOutTrainer,
        trl.RLOOConfig,
        normalize_advantages=stage.normalize_advantages,
    )
