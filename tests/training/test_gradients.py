"""Gradients do not depend on how a step is cut into batches, and merged weights are those of the adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.worker import dataset_of, disturb, plain_models, prepared
from trex.evaluation.base_models import resolve_model
from trex.training.methods import METHODS


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREX_HOME", str(tmp_path_factory.mktemp("home")))
        return resolve_model("tiny")


def gradients(tiny: Path, folder: Path, stage: dict[str, Any], batch: int, kind: str) -> dict[str, Any]:
    """Of the only step on eight rows, before the optimiser uses them."""
    from transformers import TrainerCallback

    found: dict[str, Any] = {}

    class Capture(TrainerCallback):
        def on_pre_optimizer_step(self, *given: Any, model: Any, **rest: Any) -> None:
            found.update(
                {n: each.grad.clone() for n, each in model.named_parameters() if each.grad is not None}
            )

    settings = {
        "max_steps": 1,
        "batch_size": batch,
        "gradient_accumulation": 8 // batch,
        "max_grad_norm": 100,
    }
    dataset = dataset_of(METHODS.load(stage["method"]).row_schema, folder / "d", 8)
    trainer = prepared(tiny, dataset, folder, stage | settings, kind)
    disturb(trainer.model, 0.1)
    trainer.add_callback(Capture())
    trainer.train()
    return found


@pytest.mark.parametrize("kind", ["lora", "full"])
@pytest.mark.parametrize(
    "stage",
    [
        {"method": "sft"},
        {"method": "pretraining"},
        {"method": "dpo"},
        {"method": "kto", "loss": "apo_zero_unpaired"},
    ],
    ids=lambda stage: stage["method"],
)
def test_one_batch_of_eight_has_the_gradients_of_eight_batches_of_one(
    tiny: Path, tmp_path: Path, stage: dict[str, Any], kind: str
) -> None:
    import torch

    whole, parts = (gradients(tiny, tmp_path / str(batch), stage, batch, kind) for batch in (8, 1))
    assert whole.keys() == parts.keys() and max(each.abs().max() for each in whole.values()) > 1e-3
    for name, gradient in whole.items():
        assert torch.allclose(gradient, parts[name], atol=1e-5), name


def test_a_merged_adapter_gives_the_same_logits(tiny: Path, tmp_path: Path) -> None:
    import torch

    trainer = prepared(tiny, dataset_of("prompt_completion", tmp_path / "d"), tmp_path, {"method": "sft"})
    disturb(trainer.model, 0.3)
    trainer.model.eval()
    ids = torch.arange(3, 35).view(2, 16)
    with torch.no_grad():
        adapter = trainer.model(input_ids=ids).logits.clone()
        merged, base = (model(input_ids=ids).logits for model in plain_models(tiny, trainer.model))
    assert torch.allclose(adapter, merged, atol=1e-5)
    assert not torch.allclose(adapter, base, atol=1e-2)
