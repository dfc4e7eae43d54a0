"""What trainers of sampled and rewarded answers share: prompts, rewards and signs of failure.

Importing this loads torch and TRL.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
from transformers import TrainerCallback, TrainerControl, TrainerState

from ...evaluation.rendering import open_renderer
from ..causes import Cause
from ..data.build import rendering_options
from ..data.row_kinds import Row
from ..jobs.job import JobFailed
from ..jobs.stage_run import StageRun
from .prompt_completion import rendered_rows
from .sampling import AnsweringStage, SampledStage
from .stage_trainer import (
    Prepared,
    Progress,
    StageTrainer,
    arguments,
    in_order,
    load_model,
    load_tokenizer,
    read_rows,
)
from .task_reward import TaskReward, open_reward

RewardFunction = Callable[..., list[float]]

PATIENCE = 20
"""Steps in a row after which a sign of failure stops a stage."""

HIGHEST_KL = 10.0
"""Nats a token from the stage's beginning; a useful model stays far below."""


class PromptTrainer(StageTrainer):
    """To be inherited before one of TRL's trainers. A prompt is the number of its row, as text."""

    prompts: dict[str, list[int]]
    ref_model: Any

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [self.prompts[prompt] for prompt in prompts], None, {}


class RewardHealth(TrainerCallback):
    """Stops a stage that does not learn any more, with a cause. Reads the whole log, so a resume stops alike."""

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, **rest: Any) -> None:
        """Raises JobFailed."""
        logged = [entry for entry in state.log_history if "reward" in entry]
        recent = logged[-PATIENCE:]
        if len(recent) < PATIENCE:
            return
        for cause, failing, message in _SIGNS:
            if failing(logged, recent):
                raise JobFailed(cause, f"{message} for {PATIENCE} steps, up to step {state.global_step}")


def _collapsed(logged: Sequence[Any], recent: Sequence[Any]) -> bool:
    equal = all(entry["frac_reward_zero_std"] == 1 for entry in recent)
    return equal and statistics.fmean(entry["reward"] for entry in recent) < 0.95  # else all is learnt


def _endless(logged: Sequence[Any], recent: Sequence[Any]) -> bool:
    cut = "completions/clipped_ratio"
    return all(entry[cut] > 0.95 for entry in recent) and statistics.fmean(e[cut] for e in logged[:5]) < 0.5


_SIGNS: Sequence[tuple[Cause, Callable[[Sequence[Any], Sequence[Any]], bool], str]] = (
    ("reward_collapse", _collapsed, "all answers to each question had equal rewards"),
    ("length_explosion", _endless, "nearly all answers were cut at max_new_tokens"),
    (
        "kl_explosion",
        lambda _, recent: all((entry.get("kl") or 0) > HIGHEST_KL for entry in recent),
        f"the KL divergence from the stage's beginning was above {HIGHEST_KL:g}",
    ),
)


@dataclass(frozen=True)
class Questions:
    """A model, and the questions of a stage in order: by the numbers of their rows, in tokens."""

    model: Any
    ordered: Any
    prompts: dict[str, list[int]]
    ends: frozenset[int]


def questions(run: StageRun, rows: list[Row], usable: Callable[[Row], bool] = lambda row: True) -> Questions:
    """The usable questions that fit. The model's answers end where the renderer's do. Raises JobFailed without any."""
    stage = run.stage
    assert isinstance(stage, AnsweringStage)
    rendered = rendered_rows(Path(run.data.dataset), Path(run.trial.base_model), rows)
    kept = {
        place: row.ids[: row.prompt]
        for place, row in enumerate(rendered)
        if row and row.prompt + stage.max_new_tokens <= stage.max_length and usable(rows[place])
    }
    if not kept:
        raise JobFailed("too_long", f"no question fits in max_length={stage.max_length} with its answer")
    model = load_model(run, stage.max_length)
    renderer = open_renderer(Path(run.trial.base_model), rendering_options(Path(run.data.dataset)))
    model.generation_config.eos_token_id = sorted(renderer.ends)
    places = sorted(kept)
    ordered = in_order(
        run, datasets.Dataset.from_dict({"prompt": list(map(str, places))}), [len(kept[n]) for n in places]
    )
    return Questions(model, ordered, {str(place): ids for place, ids in kept.items()}, renderer.ends)


def sampling_arguments(run: StageRun) -> dict[str, Any]:
    """The plan in TRL's words, with those of sampling."""
    stage = run.stage
    assert isinstance(stage, AnsweringStage)
    return arguments(run) | {
        "include_num_input_tokens_seen": "no",  # the trainer counts them
        "max_completion_length": stage.max_new_tokens,
        "temperature": stage.temperature,
        "top_p": stage.top_p,
        "shuffle_dataset": False,
        "disable_dropout": True,
    }


def prepare(
    run: StageRun, make: Callable[..., PromptTrainer], config: Callable[..., Any], **settings: Any
) -> Prepared:
    """The trainer with its questions in order. Rows that are too long or that the metric cannot score are dropped.

    `make` is TRL's trainer with `PromptTrainer`, `config` its settings, of which `settings` are the method's own.
    """
    stage = run.stage
    assert isinstance(stage, SampledStage)
    reward = open_reward(Path(run.data.dataset), stage.valid_weight > 0)
    rows = read_rows(run)
    asked = questions(run, rows, reward.can_score)
    whole = stage.beta > 0 and not hasattr(asked.model, "peft_config")
    started = {name: each.clone() for name, each in asked.model.state_dict().items()} if whole else None
    functions, weights = _rewards(stage, rows, reward, asked.ends)
    given = sampling_arguments(run) | {
        "per_device_train_batch_size": stage.batch_size * stage.generations,
        "steps_per_generation": stage.gradient_accumulation,
        "num_generations": stage.generations,
        "epsilon": stage.epsilon,
        "beta": stage.beta,
        "reward_weights": weights,
    }
    trainer = make(
        model=asked.model,
        reward_funcs=functions,
        args=config(**given, **settings),
        processing_class=load_tokenizer(run),
        train_dataset=asked.ordered,
        callbacks=[RewardHealth(), Progress(run)],
    )
    if started is not None:  # TRL would compare a whole model with the base model
        trainer.accelerator.unwrap_model(trainer.ref_model).load_state_dict(started)
    trainer.prompts = asked.prompts
    return Prepared(trainer, len(rows) - len(asked.prompts))


def _rewards(
    stage: SampledStage, rows: list[Row], reward: TaskReward, ends: frozenset[int]
) -> tuple[list[RewardFunction], list[float]]:
    """The task's metric and the declared components, each with its weight."""

    def metric(prompts: list[str], completions: list[str], **rest: Any) -> list[float]:
        return reward.rewards([rows[int(prompt)] for prompt in prompts], _stripped(completions))

    def ended(completion_ids: list[list[int]], **rest: Any) -> list[float]:
        return [float(bool(ids) and ids[-1] in ends) for ids in completion_ids]

    def valid(prompts: list[str], completions: list[str], **rest: Any) -> list[float]:
        return reward.validity([rows[int(prompt)] for prompt in prompts], _stripped(completions))

    parts: list[tuple[RewardFunction, float]] = [
        (metric, 1.0),
        (ended, stage.ended_weight),
        (valid, stage.valid_weight),
    ]
    used = [(function, weight) for function, weight in parts if weight]
    return [function for function, _ in used], [weight for _, weight in used]


def _stripped(completions: Sequence[str]) -> list[str]:
    return [text.strip() for text in completions]
