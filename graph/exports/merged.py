"""Exports of weights: the adapter as PEFT loads it, and one model with the adapter merged into the base."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ...errors import InputError, IntegrityError
from ...evaluation.causal_models import load_causal_model
from ...evaluation.full_weights import load_full_weights
from ...files import read_json, write_json
from .winner_files import WinnerFiles

TOLERANCE = 1e-3
"""Largest difference of a logit, relative to the largest logit: rounding in float32 is a hundredth of it."""

_PROBE_TOKENS, _PROBES = 24, 4


def write_peft(winner: WinnerFiles, out: Path) -> list[str]:
    """The adapter, which names its base model, and the tokenizer. Raises InputError for a whole model."""
    if winner.is_full:
        raise InputError("the winner is a whole model, not an adapter: export it with --to merged")
    winner.verify()
    for path in sorted(winner.weights.iterdir()):
        shutil.copyfile(path, out / path.name)
    config = read_json(out / "adapter_config.json")
    write_json(out / "adapter_config.json", config | {"base_model_name_or_path": winner.base_name})
    open_tokenizer(winner).save_pretrained(out)
    return [f"load it with peft.AutoPeftModelForCausalLM.from_pretrained({str(out)!r})"]


def write_merged(winner: WinnerFiles, out: Path) -> list[str]:
    """One model in float32 with its tokenizer.

    Raises IntegrityError if the model, read again, has other logits than the base model with the trained weights.
    """
    import torch

    winner.verify()
    base = load_causal_model(winner.base_model, dtype=torch.float32).eval()
    if winner.is_full:
        load_full_weights(base, winner.weights)
        model, expected = base, _logits(base)
    else:
        from peft import PeftModel

        adapted = PeftModel.from_pretrained(base, winner.weights).eval()
        expected = _logits(adapted)
        model = adapted.merge_and_unload()
    model.save_pretrained(out, safe_serialization=True)
    open_tokenizer(winner).save_pretrained(out)
    difference = _difference(expected, _logits(load_causal_model(out, dtype=torch.float32).eval()))
    if difference > TOLERANCE:
        raise IntegrityError(
            f"the merged model's logits differ from the adapter's by {difference:.1e} of the largest: not exported"
        )
    return [
        f"its logits differ from those of base and trained weights by at most {difference:.1e} of the largest"
    ]


def _logits(model: Any) -> Any:
    """On fixed sequences of tokens from the whole vocabulary."""
    import torch

    draw = torch.Generator().manual_seed(0)
    size = model.get_input_embeddings().num_embeddings
    ids = torch.randint(0, size, (_PROBES, _PROBE_TOKENS), generator=draw)
    with torch.no_grad():
        return model(input_ids=ids).logits.float()


def _difference(expected: Any, found: Any) -> float:
    return float((expected - found).abs().max() / expected.abs().max())


def open_tokenizer(winner: WinnerFiles) -> Any:
    """The base model's tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(winner.base_model, local_files_only=True, trust_remote_code=False)
