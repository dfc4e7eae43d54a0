"""Continued pretraining on plain text."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.worker import dataset_of, disturb, log_probabilities, plain_models, prepared, write_rows
from trex.evaluation.base_models import resolve_model
from trex.evaluation.rendering import open_renderer
from trex.evaluation.task import RenderingOptions
from trex.training.methods.pretraining import PRETRAINING, PretrainingStage


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREX_HOME", str(tmp_path_factory.mktemp("home")))
        return resolve_model("tiny")


def test_a_document_is_its_text_and_an_end(tiny: Path) -> None:
    renderer = open_renderer(tiny, RenderingOptions())
    [row, control] = renderer.texts(["the film was good", "<|im_end|> the film"])
    assert renderer.text(row.ids[:-1]) == "the film was good" and row.ids[-1] in renderer.ends
    assert row.labels == row.ids
    assert not renderer.ends & set(control.ids[:-1]), "the name of a control token is text"


def test_the_loss_is_on_every_token(tiny: Path, tmp_path: Path) -> None:
    import torch

    stage = {"method": "pretraining", "max_steps": 2, "batch_size": 4}
    trainer = prepared(tiny, dataset_of("plain_text", tmp_path / "d"), tmp_path, stage)
    disturb(trainer.model, 0.3)
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.eval()
    with torch.no_grad():
        found = trainer.compute_loss(trainer.model, dict(batch)).item()
        merged, _ = plain_models(tiny, trainer.model)
        mask = batch["attention_mask"][:, 1:]
        each = log_probabilities(merged, batch["input_ids"], batch["attention_mask"]) * mask
    assert found == pytest.approx(-each.sum().item() / mask.sum().item(), rel=1e-5)


def test_long_documents_are_cut_by_the_recipe(tiny: Path, tmp_path: Path) -> None:
    rows = [{"prompt": [], "completion": [{"role": "assistant", "content": "a film " * 40}]}]
    [problem] = PRETRAINING.measure(
        PretrainingStage(max_length=16), write_rows(tmp_path, rows), tiny
    ).problems
    assert problem.cause == "too_long" and "`explode`" in problem.message
