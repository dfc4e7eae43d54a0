"""Preflight: what would make a training fail or teach nothing, found before time is spent on it.

Rows are rendered and counted as TRL will: by the chat template, the loss on what follows the prompt.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ..errors import InputError
from ..files import read_json, read_jsonl
from .data.render import Row, percentile
from .data.sealed_folder import TRAIN
from .jobs.job import Cause
from .plan import TrainingPlan

MAX_MEASURED = 5_000
"""Rows that are tokenised. Of a larger data set: every n-th, and the longest of the others."""

_LONGEST = MAX_MEASURED // 10
_BATCH = 500
_FLOAT = 4  # bytes; LoRA weights and optimiser states are float32
_COPIES = 8  # two sealed checkpoints (weights and two Adam moments each) and two rungs' adapters
_FIXED_BYTES = 20 * 2**20  # configuration, random states, log, predictions


class Problem(BaseModel):
    """One reason not to start, with the cause that repair rules understand."""

    model_config = ConfigDict(frozen=True)

    cause: Cause
    message: str


class Limits(BaseModel):
    """What a training may take; None: no limit, or not known."""

    model_config = ConfigDict(frozen=True)

    seconds: float | None = Field(default=None, gt=0)
    tokens_per_second: float | None = Field(default=None, gt=0, description="Measured training speed")
    folder: Path | None = Field(
        default=None, description="Where the trial will be written; else, beside the data"
    )


class Tokens(BaseModel):
    """Tokens of a row, prompt and answer together."""

    model_config = ConfigDict(frozen=True)

    p50: int
    p95: int
    max: int
    mean: float


class Preflight(BaseModel):
    """What a training on a data set will meet, and every problem in the way."""

    model_config = ConfigDict(frozen=True)

    rows: int
    measured_rows: int = Field(description="Fewer than `rows` on large data sets: the longest and a sample")
    tokens: Tokens
    too_long: int = Field(description="Measured rows over the plan's max_length")
    without_loss: int = Field(description="Measured rows with no token of the answer within max_length")
    without_eos: int = Field(description="Measured rows whose answer does not hold the end-of-sequence token")
    steps: int
    seconds: float | None = Field(description="Estimated training time, if the speed is known")
    disk_bytes: int = Field(description="Estimated need")
    disk_free_bytes: int
    problems: list[Problem]

    @property
    def sampled(self) -> bool:
        return self.measured_rows < self.rows


@dataclass(frozen=True)
class _Measured:
    """A row in tokens: all of it, its prompt, and whether its answer ends."""

    total: int
    prompt: int
    ends: bool


def preflight(dataset: Path, plan: TrainingPlan, base_model: Path, limits: Limits | None = None) -> Preflight:
    """Check a built data set against a plan. Raises InputError if the base model has no usable chat template.

    Rows are tokenised once a process for a data set and a base model, so that further plans cost nothing.
    """
    limits = limits or Limits()
    rows, sample, longest = _measure(str(dataset), str(base_model))
    measured = [*sample, *longest]
    lengths = sorted(_length(row, plan) for row in sample)
    mean = sum(lengths) / len(lengths)
    steps = plan.total_steps(rows)
    trained = steps * plan.batch_size * plan.gradient_accumulation * min(mean, plan.max_length)
    report = Preflight(
        rows=rows,
        measured_rows=len(measured),
        tokens=Tokens(
            p50=percentile(lengths, 50),
            p95=percentile(lengths, 95),
            max=max(_length(row, plan) for row in measured),
            mean=round(mean, 1),
        ),
        too_long=sum(_length(row, plan) > plan.max_length for row in measured),
        without_loss=sum(not row.prompt < min(_length(row, plan), plan.max_length) for row in measured),
        without_eos=0 if plan.append_eos else sum(not row.ends for row in measured),
        steps=steps,
        seconds=round(trained / limits.tokens_per_second, 1) if limits.tokens_per_second else None,
        disk_bytes=_disk_bytes(plan, base_model),
        disk_free_bytes=_free_bytes(limits.folder or dataset),
        problems=[],
    )
    return report.model_copy(update={"problems": _problems(report, plan, limits)})


def _problems(report: Preflight, plan: TrainingPlan, limits: Limits) -> list[Problem]:
    of = f"of {report.measured_rows} rows" + (" looked at" if report.sampled else "")
    found: list[Problem] = []

    def note(cause: Cause, message: str) -> None:
        found.append(Problem(cause=cause, message=message))

    if report.too_long:
        note(
            "too_long",
            f"{report.too_long} {of} are longer than max_length {plan.max_length}; the longest has "
            f"{report.tokens.max} tokens: raise max_length, or filter long rows out",
        )
    elif report.without_loss:
        note("empty", f"{report.without_loss} {of} have no token with a loss: look at their answers")
    if report.without_eos:
        note(
            "no_eos",
            f"the answers of {report.without_eos} {of} lack the end-of-sequence token, so the model would "
            "not learn to stop: set append_eos",
        )
    if limits.seconds and report.seconds and report.seconds > limits.seconds:
        note(
            "timeout",
            f"{report.steps} steps would take about {report.seconds:.0f} s, {limits.seconds:.0f} s are left: "
            "take fewer steps or shorter rows",
        )
    if report.disk_bytes > report.disk_free_bytes:
        note(
            "disk_full",
            f"the training needs about {report.disk_bytes >> 20} MiB of disk, "
            f"{report.disk_free_bytes >> 20} MiB are free: make room, or lower lora_rank",
        )
    return found


def _length(row: _Measured, plan: TrainingPlan) -> int:
    return row.total + (plan.append_eos and not row.ends)


@lru_cache(maxsize=8)
def _measure(dataset: str, base_model: str) -> tuple[int, list[_Measured], list[_Measured]]:
    """The number of rows; every n-th of them in tokens, or all; the longest of the others."""
    rows = list(read_jsonl(Path(dataset) / TRAIN))
    if len(rows) <= MAX_MEASURED:
        return len(rows), _tokenise(rows, base_model), []
    sizes = [sum(len(turn["content"]) for turn in [*row["prompt"], *row["completion"]]) for row in rows]
    wanted = MAX_MEASURED - _LONGEST
    sample = {place * len(rows) // wanted for place in range(wanted)}
    others = sorted(set(range(len(rows))) - sample, key=lambda index: (-sizes[index], index))
    chosen = _tokenise([rows[index] for index in [*sorted(sample), *others[:_LONGEST]]], base_model)
    return len(rows), chosen[:wanted], chosen[wanted:]


def _tokenise(rows: list[Row], base_model: str) -> list[_Measured]:
    tokenizer, ends = _tokenizer(base_model)
    measured: list[_Measured] = []
    for start in range(0, len(rows), _BATCH):
        prompts, wholes = _texts(tokenizer, rows[start : start + _BATCH], base_model)
        prompt_ids = tokenizer(prompts, add_special_tokens=False)["input_ids"]
        whole_ids = tokenizer(wholes, add_special_tokens=False)["input_ids"]
        measured += [
            _compare(prompt, whole, ends) for prompt, whole in zip(prompt_ids, whole_ids, strict=True)
        ]
    return measured


def _texts(tokenizer: Any, rows: list[Row], base_model: str) -> tuple[list[str], list[str]]:
    """Prompts, and prompts with answers, as the chat template writes them."""
    try:
        prompts = tokenizer.apply_chat_template(
            [row["prompt"] for row in rows], add_generation_prompt=True, tokenize=False
        )
        wholes = tokenizer.apply_chat_template(
            [[*row["prompt"], *row["completion"]] for row in rows], tokenize=False
        )
    except Exception as error:  # a chat template raises what its author chose
        raise InputError(f"{base_model}: its chat template cannot render the rows: {error}") from error
    return prompts, wholes


def _compare(prompt: Sequence[int], whole: Sequence[int], ends: frozenset[int]) -> _Measured:
    """The answer begins where the prompt and the whole part, as in TRL."""
    pairs = enumerate(zip(prompt, whole, strict=False))
    start = next((place for place, (one, other) in pairs if one != other), min(len(prompt), len(whole)))
    return _Measured(total=len(whole), prompt=start, ends=not ends.isdisjoint(whole[start:]))


@lru_cache(maxsize=2)
def _tokenizer(base_model: str) -> tuple[Any, frozenset[int]]:
    """A base model's tokenizer, and the tokens that end an answer."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base_model, local_files_only=True, trust_remote_code=False)
    if not tokenizer.chat_template:
        raise InputError(
            f"{base_model}: the tokenizer has no chat template; choose an instruction-tuned model"
        )
    ends = {tokenizer.eos_token_id}
    settings = Path(base_model) / "generation_config.json"
    if settings.is_file():
        known = read_json(settings).get("eos_token_id")
        ends |= set(known) if isinstance(known, list) else {known}
    return tokenizer, frozenset(ends - {None})


def _disk_bytes(plan: TrainingPlan, base_model: Path) -> int:
    """Checkpoints and adapters at their most; `r · (inputs + outputs)` weights for each adapted matrix."""
    config = json.loads((base_model / "config.json").read_text(encoding="utf-8"))
    config = config.get("text_config", config)
    hidden: int = config["hidden_size"]
    layers: int = config["num_hidden_layers"]
    heads: int = config["num_attention_heads"]
    width: int = config.get("head_dim") or hidden // heads
    inner: int = config["intermediate_size"]
    shared: int = (config.get("num_key_value_heads") or heads) * width
    sizes = {
        "q_proj": hidden + heads * width,
        "k_proj": hidden + shared,
        "v_proj": hidden + shared,
        "o_proj": hidden + heads * width,
        "gate_proj": hidden + inner,
        "up_proj": hidden + inner,
        "down_proj": hidden + inner,
    }
    share = {"all": 1.0, "upper_half": 0.5, "upper_quarter": 0.25}[plan.layers]
    weights = (
        plan.lora_rank * sum(sizes[name] for name in plan.target_modules) * max(1, round(layers * share))
    )
    return weights * _FLOAT * _COPIES + _FIXED_BYTES


def _free_bytes(folder: Path) -> int:
    """Free space where `folder` is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
