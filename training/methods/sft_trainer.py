"""Supervised fine-tuning by `trl.SFTTrainer`, resumable to the bit. Importing this loads torch and TRL."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
import trl
from torch.utils.data import SequentialSampler
from transformers import AutoTokenizer, TrainerCallback, TrainerControl, TrainerState

from ...evaluation.causal_models import load_causal_model
from ...files import read_json, read_jsonl
from ...sealed_folder import seal
from ..data.build import TRAIN
from ..jobs.checkpoints import checkpoint_folder, newest_sealed, remove_before
from ..jobs.identity import AUTOCAST
from ..jobs.job import JobFailed, Trial
from ..jobs.worker_session import WorkerSession
from ..weights import weights_of
from .prompt_completion import rendered_rows
from .row_order import training_order
from .sft import SftStage

CHECKPOINT_SECONDS = float(os.environ.get("TREX_CHECKPOINT_SECONDS", "30"))
"""A killed worker loses at most about this much training."""

_CURVE_POINTS = 200
_LAST_STEPS = 10
_SHORT = 512  # tokens; beyond, the whole attention matrix costs more than the fused kernel's backward pass


class CompletionTrainer(trl.SFTTrainer):
    """`SFTTrainer` with fixed order of rows, sealed checkpoints and, on a CPU, logits only where the loss is.

    TRL's fused head skips masked positions by a Triton kernel; without one it computes the logits of every
    position, which for short completions and a large vocabulary is about half of the work.
    """

    def __init__(self, trial: Trial, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._settings = trial.plan.weights
        self._autocast = trial.dtype == AUTOCAST
        self._selects_logits = (
            trial.device == "cpu" and not self.aux_loss_enabled and has_plain_head(causal_model(self.model))
        )

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        # `ordered` has already put the rows in their order for the whole schedule.
        return SequentialSampler(self.train_dataset)

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

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        # The trained weights alone: no tokenizer, and not the Trainer's pickled arguments.
        folder = Path(output_dir or self.args.output_dir)
        weights_of(self._settings).save(self.model, folder, state_dict)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        # Past SFTTrainer's own, which adds a model card.
        super(trl.SFTTrainer, self)._save_checkpoint(model, trial)
        folder, step = Path(self.args.output_dir), self.state.global_step
        seal(checkpoint_folder(folder, step))
        remove_before(folder, step)


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


class Progress(TrainerCallback):
    """Tells the session about every step, checkpoints by the clock, and stops at the rung's end."""

    def __init__(self, session: WorkerSession) -> None:
        self._session = session
        self._stop_step = session.job.stop_step
        self._saved = time.monotonic()

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **rest: Any
    ) -> TrainerControl:
        last = state.global_step >= self._stop_step
        if last or time.monotonic() - self._saved > CHECKPOINT_SECONDS:
            control.should_save = True
            self._saved = time.monotonic()
        control.should_training_stop = control.should_training_stop or last
        return control

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, **rest: Any) -> None:
        # Logging comes before saving: a step with a broken loss is never sealed.
        logs = rest["logs"]
        if "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise JobFailed(
                "nan_loss", f"the loss is {logs['loss']} at step {state.global_step}: lower the learning rate"
            )
        self._session.update(
            step=state.global_step, loss=round(logs["loss"], 6), learning_rate=logs.get("learning_rate")
        )


def train(session: WorkerSession) -> dict[str, Any]:
    """See `protocol.Method.trainer`. Goes on from the newest sealed checkpoint. Raises JobFailed."""
    session.update(state="loading")
    trial, folder = session.job.trial, session.folder.path
    _prepare_torch(trial)
    trainer, dropped = _build(session)
    resumed = newest_sealed(folder, session.job.stop_step)
    loaded = time.monotonic()
    if resumed != session.job.stop_step:
        session.update(state="training", step=resumed or 0)
        trainer.train(
            resume_from_checkpoint=None if resumed is None else str(checkpoint_folder(folder, resumed))
        )
        _check_weights(trainer.model)
    return read_training(checkpoint_folder(folder, session.job.stop_step)) | {
        "rows_without_loss": dropped,
        "load_seconds": round(loaded - session.started, 3),
        "train_seconds": round(time.monotonic() - loaded, 3),
        "peak_memory_mb": _peak_memory_mb(trial.device),
    }


def read_training(checkpoint: Path) -> dict[str, Any]:
    """Loss curve and token count since step 0, which the Trainer carries from checkpoint to checkpoint."""
    state = read_json(checkpoint / "trainer_state.json")
    curve = [(int(entry["step"]), float(entry["loss"])) for entry in state["log_history"] if "loss" in entry]
    last = [loss for _, loss in curve[-_LAST_STEPS:]]
    stride = -(-len(curve) // _CURVE_POINTS)
    return {
        "curve": curve[::-1][::stride][::-1],
        "train_loss": sum(last) / len(last),
        "tokens": int(state["num_input_tokens_seen"]),
    }


def attention(device: str, max_length: int) -> str:
    """The attention kernel: on a CPU the fused one's backward pass costs short rows an eighth of a step."""
    return "eager" if device == "cpu" and max_length <= _SHORT else "sdpa"


def causal_model(model: Any) -> Any:
    """The language model itself, without the adapter around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def stage_of(trial: Trial) -> SftStage:
    """The trial's stage, which this trainer carries out."""
    stage = trial.plan.stage
    assert isinstance(stage, SftStage)
    return stage


def load_model(trial: Trial) -> Any:
    """The base model in float32 with fresh trainable weights drawn from the trial's seed."""
    base = load_causal_model(
        trial.base_model,
        dtype=torch.float32,
        attn_implementation=attention(trial.device, stage_of(trial).max_length),
    )
    base.config.use_cache = False
    return weights_of(trial.plan.weights).make(trial.plan.weights, base, trial.seed)


def configure(trial: Trial, folder: Path) -> trl.SFTConfig:
    """The plan in TRL's words. The schedule always spans the whole trial; rungs only interrupt it."""
    stage = stage_of(trial)
    return trl.SFTConfig(
        output_dir=str(folder),
        max_steps=trial.total_steps,
        per_device_train_batch_size=stage.batch_size,
        gradient_accumulation_steps=stage.gradient_accumulation,
        learning_rate=stage.learning_rate,
        lr_scheduler_type=stage.lr_scheduler_type,
        warmup_steps=math.ceil(stage.warmup_ratio * trial.total_steps),
        weight_decay=stage.weight_decay,
        max_grad_norm=stage.max_grad_norm,
        neftune_noise_alpha=stage.neftune_noise_alpha,
        max_length=stage.max_length,
        packing=False,
        seed=trial.seed,
        data_seed=trial.seed,
        use_cpu=trial.device == "cpu",
        bf16=trial.dtype == AUTOCAST,
        fp16=False,
        gradient_checkpointing=False,
        logging_steps=1,
        logging_nan_inf_filter=False,
        include_num_input_tokens_seen="non_padding",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=trial.device != "cpu",
    )


def _prepare_torch(trial: Trial) -> None:
    torch.set_num_threads(trial.threads)
    if trial.device != "cpu":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()


def _build(session: WorkerSession) -> tuple[CompletionTrainer, int]:
    """The trainer with its rows in order, and how many rows had no token with a loss within `max_length`."""
    trial = session.job.trial
    stage = stage_of(trial)
    rows = list(read_jsonl(Path(trial.dataset) / TRAIN))
    if not rows:
        raise JobFailed("empty", f"the data set {trial.dataset} has no rows")
    if len(rows) != trial.rows:
        raise JobFailed("crash", f"{trial.dataset} has {len(rows)} rows, the trial has {trial.rows}")
    rendered = [row for row in rendered_rows(Path(trial.dataset), Path(trial.base_model), rows) if row]
    trainer = CompletionTrainer(
        trial,
        model=load_model(trial),
        args=configure(trial, session.folder.path),
        processing_class=AutoTokenizer.from_pretrained(
            trial.base_model, local_files_only=True, trust_remote_code=False
        ),
        train_dataset=datasets.Dataset.from_list(
            [{"input_ids": row.ids, "labels": row.labels} for row in rendered]
        ),
        callbacks=[Progress(session)],
    )
    kept = trainer.train_dataset
    if not len(kept):
        raise JobFailed("too_long", f"no row's completion begins within max_length={stage.max_length} tokens")
    lengths = [len(ids) for ids in kept["input_ids"]]
    batches = trial.total_steps * stage.gradient_accumulation
    trainer.train_dataset = kept.select(training_order(lengths, batches, stage.batch_size, trial.seed))
    return trainer, len(rows) - len(kept)


def _check_weights(model: torch.nn.Module) -> None:
    for name, weights in model.named_parameters():
        if weights.requires_grad and not torch.isfinite(weights).all():
            raise JobFailed("nan_loss", f"the trained weights {name} are not finite: lower the learning rate")


def _peak_memory_mb(device: str) -> float:
    """The process's largest resident size, or on a GPU the most memory torch held there."""
    if device != "cpu":
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    import resource
    import sys

    unit = 1 if sys.platform == "darwin" else 2**10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)
