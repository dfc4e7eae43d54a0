"""Directions that change the training settings, with the same data and the same number of examples."""

from __future__ import annotations

import math
from typing import Any

from ....training.weights.lora import LoraWeights
from ....training.weights.targets import NAMES, TargetGroup
from .directions import Edit, Variant, data_direction, scaled_rate, training_direction
from .situation import MAX_PASSES, Situation, lora_weights, sft_stage

_SIZES: dict[TargetGroup, int] = {"query-value": 2, "mlp": 3, "attention": 4, "all-linear": 7}
"""Linear layers of a decoder layer that a group names in a Llama. The order of `capacity` follows it."""

UP = (2.0, 1.5, 3.0, 0.7, 4.5, 1.25, 0.5)
DOWN = (0.5, 0.67, 0.33, 1.4, 0.2, 0.8, 2.0)
FURTHER = (0.5, 0.2, 1.0, 0.1)
AROUND = (0.5, 2.0, 0.7, 1.5, 3.0, 0.33, 1.25)


def _of_stage(situation: Situation, note: str, **changes: Any) -> Variant:
    return Variant(situation.training.with_stage(**changes), note)


def _of_weights(situation: Situation, note: str, **changes: Any) -> Variant:
    return Variant(situation.training.with_weights(**changes), note)


@training_direction(
    because="the learning rate limits the progress of a short training run, and a high one causes forgetting",
    optimism=0.4,
    words=("learning rate", "lr", "step size"),
    remedies=("under_fitting", "divergence", "over_fitting"),
)
def learning_rate(situation: Situation) -> list[Variant]:
    """Higher or lower learning rates, see `Situation.rate_direction`."""
    factors = {1: UP, -1: DOWN, 0: AROUND}[situation.rate_direction]
    plans = [scaled_rate(situation.training, factor) for factor in factors]
    return [Variant(plan, f"learning rate {sft_stage(plan).learning_rate:g}") for plan in plans]


@training_direction(
    because="more trainable weights allow a larger change, and fewer overfit less",
    optimism=0.2,
    words=("rank", "capacity", "modules", "target"),
    remedies=("under_fitting", "format_errors", "over_fitting"),
)
def capacity(situation: Situation) -> list[Variant]:
    """Other LoRA ranks and targets; larger ones first, or smaller ones if the node overfits."""
    variants = [
        _of_weights(situation, f"LoRA on {NAMES[group]}", targets=group)
        for group in ("query-value", "attention", "all-linear", "mlp")
        if group != situation.weights.targets
    ]
    variants += [
        _of_weights(situation, f"rank {rank}", rank=rank, alpha=2 * rank)
        for rank in (16, 32, 4, 64)
        if rank != situation.weights.rank
    ]
    sign = -1 if "over_fitting" in situation.symptoms else 1
    now = sign * _size(situation.weights)

    def order(variant: Variant) -> tuple[bool, int]:
        size = sign * _size(lora_weights(variant.training))
        return size <= now, size

    return sorted(variants, key=order)


def _size(weights: LoraWeights) -> int:
    """The number of trained weights, in units of one linear layer of each decoder layer at rank 1."""
    targets = weights.targets
    return weights.rank * (_SIZES[targets] if isinstance(targets, str) else len(targets))


@training_direction(
    because="upper layers have more effect on the answer, and lower layers on the representation of the input",
    optimism=0.15,
    words=("layers", "upper", "lower layers"),
    remedies=("under_fitting",),
)
def layers(situation: Situation) -> list[Variant]:
    """LoRA on all layers, the upper half or the upper quarter, each at three learning rates."""
    names = {"all": "all layers", "upper_half": "the upper half", "upper_quarter": "the upper quarter"}
    variants = []
    for factor in (1.0, 0.6, 1.6):
        for value, name in names.items():
            if value != situation.weights.layers:
                changed = scaled_rate(situation.training, factor).with_weights(layers=value)
                note = f"LoRA on {name}, learning rate {sft_stage(changed).learning_rate:g}"
                variants.append(Variant(changed, note))
    return variants


@training_direction(
    because="with a fixed number of examples, smaller batches give more steps with noisier gradients",
    optimism=0.25,
    words=("batch", "steps"),
    remedies=("under_fitting", "divergence"),
)
def batch_size(situation: Situation) -> list[Variant]:
    """Smaller and larger batches, with the same learning rate or one scaled with the square root of the size."""
    base = situation.stage
    factors = (2.0, 4.0, 0.5) if "divergence" in situation.symptoms else (0.5, 0.25, 2.0)
    variants = []
    for factor in factors:
        size = round(base.batch_size * factor)
        if not 1 <= size <= min(512, max(1, situation.rows // 2)) or size == base.batch_size:
            continue
        variants.append(_of_stage(situation, f"batch {size}", batch_size=size))
        scaled = scaled_rate(variants[-1].training, math.sqrt(factor))
        variants.append(Variant(scaled, f"batch {size}, learning rate {sft_stage(scaled).learning_rate:g}"))
    return variants


@training_direction(
    because="the schedule sets the learning rate of the last steps, and so how far the loss converges",
    optimism=0.1,
    words=("schedule", "warmup", "cosine", "decay of the learning rate"),
    remedies=("divergence",),
)
def schedule(situation: Situation) -> list[Variant]:
    """Other schedules and warm-up ratios; another schedule first, since it is the larger change."""
    variants = []
    for name in ("cosine", "constant_with_warmup", "linear"):
        for warmup in (0.05, 0.15, 0.0):
            changes = {"lr_scheduler_type": name, "warmup_ratio": warmup}
            if changes != situation.stage.model_dump(include=set(changes)):
                variants.append(_of_stage(situation, f"{name}, warm-up {warmup:g}", **changes))
    now = situation.stage.lr_scheduler_type
    return sorted(variants, key=lambda v: sft_stage(v.training).lr_scheduler_type == now)


@training_direction(
    because="noise and weight decay reduce overfitting to a small data set",
    optimism=0.15,
    words=("regularis", "regulariz", "neftune", "dropout", "weight decay", "noise"),
    remedies=("over_fitting", "mode_collapse"),
)
def regularisation(situation: Situation) -> list[Variant]:
    """NEFTune noise, dropout, weight decay, and combinations of two."""
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


@training_direction(
    because="training that helped may help further, and a low learning rate keeps what was learned",
    optimism=0.2,
    words=("continue", "longer", "warm start", "parent's weights"),
    remedies=("under_fitting",),
)
def further_training(situation: Situation) -> list[Variant]:
    """More training of the parent's weights, at the same or lower learning rates."""
    if not situation.continues:
        return []
    base = situation.training.model_copy(update={"start": "parent"})
    plans = [scaled_rate(base, factor) for factor in FURTHER]
    return [
        Variant(plan, f"from the parent's weights, learning rate {sft_stage(plan).learning_rate:g}")
        for plan in plans
    ]


@data_direction(
    "adjust_training",
    optimism=0.15,
    words=("epoch", "passes", "fewer rows", "more rows", "sample size"),
    remedies=("format_errors", "under_fitting", "over_fitting", "mode_collapse"),
)
def passes(situation: Situation) -> list[Edit]:
    """Fewer rows in more epochs, or more rows in fewer epochs, with the same number of examples."""
    now = situation.epochs(situation.rows)
    prefer_more = bool(situation.symptoms & {"format_errors", "under_fitting"})
    edits = []
    for epochs in (1.0, 1.5, 2.0, 3.0, 4.0):
        rows = int(situation.trial_examples / epochs)
        if epochs > MAX_PASSES or rows < 1 or abs(epochs - now) < 0.25:
            continue
        more = epochs > now
        because = "more epochs fit each row better" if more else "new rows say more than repeated rows"
        change = f"{rows} rows, {epochs:g} epochs instead of {now:.2g}"
        preference = (3.0 if more == prefer_more else 1.0) / (1 + abs(math.log(epochs / now)))
        recipe = situation.recipe.model_copy(update={"rows": rows})
        edits.append(Edit(recipe, change, because, preference))
    return edits
