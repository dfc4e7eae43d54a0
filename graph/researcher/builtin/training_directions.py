"""Directions that change how is trained, on the same data and the same number of examples."""

from __future__ import annotations

import math
from typing import Any

from ....training.weights.lora import LoraWeights, Module
from .directions import Edit, Variant, data_direction, scaled_rate, training_direction
from .first_plan import ATTENTION, EVERY_LINEAR, QUERY_VALUE
from .situation import MAX_PASSES, Situation, lora_weights, sft_stage

FEED_FORWARD: tuple[Module, ...] = ("gate_proj", "up_proj", "down_proj")

UP = (2.0, 1.5, 3.0, 0.7, 4.5, 1.25, 0.5)
DOWN = (0.5, 0.67, 0.33, 1.4, 0.2, 0.8, 2.0)
AROUND = (0.5, 2.0, 0.7, 1.5, 3.0, 0.33, 1.25)


def _of_stage(situation: Situation, note: str, **changes: Any) -> Variant:
    return Variant(situation.training.with_stage(**changes), note)


def _of_weights(situation: Situation, note: str, **changes: Any) -> Variant:
    return Variant(situation.training.with_weights(**changes), note)


@training_direction(
    because="the step size decides how far a short training gets without forgetting",
    optimism=0.4,
    words=("learning rate", "lr", "step size"),
    remedies=("under_fitting", "divergence", "over_fitting"),
)
def learning_rate(situation: Situation) -> list[Variant]:
    """Upwards where training was cut short or larger rates won, downwards where it was too much."""
    found = []
    for factor in {1: UP, -1: DOWN, 0: AROUND}[situation.rate_lean]:
        changed = scaled_rate(situation.training, factor)
        found.append(Variant(changed, f"learning rate {sft_stage(changed).learning_rate:g}"))
    return found


@training_direction(
    because="more adapted weights can express a larger change, fewer ones overfit less",
    optimism=0.2,
    words=("rank", "capacity", "modules", "target"),
    remedies=("under_fitting", "format_errors", "over_fitting"),
)
def capacity(situation: Situation) -> list[Variant]:
    """LoRA's rank and the modules it sits on; larger first, unless the node overfits."""
    found = []
    for name, modules in (
        ("q+k+v+o", ATTENTION),
        ("every linear layer", EVERY_LINEAR),
        ("q+v", QUERY_VALUE),
        ("the feed-forward layers", FEED_FORWARD),
    ):
        if modules != situation.weights.target_modules:
            found.append(_of_weights(situation, f"LoRA on {name}", target_modules=modules))
    for rank in (16, 32, 4, 64):
        if rank != situation.weights.rank:
            found.append(_of_weights(situation, f"rank {rank}", rank=rank, alpha=2 * rank))
    now = _size(situation.weights)
    sizes = {id(v): _size(lora_weights(v.training)) for v in found}
    if "over_fitting" in situation.symptoms:
        return sorted(found, key=lambda v: (sizes[id(v)] >= now, -sizes[id(v)]))
    return sorted(found, key=lambda v: (sizes[id(v)] <= now, sizes[id(v)]))


def _size(weights: LoraWeights) -> int:
    """Trained weights in units of one adapted matrix at rank 1."""
    return weights.rank * len(weights.target_modules)


@training_direction(
    because="upper layers change the answer, lower ones the reading of the question",
    optimism=0.15,
    words=("layers", "upper", "lower layers"),
    remedies=("under_fitting",),
)
def layers(situation: Situation) -> list[Variant]:
    """All layers, the upper half or quarter, each at two learning rates."""
    names = {"all": "all layers", "upper_half": "the upper half", "upper_quarter": "the upper quarter"}
    found = []
    for factor in (1.0, 0.6, 1.6):
        for value, name in names.items():
            if value != situation.weights.layers:
                changed = scaled_rate(situation.training, factor).with_weights(layers=value)
                note = f"LoRA on {name}, learning rate {sft_stage(changed).learning_rate:g}"
                found.append(Variant(changed, note))
    return found


@training_direction(
    because="at a fixed number of examples, smaller batches give more but noisier steps",
    optimism=0.25,
    words=("batch", "steps"),
    remedies=("under_fitting", "divergence"),
)
def batch_size(situation: Situation) -> list[Variant]:
    """Half and double batches; the learning rate as it is, or scaled with the square root of the size."""
    base = situation.stage
    factors = (2.0, 4.0, 0.5) if "divergence" in situation.symptoms else (0.5, 0.25, 2.0)
    found = []
    for factor in factors:
        size = round(base.batch_size * factor)
        if not 1 <= size <= min(512, max(1, situation.rows // 2)) or size == base.batch_size:
            continue
        found.append(_of_stage(situation, f"batch {size}", batch_size=size))
        scaled = scaled_rate(found[-1].training, math.sqrt(factor))
        found.append(Variant(scaled, f"batch {size}, learning rate {sft_stage(scaled).learning_rate:g}"))
    return found


@training_direction(
    because="how the learning rate rises and falls decides how much the last steps settle",
    optimism=0.1,
    words=("schedule", "warmup", "cosine", "decay of the learning rate"),
    remedies=("divergence",),
)
def schedule(situation: Situation) -> list[Variant]:
    """Another schedule, another warm-up."""
    found = []
    for name in ("cosine", "constant_with_warmup", "linear"):
        for warmup in (0.05, 0.15, 0.0):
            changes = {"lr_scheduler_type": name, "warmup_ratio": warmup}
            if changes != situation.stage.model_dump(include=set(changes)):
                found.append(_of_stage(situation, f"{name}, warm-up {warmup:g}", **changes))
    now = situation.stage.lr_scheduler_type
    # A different shape before a different warm-up: the larger change says more.
    return sorted(found, key=lambda v: sft_stage(v.training).lr_scheduler_type == now)


@training_direction(
    because="noise and decay keep a small data set from being learnt by heart",
    optimism=0.15,
    words=("regularis", "regulariz", "neftune", "dropout", "weight decay", "noise"),
    remedies=("over_fitting", "mode_collapse"),
)
def regularisation(situation: Situation) -> list[Variant]:
    """NEFTune, dropout, weight decay, and two of them together."""
    options: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("NEFTune 5", {"neftune_noise_alpha": 5.0}, {}),
        ("dropout 0.05", {}, {"dropout": 0.05}),
        ("weight decay 0.05", {"weight_decay": 0.05}, {}),
        ("NEFTune 5, dropout 0.05", {"neftune_noise_alpha": 5.0}, {"dropout": 0.05}),
        ("NEFTune 10", {"neftune_noise_alpha": 10.0}, {}),
        ("dropout 0.1, weight decay 0.05", {"weight_decay": 0.05}, {"dropout": 0.1}),
        ("no regularisation", {"neftune_noise_alpha": None, "weight_decay": 0.0}, {"dropout": 0.0}),
    ]
    changed = [
        Variant(situation.training.with_stage(**stage).with_weights(**weights), note)
        for note, stage, weights in options
    ]
    return [variant for variant in changed if variant.training != situation.training]


@data_direction(
    "adjust_training",
    optimism=0.15,
    words=("epoch", "passes", "fewer rows", "more rows", "sample size"),
    remedies=("format_errors", "under_fitting", "over_fitting", "mode_collapse"),
)
def passes(situation: Situation) -> list[Edit]:
    """Fewer rows seen more often, or more rows seen less often, at the same number of examples."""
    now = situation.epochs(situation.rows)
    once_more = bool(situation.symptoms & {"format_errors", "under_fitting"})
    found = []
    for epochs in (1.0, 1.5, 2.0, 3.0, 4.0):
        rows = int(situation.trial_examples / epochs)
        if epochs > MAX_PASSES or rows < 1 or abs(epochs - now) < 0.25:
            continue
        more = epochs > now
        because = (
            "rows seen again are learnt more surely than rows seen once"
            if more
            else "new rows teach more than rows seen again"
        )
        found.append(
            Edit(
                situation.recipe.model_copy(update={"rows": rows}),
                f"{rows} rows, {epochs:g} passes instead of {now:.2g}",
                because,
                preference=(3.0 if more == once_more else 1.0) / (1 + abs(math.log(epochs / now))),
            )
        )
    return found
