"""Adapters for tests of inference."""

from __future__ import annotations

from pathlib import Path


def random_adapter(model_folder: Path, folder: Path) -> Path:
    """An adapter with weights large enough to change every answer of the model."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    config = LoraConfig(
        task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False
    )
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(model_folder), config)
    for name, weight in model.named_parameters():
        if "lora_" in name:
            weight.data.normal_(0, 1)
    model.save_pretrained(folder)
    return folder
