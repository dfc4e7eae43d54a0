"""Supervised fine-tuning by `trl.SFTTrainer`. Importing this loads torch and TRL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import torch
import trl

from ..jobs.job import JobFailed
from ..jobs.resource_class import AUTOCAST
from ..jobs.stage_run import StageRun
from .prompt_completion import rendered_rows
from .schedule import ScheduledStage
from .sft import SftStage
from .stage_trainer import (
    Prepared,
    Progress,
    StageTrainer,
    arguments,
    causal_model,
    in_order,
    load_model,
    load_tokenizer,
    read_rows,
    train_stage,
)


class CompletionTrainer(StageTrainer, trl.SFTTrainer):
    """`SFTTrainer` which, on a CPU, computes logits only where the loss is.

    TRL's fused head skips masked positions by a Triton kernel; without one it computes the logits of every
    position, which for short completions and a large vocabulary is about half of the work.
    """

    def __init__(self, device: str, autocast: bool, **given: Any) -> None:
        super().__init__(**given)
        self._autocast = autocast
        self._selects_logits = (
            device == "cpu" and not self.aux_loss_enabled and has_plain_head(causal_model(self.model))
        )

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean cross entropy over the completion's tokens of the whole optimiser step.

        `num_items_in_batch` counts them over all accumulated batches; None means this batch alone.
        """
        if return_outputs or not self._selects_logits:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        causal = causal_model(self.accelerator.unwrap_model(model))
        labels = inputs["labels"][:, 1:]
        wanted = labels != -100
        # The Trainer's autocast wraps `model.forward`, which is not called here.
        with torch.autocast("cpu", torch.bfloat16, enabled=self._autocast):
            hidden = causal.base_model(
                input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
            ).last_hidden_state
            logits = causal.get_output_embeddings()(hidden[:, :-1][wanted])
        total = torch.nn.functional.cross_entropy(logits.float(), labels[wanted], reduction="sum")
        return total / (wanted.sum() if num_items_in_batch is None else num_items_in_batch)


def train(run: StageRun) -> dict[str, Any]:
    """See `protocol.Method.trainer`."""
    return train_stage(run, prepare)


def has_plain_head(causal: Any) -> bool:
    """Whether the output layer turns the hidden states into the logits, with nothing else: tried on a few tokens.

    Architectures scale or cap logits in many ways (Gemma 2, Cohere, Granite, Falcon-H1).
    """
    was_training = causal.training
    causal.eval()
    try:
        ids = torch.arange(8).view(1, -1)
        with torch.no_grad():
            hidden = causal.base_model(input_ids=ids, use_cache=False).last_hidden_state
            logits = causal.get_output_embeddings()(hidden)
            return torch.allclose(logits, causal(input_ids=ids, use_cache=False).logits, rtol=1e-3, atol=1e-4)
    except (TypeError, ValueError, AttributeError, RuntimeError, IndexError):
        return False
    finally:
        causal.train(was_training)


def prepare(run: StageRun) -> Prepared:
    """The trainer with its rows in order. Rows without a token with a loss within `max_length` are dropped."""
    stage = run.stage
    assert isinstance(stage, SftStage)
    return prepare_labelled(run, stage, stage.neftune_noise_alpha)


def prepare_labelled(run: StageRun, stage: ScheduledStage, noise: float | None = None) -> Prepared:
    """The trainer of rows with labels: of completions, or of plain text."""
    rows = read_rows(run)
    rendered = rendered_rows(Path(run.data.dataset), Path(run.trial.base_model), rows)
    trainer = CompletionTrainer(
        run.trial.device,
        run.trial.dtype == AUTOCAST,
        model=load_model(run, stage.max_length),
        args=trl.SFTConfig(
            **arguments(run),
            max_length=stage.max_length,
            neftune_noise_alpha=noise,
            packing=False,
            # An adapter trains no router, so the loss that balances them has nothing to teach.
            router_aux_loss_coef=0.0 if run.trial.plan.weights.kind == "lora" else None,
        ),
        processing_class=load_tokenizer(run),
        train_dataset=datasets.Dataset.from_list(
            [{"input_ids": row.ids, "labels": row.labels} for row in rendered if row]
        ),
        callbacks=[Progress(run)],
    )
    kept = trainer.train_dataset
    if not len(kept):
        raise JobFailed("too_long", f"no row's completion begins within max_length={stage.max_length} tokens")
    trainer.train_dataset = in_order(run, kept, [len(ids) for ids in kept["input_ids"]])
    return Prepared(trainer, len(rows) - len(kept))
