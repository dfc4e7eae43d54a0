"""Direct preference optimisation by `trl.DPOTrainer`. Importing this loads torch and TRL."""

from __future__ import annotations

from typing import Any

import datasets
import trl

from ..jobs.stage_run import StageRun
from .dpo import DpoStage
from .preference_pairs import pairs_of
from .stage_trainer import (
    Prepared,
    Progress,
    StageTrainer,
    arguments,
    in_order,
    load_model,
    load_tokenizer,
    read_rows,
    reference_model,
    train_stage,
)


class PairTrainer(StageTrainer, trl.DPOTrainer):
    """`DPOTrainer` on rows that are tokens already. Its reference is the model as the stage begins."""

    def _prepare_dataset(self, dataset: Any, *given: Any, **named: Any) -> Any:
        return dataset


def train(run: StageRun) -> dict[str, Any]:
    """See `protocol.Method.trainer`."""
    return train_stage(run, prepare)


def prepare(run: StageRun) -> Prepared:
    """The trainer with its pairs in order. Rows without a pair, or longer than `max_length`, are dropped."""
    stage = run.stage
    assert isinstance(stage, DpoStage)
    rows = read_rows(run)
    pairs = pairs_of(run, rows, stage.max_length)
    model = load_model(run, stage.max_length)
    ordered = in_order(
        run,
        datasets.Dataset.from_list(
            [
                {"prompt_ids": each.prompt, "chosen_ids": each.chosen, "rejected_ids": each.rejected}
                for each in pairs
            ]
        ),
        [pair.longest for pair in pairs],
    )
    trainer = PairTrainer(
        model=model,
        ref_model=reference_model(model),
        args=trl.DPOConfig(
            **arguments(run),
            max_length=stage.max_length,
            beta=stage.beta,
            label_smoothing=stage.label_smoothing,
            loss_type=[stage.loss, *(["sft"] if stage.sft_weight else [])],
            loss_weights=[1.0, *([stage.sft_weight] if stage.sft_weight else [])],
        ),
        processing_class=load_tokenizer(run),
        train_dataset=ordered,
        callbacks=[Progress(run)],
    )
    return Prepared(trainer, len(rows) - len(pairs))
