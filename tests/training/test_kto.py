"""Preference training on single answers that are marked good or bad."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.worker import dataset_of, disturb, log_probabilities, plain_models, prepared, rows_of, write_rows
from trex.errors import PlanError
from trex.evaluation.base_models import resolve_model
from trex.training.methods.kto import KTO, KtoStage

BETA, GOOD, BAD = 0.3, 1.5, 0.5


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREX_HOME", str(tmp_path_factory.mktemp("home")))
        return resolve_model("tiny")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dataset_of("unpaired_preference", tmp_path_factory.mktemp("rows"))


@pytest.mark.parametrize("loss", ["kto", "apo_zero_unpaired"])
def test_the_loss_is_the_papers(tiny: Path, dataset: Path, tmp_path: Path, loss: str) -> None:
    """1 - sigmoid(beta (log ratio - KL)) for good answers, of the opposite for bad ones; KL from mismatched answers."""
    import torch

    stage = {
        "method": "kto", "max_steps": 2, "batch_size": 6, "loss": loss, "beta": BETA,
        "desirable_weight": GOOD, "undesirable_weight": BAD,
    }  # fmt: skip
    trainer = prepared(tiny, dataset, tmp_path, stage)
    disturb(trainer.model, 0.3, seed=5)  # with another seed the KL divergence may be cut to 0
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.eval()
    found = trainer.compute_loss(trainer.model, dict(batch))
    current, reference = plain_models(tiny, trainer.model)
    label = batch["label"].bool()
    assert label.any() and not label.all()

    def log_ratios(batch: dict[str, Any]) -> Any:
        one, other = (
            log_probabilities(model, batch["input_ids"], batch["attention_mask"])
            for model in (current, reference)
        )
        return ((one - other) * batch["completion_mask"][:, 1:]).sum(-1)

    with torch.no_grad():
        ratio, kl = log_ratios(batch), torch.tensor(0.0)
        if loss == "kto":
            kl = torch.stack([log_ratios(row)[0] for row in mismatched_rows(batch)]).mean().clamp(min=0)
            assert kl > 0.001
    good = 1 - (BETA * (ratio - kl)).sigmoid()
    bad = 1 - (BETA * (kl - ratio)).sigmoid()
    assert ratio.abs().max() > 0.01
    expected = torch.where(label, GOOD * good, BAD * bad).mean()
    assert found.item() == pytest.approx(expected.item(), abs=1e-5)


def mismatched_rows(batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Each prompt with the answer of the row before it in the batch."""
    import torch

    ids, answer, seen = (batch[name] for name in ("input_ids", "completion_mask", "attention_mask"))
    for place in range(len(ids)):
        prompt = ids[place][(answer[place] == 0) & (seen[place] == 1)]
        other = ids[place - 1][answer[place - 1] == 1]
        row = torch.cat([prompt, other])[None]
        mask = torch.tensor([[0] * len(prompt) + [1] * len(other)])
        yield {"input_ids": row, "attention_mask": torch.ones_like(row), "completion_mask": mask}


def test_it_needs_good_and_bad_answers(tiny: Path, tmp_path: Path) -> None:
    rows = [row | {"desirable": True} for row in rows_of("unpaired_preference", 8)]
    [problem] = KTO.measure(KtoStage(), write_rows(tmp_path, rows), tiny).problems
    assert "8 of 8 rows are marked as good and 0 as bad" in problem.message


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"batch_size": 1}, "set batch_size to 2, or use loss apo_zero_unpaired"),
        ({"desirable_weight": 0, "undesirable_weight": 0}, "set desirable_weight to 1"),
        ({"beta": 0}, "greater than 0"),
    ],
)
def test_contradictions_are_refused_with_the_mend(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        KtoStage.model_validate(settings)


def test_repairs_keep_two_rows_a_batch() -> None:
    stage = KtoStage(batch_size=2)
    assert KTO.repair(stage, "out_of_memory") is None
    with pytest.raises(PlanError, match="down to 2"):
        KTO.adjusted(stage, {"batch_size": 1})


def test_a_whole_model_is_compared_with_its_beginning(tiny: Path, dataset: Path, tmp_path: Path) -> None:
    """At first no answer is likelier than before, so the value of each is a half."""
    trainer = prepared(tiny, dataset, tmp_path, {"method": "kto", "max_steps": 2, "batch_size": 6}, "full")
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx(0.5, abs=1e-6)
