"""What TRL's trainers share here: rows in a fixed order, sealed checkpoints, resumption to the bit, finite weights.

Importing this loads torch and TRL.
"""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from torch.utils.data import SequentialSampler
from transformers import AutoTokenizer, TrainerCallback, TrainerControl, TrainerState

from ...evaluation.causal_models import load_causal_model
from ...files import read_json, read_jsonl
from ...sealed_folder import seal
from ..curves import binned
from ..data.build import TRAIN
from ..data.row_kinds import Row
from ..jobs.checkpoints import checkpoint_folder, newest_sealed, remove_before
from ..jobs.job import JobFailed
from ..jobs.resource_class import AUTOCAST
from ..jobs.stage_run import StageRun
from ..weights import weights_of
from .row_order import training_order
from .schedule import ScheduledStage

CHECKPOINT_SECONDS = float(os.environ.get("TREX_CHECKPOINT_SECONDS", "30"))
"""A killed worker loses at most about this much training."""

_CURVE_POINTS = 200
_BINS = 24
_LAST_STEPS = 10
_SHORT = 512  # tokens; beyond, the whole attention matrix costs more than the fused kernel's backward pass


class StageTrainer(transformers.Trainer):
    """To be inherited before one of TRL's trainers. `run` is set before training."""

    run: StageRun

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        # `in_order` has already put the rows in their order for the whole schedule.
        return SequentialSampler(self.train_dataset)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        # The trained weights alone: no tokenizer, and not the Trainer's pickled arguments.
        folder = Path(output_dir or self.args.output_dir)
        weights_of(self.run.trial.plan.weights).save(self.model, folder, state_dict)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        # Past TRL's own, which adds a model card.
        transformers.Trainer._save_checkpoint(self, model, trial)
        folder, step = Path(self.args.output_dir), self.state.global_step
        seal(checkpoint_folder(folder, step))
        remove_before(folder, step)


class Progress(TrainerCallback):
    """Tells the session about every step, checkpoints by the clock, and stops at the rung's end."""

    def __init__(self, run: StageRun) -> None:
        self._run = run
        self._saved = time.monotonic()

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **rest: Any
    ) -> TrainerControl:
        last = state.global_step >= self._run.stop_step
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
        self._run.update(
            step=state.global_step, loss=round(logs["loss"], 6), learning_rate=logs.get("learning_rate")
        )


@dataclass(frozen=True)
class Prepared:
    """A trainer that is ready, and the number of rows that it cannot train on."""

    trainer: StageTrainer
    dropped: int


def train_stage(run: StageRun, prepare: Callable[[StageRun], Prepared]) -> dict[str, Any]:
    """See `protocol.Method.trainer`. Goes on from the newest sealed checkpoint. Raises JobFailed."""
    begun = time.monotonic()
    run.update(state="loading")
    torch.set_num_threads(run.trial.threads)
    if run.trial.device != "cpu":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    prepared = prepare(run)
    trainer = prepared.trainer
    trainer.run = run
    resumed = newest_sealed(run.folder, run.stop_step)
    loaded = time.monotonic()
    if resumed != run.stop_step:
        run.update(state="training", step=resumed or 0)
        trainer.train(
            resume_from_checkpoint=None if resumed is None else str(checkpoint_folder(run.folder, resumed))
        )
        _check_weights(trainer.model)
    return read_training(run.checkpoint) | {
        "rows_without_loss": prepared.dropped,
        "load_seconds": round(loaded - (begun if run.first_step else run.session.started), 3),
        "train_seconds": round(time.monotonic() - loaded, 3),
        "peak_memory_mb": _peak_memory_mb(run.trial.device),
    }


def read_training(checkpoint: Path) -> dict[str, Any]:
    """Loss curve, token count and the method's own figures, which the Trainer carries from checkpoint to checkpoint."""
    state = read_json(checkpoint / "trainer_state.json")
    logged = [entry for entry in state["log_history"] if "loss" in entry]
    curve = [(int(entry["step"]), float(entry["loss"])) for entry in logged]
    return {
        "curve": binned(curve, _CURVE_POINTS),
        "train_loss": _mean(loss for _, loss in curve[-_LAST_STEPS:]),
        "tokens": int(state["num_input_tokens_seen"]),
        "figures": _figures(logged[-_LAST_STEPS:]),
        "series": {
            name: points
            for name in _FIGURES
            if (points := binned([(int(e["step"]), float(e[name])) for e in logged if name in e], _BINS))
        },
    }


def _figures(logged: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Means over the last steps of what methods log besides the loss, e.g. 'rewards/margins' and 'kl'."""
    names = [name for name in _FIGURES if logged and isinstance(logged[-1].get(name), float)]
    return {name: round(_mean(entry[name] for entry in logged if name in entry), 6) for name in names}


_FIGURES = (
    "rewards/accuracies",
    "rewards/margins",
    "reward",
    "reward_std",
    "frac_reward_zero_std",
    "kl",
    "entropy",
    "completions/mean_length",
    "completions/clipped_ratio",
    "mean_token_accuracy",
    "grad_norm",
)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def attention(device: str, max_length: int) -> str:
    """The attention kernel: on a CPU the fused one's backward pass costs short rows an eighth of a step."""
    return "eager" if device == "cpu" and max_length <= _SHORT else "sdpa"


def causal_model(model: Any) -> Any:
    """The language model itself, without the adapter around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def load_model(run: StageRun, longest: int) -> Any:
    """The base model in float32 with trainable weights: those of the stage before, else drawn from the trial's seed.

    `longest`: tokens of the longest input, which decide the attention kernel.
    """
    trial = run.trial
    base = load_causal_model(
        trial.base_model, dtype=torch.float32, attn_implementation=attention(trial.device, longest)
    )
    base.config.use_cache = False
    weights = weights_of(trial.plan.weights)
    model = weights.make(trial.plan.weights, base, trial.seed)
    if run.start is not None:
        weights.load(model, run.start)
    return model


def reference_model(model: Any) -> Any:
    """A copy of a whole model as the stage begins. None for an adapter: TRL copies it into a second, frozen one."""
    return None if hasattr(model, "peft_config") else copy.deepcopy(model)


def load_tokenizer(run: StageRun) -> Any:
    """The base model's tokenizer. Without a token for padding it pads with its end token; padding is masked."""
    tokenizer = AutoTokenizer.from_pretrained(
        run.trial.base_model, local_files_only=True, trust_remote_code=False
    )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def read_rows(run: StageRun) -> list[Row]:
    """The rows of the stage's data set. Raises JobFailed if they are not those that were planned."""
    rows = list(read_jsonl(Path(run.data.dataset) / TRAIN))
    if not rows:
        raise JobFailed("empty", f"the data set {run.data.dataset} has no rows")
    if len(rows) != run.data.rows:
        raise JobFailed("crash", f"{run.data.dataset} has {len(rows)} rows, the trial has {run.data.rows}")
    return rows


def in_order(run: StageRun, rows: Any, lengths: Sequence[int]) -> Any:
    """A data set's rows in the order of the stage's whole schedule."""
    stage = run.stage
    assert isinstance(stage, ScheduledStage)
    batches = run.data.total_steps * stage.gradient_accumulation
    return rows.select(training_order(lengths, batches, stage.batch_size, run.trial.seed))


def arguments(run: StageRun) -> dict[str, Any]:
    """The plan in TRL's words. The schedule always spans the whole stage; rungs only interrupt it."""
    stage, trial, steps = run.stage, run.trial, run.data.total_steps
    assert isinstance(stage, ScheduledStage)
    return {
        "output_dir": str(run.folder),
        "max_steps": steps,
        "per_device_train_batch_size": stage.batch_size,
        "gradient_accumulation_steps": stage.gradient_accumulation,
        "learning_rate": stage.learning_rate,
        "lr_scheduler_type": stage.lr_scheduler_type,
        "warmup_steps": math.ceil(stage.warmup_ratio * steps),
        "weight_decay": stage.weight_decay,
        "max_grad_norm": stage.max_grad_norm,
        "seed": trial.seed,
        "data_seed": trial.seed,
        "use_cpu": trial.device == "cpu",
        "bf16": trial.dtype == AUTOCAST,
        "fp16": False,
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "include_num_input_tokens_seen": "non_padding",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": trial.device != "cpu",
    }


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
