"""Configurations of axolotl and LLaMA-Factory: the same plan by their documented keys, and the rows as conversations.

These tools render, order and batch rows in their own way, so the weights are similar, not the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...files import write_json, write_jsonl, write_yaml
from ...training.methods.dpo import DpoStage
from ...training.methods.schedule import ScheduledStage
from ...training.methods.sft import SftStage
from ...training.weights.lora import LoraWeights
from .adapter_layers import adapted_layers
from .trl_script import warmup_steps
from .winner_files import TrainedStage, WinnerFiles

_METHODS = ("sft", "dpo")


def write_axolotl(winner: WinnerFiles, out: Path) -> list[str]:
    """A configuration for each stage. Raises InputError for other methods than sft and dpo."""
    return [
        _written(out, number, config, "axolotl train") for number, config in _stages(winner, out, _axolotl)
    ]


def write_llamafactory(winner: WinnerFiles, out: Path) -> list[str]:
    """A configuration for each stage, and dataset_info.json. Raises InputError for other methods than sft and dpo."""
    notes = [
        _written(out, number, config, "llamafactory-cli train")
        for number, config in _stages(winner, out, _llamafactory)
    ]
    info = {
        _rows(number): _dataset_info(number, each.stage.method) for number, each in enumerate(winner.stages())
    }
    write_json(out / "dataset_info.json", info)
    note = "`template` is a guess by the base model's name: compare it with the model's own chat template"
    return [*notes, note]


_Made = Callable[[WinnerFiles, TrainedStage, ScheduledStage, Path, int], dict[str, Any]]


def _stages(winner: WinnerFiles, out: Path, made: _Made) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, each in enumerate(winner.stages()):
        stage = each.stage
        if stage.method not in _METHODS or not isinstance(stage, ScheduledStage):
            raise InputError(
                f"stage {number + 1} is {stage.method}, which is not written for other tools: there are "
                f"{' and '.join(_METHODS)}; `trex replay` trains it again"
            )
        if isinstance(stage, DpoStage) and (
            stage.loss != "sigmoid" or stage.label_smoothing or stage.sft_weight
        ):
            raise InputError(
                f"stage {number + 1} is dpo with the loss {stage.loss}, label_smoothing {stage.label_smoothing:g} and "
                f"sft_weight {stage.sft_weight:g}: only the loss sigmoid alone is written for other tools"
            )
        rows = winner.rows(each.data)
        write_jsonl(out / f"{_rows(number)}.jsonl", [_conversation(row, stage.method) for row in rows])
        yield number, made(winner, each, stage, out, number)


def _written(out: Path, number: int, config: dict[str, Any], command: str) -> str:
    path = out / f"stage-{number}.yaml"
    write_yaml(path, config)
    return f"{command} {path}"


def _rows(number: int) -> str:
    return f"stage-{number}-rows"


def _conversation(row: dict[str, Any], method: str) -> dict[str, Any]:
    prompt = [_turn(turn) for turn in row["prompt"]]
    answer = _turn(row["completion"][-1])
    if method == "sft":
        return {"messages": [*prompt, answer]}
    return {"messages": prompt, "chosen": answer, "rejected": _turn(row["rejected"][-1])}


def _turn(turn: dict[str, Any]) -> dict[str, str]:
    return {"role": turn["role"], "content": turn["content"]}


def _axolotl(
    winner: WinnerFiles, each: TrainedStage, stage: ScheduledStage, out: Path, number: int
) -> dict[str, Any]:
    weights = winner.trial.plan.weights
    config: dict[str, Any] = {
        "base_model": winner.base_name,
        "datasets": [_axolotl_dataset(out, number, stage.method)],
        "chat_template": "tokenizer_default",
        "sequence_len": stage.max_length,
        "sample_packing": False,
        "val_set_size": 0.0,
        "micro_batch_size": stage.batch_size,
        "gradient_accumulation_steps": stage.gradient_accumulation,
        "max_steps": each.steps,
        "optimizer": "adamw_torch",
        "lr_scheduler": stage.lr_scheduler_type,
        "learning_rate": stage.learning_rate,
        "warmup_steps": warmup_steps(stage.warmup_ratio, each.data.total_steps),
        "weight_decay": stage.weight_decay,
        "max_grad_norm": stage.max_grad_norm,
        "seed": winner.trial.seed,
        "bf16": "auto",
        "output_dir": str(out / f"stage-{number}"),
    }
    if isinstance(weights, LoraWeights):
        config |= {
            "adapter": "lora",
            "lora_r": weights.rank,
            "lora_alpha": weights.alpha,
            "lora_dropout": weights.dropout,
            "lora_target_modules": adapted_layers(winner),
        }
        if number:
            config["lora_model_dir"] = str(out / f"stage-{number - 1}")
    elif number:
        config["base_model"] = str(out / f"stage-{number - 1}")
    if isinstance(stage, SftStage):
        config |= {"train_on_inputs": False, "neftune_noise_alpha": stage.neftune_noise_alpha}
    if isinstance(stage, DpoStage):
        config |= {"rl": "dpo", "rl_beta": stage.beta}
    return {name: value for name, value in config.items() if value is not None}


def _axolotl_dataset(out: Path, number: int, method: str) -> dict[str, Any]:
    dataset: dict[str, Any] = {
        "path": str(out / f"{_rows(number)}.jsonl"),
        "ds_type": "json",
        "type": "chat_template",
        "field_messages": "messages",
        "message_property_mappings": {"role": "role", "content": "content"},
    }
    if method == "sft":
        return dataset | {"roles_to_train": ["assistant"]}
    return dataset | {
        "type": "chat_template.default",
        "split": "train",
        "field_chosen": "chosen",
        "field_rejected": "rejected",
    }


def _llamafactory(
    winner: WinnerFiles, each: TrainedStage, stage: ScheduledStage, out: Path, number: int
) -> dict[str, Any]:
    weights = winner.trial.plan.weights
    config: dict[str, Any] = {
        "model_name_or_path": winner.base_name,
        "stage": stage.method,
        "do_train": True,
        "finetuning_type": "full",
        "dataset_dir": str(out),
        "dataset": _rows(number),
        "template": _template_name(winner.task.base_model),
        "cutoff_len": stage.max_length,
        "per_device_train_batch_size": stage.batch_size,
        "gradient_accumulation_steps": stage.gradient_accumulation,
        "max_steps": each.steps,
        "lr_scheduler_type": stage.lr_scheduler_type,
        "learning_rate": stage.learning_rate,
        "warmup_steps": warmup_steps(stage.warmup_ratio, each.data.total_steps),
        "weight_decay": stage.weight_decay,
        "max_grad_norm": stage.max_grad_norm,
        "seed": winner.trial.seed,
        "report_to": "none",
        "output_dir": str(out / f"stage-{number}"),
    }
    if isinstance(weights, LoraWeights):
        config |= {
            "finetuning_type": "lora",
            "lora_rank": weights.rank,
            "lora_alpha": weights.alpha,
            "lora_dropout": weights.dropout,
            "lora_target": ",".join(adapted_layers(winner)),
        }
        if number:
            config["adapter_name_or_path"] = str(out / f"stage-{number - 1}")
    elif number:
        config["model_name_or_path"] = str(out / f"stage-{number - 1}")
    if isinstance(stage, SftStage):
        config["neftune_noise_alpha"] = stage.neftune_noise_alpha
    if isinstance(stage, DpoStage):
        config |= {"pref_beta": stage.beta, "pref_loss": stage.loss}
    return {name: value for name, value in config.items() if value is not None}


_TEMPLATES = ("smollm2", "smollm", "qwen3", "qwen", "llama3", "mistral", "gemma2", "gemma", "phi4")


def _template_name(base_model: str) -> str:
    name = base_model.casefold().replace("-", "").replace("_", "")
    return next((each for each in _TEMPLATES if each in name), "default")


def _dataset_info(number: int, method: str) -> dict[str, Any]:
    columns = {"messages": "messages"}
    if method == "dpo":
        columns |= {"chosen": "chosen", "rejected": "rejected"}
    return {
        "file_name": f"{_rows(number)}.jsonl",
        "formatting": "sharegpt",
        "ranking": method == "dpo",
        "columns": columns,
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "system_tag": "system",
        },
    }
