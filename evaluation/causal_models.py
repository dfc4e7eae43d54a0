"""Causal language models of any architecture that transformers knows: their classes, sizes and linear layers.

Nothing here trusts code or pickles of a model's repository.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

LayerGroup = Literal["attention", "mlp"]

# Parts of a decoder layer that mix tokens, and parts that treat each token alone, by the names of attributes.
_MIXES = re.compile(r"attn|attention|mamba|ssm|conv|temporal|rnn", re.IGNORECASE)
_FEEDS = re.compile(r"mlp|ffn|ffwd|feed_?forward|expert|moe", re.IGNORECASE)
# The same by class, for attributes such as `mixer`, which hold either.
_MIXES_CLASS = re.compile(r"Attention|Mamba|Mixer|Conv|Recurrent", re.IGNORECASE)
_FUSED_OUTPUT = re.compile(r"\w*(Mamba|Mixer)\w*\..*\bout_proj")
_FEEDS_CLASS = re.compile(r"(MLP|MoE|FeedForward|Experts?)$", re.IGNORECASE)


@dataclass(frozen=True)
class LinearLayer:
    """A linear map in a decoder layer of the text model: its full name, sizes, layer, and what it belongs to."""

    name: str
    inputs: int
    outputs: int
    layer: int
    group: LayerGroup


@dataclass(frozen=True)
class ModelShapes:
    """What the configuration of a base model says of its size. `positions`: the longest input, if it is fixed."""

    parameters: int
    layers: int
    linear: tuple[LinearLayer, ...]
    vocabulary: int
    positions: int | None

    @property
    def weights_mb(self) -> int:
        """Memory of the weights in float32, as they are trained, in MiB."""
        return self.parameters * 4 >> 20


def model_class(config: Any) -> Any:
    """The auto class of a configuration: a causal model, else a vision-language one, whose text part is used.

    Raises ValueError for a configuration of neither.
    """
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    for auto in (AutoModelForCausalLM, AutoModelForImageTextToText):
        if type(config) in auto._model_mapping:
            return auto
    raise ValueError(f"{type(config).__name__} is the configuration of no language model")


def load_causal_model(folder: Path | str, **options: Any) -> Any:
    """The model in a directory, with `options` of `from_pretrained`; see its errors."""
    from transformers import AutoConfig

    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    config = AutoConfig.from_pretrained(folder, **local)
    return model_class(config).from_pretrained(folder, use_safetensors=True, **local, **options)


def shapes_of(folder: Path) -> ModelShapes:
    """The sizes of a base model, from its configuration alone: no weights are read or made.

    Raises what transformers raises for a configuration that it does not know.
    """
    return _shapes_of(folder, (folder / "config.json").stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _shapes_of(folder: Path, changed: int) -> ModelShapes:
    import torch
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        return measure(model_class(config).from_config(config))


def measure(model: Any) -> ModelShapes:
    """The sizes of a model, which may be on the meta device."""
    embeddings = model.get_input_embeddings()
    return ModelShapes(
        parameters=sum(weights.numel() for weights in model.parameters()),
        layers=len(_decoder_layers(model)[1]),
        linear=linear_layers(model),
        vocabulary=int(embeddings.weight.shape[0]),
        positions=_positions(model, embeddings),
    )


def linear_layers(model: Any) -> tuple[LinearLayer, ...]:
    """The linear layers of the decoder layers of a model's text part, in the model's order.

    Without routers, and without the output projections of state-space mixers: fused kernels read their weights
    without calling them, and PEFT refuses them.
    """
    import torch
    from transformers.pytorch_utils import Conv1D

    prefix, layers = _decoder_layers(model)
    converted = _converted(model)
    found = []
    for number, layer in enumerate(layers):
        for path, module in layer.named_modules():
            if isinstance(module, torch.nn.Linear):
                inputs, outputs = module.in_features, module.out_features
            elif isinstance(module, Conv1D):  # GPT-2's linear layers, with transposed weights
                inputs, outputs = module.weight.shape
            else:
                continue
            parent, _, leaf = path.rpartition(".")
            if leaf in converted or "Router" in type(module).__name__:
                continue
            if _FUSED_OUTPUT.fullmatch(f"{type(layer.get_submodule(parent)).__name__}.{path}"):
                continue
            name = f"{prefix}.{number}.{path}"
            found.append(LinearLayer(name, inputs, outputs, number, _group(layer, path)))
    return tuple(found)


def _converted(model: Any) -> frozenset[str]:
    """Names that PEFT takes for the experts of a mixture, which are one tensor, wherever they stand in the model."""
    from peft.utils import transformers_weight_conversion as conversion

    kind = conversion._MODEL_TO_CONVERSION_PATTERN.get(model.config.model_type)
    return frozenset(conversion._MOE_TARGET_MODULE_MAPPING.get(kind, ()))


def _decoder_layers(model: Any) -> tuple[str, Any]:
    """Name and list of the text part's layers."""
    import torch

    decoder = model.get_decoder()
    prefix = next(name for name, module in model.named_modules() if module is decoder)
    lists: list[tuple[str, Any]] = [
        (name, each) for name, each in decoder.named_modules() if isinstance(each, torch.nn.ModuleList)
    ]
    count = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    fitting = [pair for pair in lists if len(pair[1]) == count]
    name, layers = (fitting or sorted(lists, key=lambda pair: -len(pair[1])) or [("", ())])[0]
    return ".".join(part for part in (prefix, name) if part), layers


def _group(layer: Any, path: str) -> LayerGroup:
    parts = path.split(".")[:-1]
    for name in parts:
        if _FEEDS.search(name):
            return "mlp"
        if _MIXES.search(name):
            return "attention"
    for kind in _classes(layer, parts):
        if _FEEDS_CLASS.search(kind):
            return "mlp"
        if _MIXES_CLASS.search(kind):
            return "attention"
    return "mlp"  # as OPT's fc1 and fc2, which are the layer's own


def _classes(module: Any, parts: list[str]) -> Iterator[str]:
    for name in parts:
        module = getattr(module, name)
        yield type(module).__name__


def _positions(model: Any, embeddings: Any) -> int | None:
    """The number of positions, where the model has an embedding for each: longer inputs are an error."""
    import torch

    config = model.config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None)
    tables = (each for each in model.get_decoder().modules() if isinstance(each, torch.nn.Embedding))
    fixed = any(each is not embeddings and each.num_embeddings >= (limit or 0) for each in tables)
    return int(limit) if limit and fixed else None
