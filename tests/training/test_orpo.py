"""Preference training without a reference model."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.worker import dataset_of, disturb, log_probabilities, plain_models, prepared
from trex.evaluation.base_models import resolve_model

BETA = 0.3


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREX_HOME", str(tmp_path_factory.mktemp("home")))
        return resolve_model("tiny")


def test_the_loss_is_the_papers(tiny: Path, tmp_path: Path) -> None:
    """Cross entropy of the question with the better answer, less beta log sigmoid of the log odds ratio."""
    import torch
    from torch.nn.functional import logsigmoid

    stage = {"method": "orpo", "max_steps": 2, "batch_size": 6, "beta": BETA}
    trainer = prepared(tiny, dataset_of("preference_pair", tmp_path / "d"), tmp_path, stage)
    disturb(trainer.model, 0.3)
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.eval()
    with torch.no_grad():
        found = trainer.compute_loss(trainer.model, dict(batch)).item()
        merged, _ = plain_models(tiny, trainer.model)
        means, entropy = [], 0.0
        for name in ("chosen", "rejected"):
            ids, seen = batch[f"{name}_input_ids"], batch[f"{name}_attention_mask"]
            each = log_probabilities(merged, ids, seen)
            answer = (batch[f"{name}_labels"] != -100)[:, 1:]
            means.append((each * answer).sum(-1) / answer.sum(-1))
            if name == "chosen":
                entropy = -((each * seen[:, 1:]).sum() / seen[:, 1:].sum()).item()
        odds = [mean - torch.log1p(-mean.exp()) for mean in means]
        ratio = logsigmoid(odds[0] - odds[1]).mean().item()
    assert not torch.allclose(means[0], means[1], atol=1e-2)
    assert found == pytest.approx(entropy - BETA * ratio, abs=1e-5)
