"""Which linear layers get an adapter, on architectures with other names than Llama's."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from support.architectures import configuration
from trex.errors import PlanError
from trex.evaluation.causal_models import ModelShapes, measure, model_class
from trex.training.weights.lora import LORA, LoraWeights
from trex.training.weights.targets import Layers, Targets, select_layers


def shapes(name: str, **changes: Any) -> ModelShapes:
    import torch

    config = configuration(name, 100, **changes)
    with torch.device("meta"):
        return measure(model_class(config).from_config(config))


def chosen(of: ModelShapes, targets: Targets, layers: Layers = "all") -> list[str]:
    return [layer.name for layer in select_layers(targets, layers, of.linear, of.layers)]


# Endings of the names in one decoder layer: attention, feed-forward, queries and values.
LAYERS: dict[str, tuple[str, str, str]] = {
    "llama": ("q_proj k_proj v_proj o_proj", "gate_proj up_proj down_proj", "q_proj v_proj"),
    "phi3": ("o_proj qkv_proj", "gate_up_proj down_proj", "qkv_proj"),
    "gpt2": ("attn.c_attn attn.c_proj", "mlp.c_fc mlp.c_proj", "attn.c_attn"),
    "gpt_neox": ("query_key_value attention.dense", "dense_h_to_4h dense_4h_to_h", "query_key_value"),
    "opt": ("k_proj v_proj q_proj out_proj", "fc1 fc2", "v_proj q_proj"),
    "falcon": ("query_key_value self_attention.dense", "dense_h_to_4h dense_4h_to_h", "query_key_value"),
    "mpt": ("Wqkv out_proj", "up_proj down_proj", "Wqkv"),
    "mamba": ("in_proj x_proj dt_proj", "", "in_proj x_proj dt_proj"),
    "falcon_h1": ("in_proj q_proj k_proj v_proj o_proj", "gate_proj up_proj down_proj", "q_proj v_proj"),
    "mixtral": ("q_proj k_proj v_proj o_proj", "", "q_proj v_proj"),
    "qwen2_moe": (
        "q_proj k_proj v_proj o_proj",
        "shared_expert.gate_proj shared_expert.up_proj shared_expert.down_proj shared_expert_gate",
        "q_proj v_proj",
    ),
    "gemma3": ("q_proj k_proj v_proj o_proj", "gate_proj up_proj down_proj", "q_proj v_proj"),
    "qwen2_vl": ("q_proj k_proj v_proj o_proj", "gate_proj up_proj down_proj", "q_proj v_proj"),
}
_MPT = {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 64}


@pytest.mark.parametrize("name", LAYERS)
def test_groups_are_found_in_the_model(name: str) -> None:
    import torch

    config = configuration(name, 100, **(_MPT if name == "mpt" else {}))
    with torch.device("meta"):
        model = model_class(config).from_config(config)
    of = measure(model)
    assert of.layers == 2 and of.parameters == sum(p.numel() for p in model.parameters())
    attention, mlp, query_value = (part.split() for part in LAYERS[name])
    for group, endings in {"attention": attention, "mlp": mlp, "query-value": query_value}.items():
        if not endings:
            with pytest.raises(PlanError, match=r"no linear layers mlp: its linear layers are .*attention"):
                chosen(of, "mlp")
            continue
        found = chosen(of, group)  # type: ignore[arg-type]
        assert len(found) == 2 * len(endings)
        for number, ending in enumerate(endings * 2):
            assert sum(each.endswith(f".{ending}") for each in found) == 2, (number, ending, found)
    everything = chosen(of, "all-linear")
    assert sorted(everything) == sorted(chosen(of, "attention") + (chosen(of, "mlp") if mlp else []))
    assert not any("vision" in each or "visual" in each or "head" in each for each in everything)
    for layer in of.linear:
        module = model.get_submodule(layer.name)
        assert {layer.inputs, layer.outputs} == set(module.weight.shape)


@pytest.mark.parametrize(
    ("name", "targets", "layers", "found"),
    [
        ("gpt2", ("c_proj",), "all", ["h.0.attn.c_proj", "h.0.mlp.c_proj", "h.1.attn.c_proj", "h.1.mlp.c_proj"]),
        ("gpt2", ("attn.c_proj",), "upper_half", ["h.1.attn.c_proj"]),
        ("opt", ("fc1", "q_proj"), "upper_quarter", ["layers.1.self_attn.q_proj", "layers.1.fc1"]),
        ("gemma3", ("q_proj",), "upper_half", ["language_model.layers.1.self_attn.q_proj"]),
    ],
)  # fmt: skip
def test_names_are_the_ends_of_full_names(
    name: str, targets: Targets, layers: Layers, found: list[str]
) -> None:
    names = chosen(shapes(name), targets, layers)
    assert len(names) == len(found)
    assert all(each.endswith(f".{end}") for each, end in zip(names, found, strict=True))


def test_layers_are_counted_from_the_top() -> None:
    of = shapes("llama", num_hidden_layers=9)
    for layers, first in (("all", 0), ("upper_half", 5), ("upper_quarter", 7)):
        numbers = {int(name.split(".")[2]) for name in chosen(of, "all-linear", layers)}  # type: ignore[arg-type]
        assert numbers == set(range(first, 9))


@pytest.mark.parametrize(
    ("name", "targets", "says"),
    [
        ("gpt2", ("q_proj", "v_proj"), "no linear layers q_proj, v_proj: its linear layers are c_attn, c_fc, c_proj"),
        ("llama", ("q_proj", "proj"), "no linear layers proj: its"),
        ("llama", ("lm_head",), "no linear layers lm_head"),
        ("gemma3", ("fc1",), "no linear layers fc1"),
    ],
)  # fmt: skip
def test_names_that_the_model_has_not_are_listed_with_those_it_has(
    name: str, targets: Targets, says: str
) -> None:
    with pytest.raises(PlanError, match=says):
        chosen(shapes(name), targets)


def test_layers_without_the_group_are_named() -> None:
    of = shapes("lfm2", layer_types=["full_attention", "conv"])
    with pytest.raises(PlanError, match="the upper half of the base model's 2 layers has no"):
        chosen(of, ("q_proj",), "upper_half")


@pytest.mark.parametrize("targets", ["q_proj", "linear", [], ["(a+)+$"], ["a b"], [""], [1], None])
def test_targets_of_another_form_are_refused(targets: Any) -> None:
    with pytest.raises(ValidationError, match="targets"):
        LoraWeights(targets=targets)


def test_equal_targets_have_an_equal_effect() -> None:
    one, other = (
        LoraWeights(targets=("v_proj", "q_proj", "q_proj")),
        LoraWeights(targets=("q_proj", "v_proj")),
    )
    assert LORA.effective(one) == LORA.effective(other) != LORA.effective(LoraWeights(targets=("q_proj",)))
    assert LORA.describe(one) == "LoRA, rank 8, on v_proj, q_proj in every layer"
    assert "all linear layers in the upper half" in LORA.describe(
        LoraWeights(targets="all-linear", layers="upper_half")
    )
