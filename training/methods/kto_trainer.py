"""Kahneman-Tversky optimisation by `trl.KTOTrainer`. Importing this loads torch and TRL."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import trl

from ..data.row_table import DESIRABLE
from ..jobs.job import JobFailed
from ..jobs.stage_run import StageRun
from .kto import KtoStage
from .prompt_completion import rendered_rows
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


class MarkedTrainer(StageTrainer, trl.KTOTrainer):
    """`KTOTrainer` on rows that are tokens already. Its reference is the model as the stage begins."""

    def _prepare_dataset(self, dataset: Any, *given: Any, **named: Any) -> Any:
        return dataset


def train(run: StageRun) -> dict[str, Any]:
    """See `protocol.Method.trainer`."""
    return train_stage(run, prepare)


def prepare(run: StageRun) -> Prepared:
    """The trainer with its rows in order. Rows that are longer than `max_length` are dropped."""
    stage = run.stage
    assert isinstance(stage, KtoStage)
    rows = read_rows(run)
    rendered = rendered_rows(Path(run.data.dataset), Path(run.trial.base_model), rows)
    kept = [
        {
            "prompt_ids": tokens.ids[: tokens.last],
            "completion_ids": tokens.ids[tokens.last :],
            "label": row[DESIRABLE],
        }
        for row, tokens in zip(rows, rendered, strict=True)
        if tokens and len(tokens.ids) <= stage.max_length and DESIRABLE in row
    ]
    if not kept:
        raise JobFailed("too_long", f"no marked row is within max_length={stage.max_length} tokens")
    model = load_model(run, stage.max_length)
    lengths = [len(row["prompt_ids"]) + len(row["completion_ids"]) for row in kept]
    ordered = in_order(run, datasets.Dataset.from_list(kept), lengths)
    if stage.loss == "kto":
        ordered = ordered.add_column(
            "KL_completion_ids", mismatched(ordered["completion_ids"], stage.batch_size)
        )
    trainer = MarkedTrainer(
        model=model,
        ref_model=reference_model(model),
        args=trl.KTOConfig(
            **arguments(run),
            max_length=stage.max_length,
            loss_type=stage.loss,
            beta=stage.beta,
            desirable_weight=stage.desirable_weight,
            undesirable_weight=stage.undesirable_weight,
        ),
        processing_class=load_tokenizer(run),
        train_dataset=ordered,
        callbacks=[Progress(run)],
    )
    return Prepared(trainer, len(rows) - len(kept))


def mismatched(completions: Sequence[list[int]], batch_size: int) -> list[list[int]]:
    """For each row the answer of the row before it in its batch: the KL divergence is estimated from them."""
    batches = [completions[start : start + batch_size] for start in range(0, len(completions), batch_size)]
    return [completion for batch in batches for completion in (batch[-1], *batch[:-1])]
