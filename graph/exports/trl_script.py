"""A stand-alone script that trains the winner again with TRL and PEFT, without TREX.

The rows are written as the tokens that the trainer saw, in their order: rendering and order are then no part of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import InputError
from ...files import write_json, write_jsonl
from ...training.jobs.job import Trial
from ...training.methods.prompt_completion import rendered_rows
from ...training.methods.row_order import training_order
from ...training.methods.sft import SftStage
from ...training.weights.lora import LoraWeights
from .adapter_layers import adapted_layers
from .winner_files import TrainedStage, WinnerFiles

SCRIPT = "train.py"
_TEMPLATE = Path(__file__).with_name("train_with_trl.txt")
_SHORT = 512


def write_trl_script(winner: WinnerFiles, out: Path) -> list[str]:
    """train.py, its settings, and the rows of each stage. Raises InputError for methods other than sft."""
    stages = winner.stages()
    other = sorted({each.stage.method for each in stages} - {"sft"})
    if other:
        raise InputError(
            f"a stand-alone script is written for sft, and the winner was trained with {', '.join(other)} too: "
            "export it with --to axolotl or llamafactory, or replay it with `trex replay`"
        )
    written = [_write_stage(winner, each, out, number) for number, each in enumerate(stages)]
    settings = {"base_model": winner.base_name, "weights": _weights(winner), "stages": written}
    write_json(out / "settings.json", settings | _machine(winner.trial))
    (out / SCRIPT).write_text(_TEMPLATE.read_text(encoding="utf-8"), encoding="utf-8")
    return [f"python {out / SCRIPT}   # needs torch, transformers, trl and peft; writes {out / 'trained'}"]


def _write_stage(winner: WinnerFiles, each: TrainedStage, out: Path, number: int) -> dict[str, Any]:
    """The stage's rows, and the arguments of its trainer."""
    stage, trial = each.stage, winner.trial
    assert isinstance(stage, SftStage)
    folder = winner.folder(each.data)
    rendered = rendered_rows(folder, winner.base_model, winner.rows(each.data))
    rows = [(row.ids[: stage.max_length], row.labels[: stage.max_length]) for row in rendered if row]
    rows = [(ids, labels) for ids, labels in rows if any(label != -100 for label in labels)]
    batches = each.data.total_steps * stage.gradient_accumulation
    order = training_order([len(ids) for ids, _ in rows], batches, stage.batch_size, trial.seed)
    name = f"stage-{number}.jsonl"
    write_jsonl(out / name, [{"input_ids": rows[i][0], "labels": rows[i][1]} for i in order])
    return {
        "rows": name,
        "stop": each.steps,
        "attention": "eager" if trial.device == "cpu" and stage.max_length <= _SHORT else "sdpa",
        "arguments": {
            "max_steps": each.data.total_steps,
            "per_device_train_batch_size": stage.batch_size,
            "gradient_accumulation_steps": stage.gradient_accumulation,
            "learning_rate": stage.learning_rate,
            "lr_scheduler_type": stage.lr_scheduler_type,
            "warmup_steps": warmup_steps(stage.warmup_ratio, each.data.total_steps),
            "weight_decay": stage.weight_decay,
            "max_grad_norm": stage.max_grad_norm,
            "max_length": stage.max_length,
            "neftune_noise_alpha": stage.neftune_noise_alpha,
        },
    }


def warmup_steps(ratio: float, steps: int) -> int:
    """Steps of the warm-up, as the trainer counts them."""
    return -int(-ratio * steps // 1)


def _weights(winner: WinnerFiles) -> dict[str, Any] | None:
    """The settings of PEFT's LoraConfig; None: all weights are trained."""
    weights = winner.trial.plan.weights
    if not isinstance(weights, LoraWeights):
        if not getattr(weights, "embeddings", True):
            raise InputError(
                "a stand-alone script trains all weights or an adapter, not all but the embeddings"
            )
        return None
    return {
        "r": weights.rank,
        "lora_alpha": weights.alpha,
        "lora_dropout": weights.dropout,
        "target_modules": adapted_layers(winner),
    }


def _machine(trial: Trial) -> dict[str, Any]:
    return {
        "seed": trial.seed,
        "threads": trial.threads,
        "use_cpu": trial.device == "cpu",
        "bf16": trial.dtype != "float32",
    }
