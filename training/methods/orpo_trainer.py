"""Odds ratio preference optimisation by TRL's experimental trainer. Importing this loads torch and TRL."""

from __future__ import annotations

import os
from typing import Any

import datasets

from ..jobs.stage_run import StageRun
from .orpo import OrpoStage
from .preference_pairs import PairTokens, pairs_of
from .stage_trainer import (
    Prepared,
    Progress,
    StageTrainer,
    arguments,
    in_order,
    load_model,
    load_tokenizer,
    read_rows,
    train_stage,
)

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
from trl.experimental.orpo import ORPOConfig, ORPOTrainer


class OddsTrainer(StageTrainer, ORPOTrainer):
    """`ORPOTrainer` on rows that are tokens already."""

    def tokenize_row(self, feature: dict[str, Any], model: Any = None) -> dict[str, Any]:
        return feature

    def compute_loss(self, model: Any, inputs: dict[str, Any], *given: Any, **named: Any) -> Any:
        # The Trainer counts tokens of `input_ids` alone.
        seen = sum(int(inputs[f"{name}_attention_mask"].sum()) for name in ("chosen", "rejected"))
        self.state.num_input_tokens_seen += seen
        return super().compute_loss(model, inputs, *given, **named)


def train(run: StageRun) -> dict[str, Any]:
    """See `protocol.Method.trainer`."""
    return train_stage(run, prepare)


def prepare(run: StageRun) -> Prepared:
    """The trainer with its pairs in order. Rows without a pair, or longer than `max_length`, are dropped."""
    stage = run.stage
    assert isinstance(stage, OrpoStage)
    rows = read_rows(run)
    pairs = pairs_of(run, rows, stage.max_length)
    trainer = OddsTrainer(
        model=load_model(run, stage.max_length),
        args=ORPOConfig(
            **arguments(run) | {"include_num_input_tokens_seen": "no"},
            max_length=stage.max_length,
            beta=stage.beta,
            remove_unused_columns=False,
        ),
        processing_class=load_tokenizer(run),
        train_dataset=in_order(
            run, datasets.Dataset.from_list(list(map(_row, pairs))), [pair.longest for pair in pairs]
        ),
        callbacks=[Progress(run)],
    )
    return Prepared(trainer, len(rows) - len(pairs))


def _row(pair: PairTokens) -> dict[str, list[int]]:
    row: dict[str, list[int]] = {}
    for name, answer in (("chosen", pair.chosen), ("rejected", pair.rejected)):
        ids = pair.prompt + answer
        row |= {
            f"{name}_input_ids": ids,
            f"{name}_attention_mask": [1] * len(ids),
            f"{name}_labels": [-100] * len(pair.prompt) + answer,
        }
    return row
