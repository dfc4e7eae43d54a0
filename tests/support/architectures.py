"""Configurations of small models of many architectures, for tests: two layers, width 32, the tiny tokenizer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

Fields = dict[str, Any]

_IDS: Fields = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_TEXT: Fields = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 1024,
}  # fmt: skip
_LLAMA = _TEXT | _IDS
_VISION: Fields = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "image_size": 32, "patch_size": 16,
}  # fmt: skip
_MOE: Fields = {"moe_intermediate_size": 16, "num_experts_per_tok": 2}

ARCHITECTURES: dict[str, Fields] = {
    "llama": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA | {"head_dim": 8},
    "mistral": _LLAMA,
    "gemma2": _LLAMA | {"head_dim": 8},
    "gemma3_text": _LLAMA | {"head_dim": 8},
    "phi3": _LLAMA | {"original_max_position_embeddings": 1024},
    "gpt2": _IDS | {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 1024},
    "gpt_neox": _LLAMA,
    "opt": _IDS | {
        "hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "max_position_embeddings": 1024, "word_embed_proj_dim": 16,
    },
    "falcon": _IDS | {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
    "bloom": _IDS | {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "mamba": _IDS | {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
    "falcon_h1": _LLAMA | {
        "mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_state": 4,
        "mamba_chunk_size": 8,
    },
    "mixtral": _LLAMA | {"num_local_experts": 4},
    "qwen2_moe": _LLAMA | _MOE | {"num_experts": 4, "shared_expert_intermediate_size": 16},
    "qwen3_next": _LLAMA | _MOE | {
        "num_experts": 4, "shared_expert_intermediate_size": 16, "head_dim": 8, "linear_num_value_heads": 4,
        "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
        "layer_types": ["linear_attention", "full_attention"],
    },
    "granitemoe": _LLAMA | {"num_local_experts": 4},
    "cohere": _LLAMA,
    "granite": _LLAMA | {"logits_scaling": 4.0},
    "gemma3": {
        "text_config": _TEXT | {"head_dim": 8}, "vision_config": _VISION, "image_token_index": 3,
        "boi_token_index": 4, "eoi_token_index": 5,
    },
    "qwen2_vl": {
        "text_config": _TEXT | {
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 1e4},
        },
        "vision_config": {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 4},
        "image_token_id": 3, "video_token_id": 4, "vision_start_token_id": 5, "vision_end_token_id": 6,
    },
    "llava": {
        "text_config": _LLAMA | {"model_type": "llama"},
        "vision_config": _VISION | {"model_type": "clip_vision_model"}, "image_token_index": 3,
    },
}  # fmt: skip


def configuration(name: str, vocabulary: int, **changes: Any) -> Any:
    """A small configuration of an architecture of transformers, with that many tokens."""
    from transformers import AutoConfig

    fields = {**ARCHITECTURES.get(name, _LLAMA), **changes}
    if "text_config" in fields:
        fields["text_config"] = fields["text_config"] | {"vocab_size": vocabulary}
    else:
        fields["vocab_size"] = vocabulary
    return AutoConfig.for_model(name, **fields)


def write_model(name: str, tiny: Path, folder: Path, vocabulary: int | None = None, **changes: Any) -> Path:
    """A random model of an architecture in `folder`, with the tokenizer of the tiny model."""
    import torch
    from transformers import AutoTokenizer
    from trex.evaluation.causal_models import model_class

    shutil.copytree(tiny, folder)
    for weights in folder.glob("*.safetensors"):
        weights.unlink()
    vocabulary = vocabulary or len(AutoTokenizer.from_pretrained(tiny))
    config = configuration(name, vocabulary, **changes)
    torch.manual_seed(0)
    model = model_class(config).from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.1)
    model.save_pretrained(folder)
    ends = json.loads((tiny / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(ends))
    return folder
