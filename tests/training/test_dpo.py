"""Preference training: pairs from recipes, the losses of papers, trained and resumed in stages."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.worker import (
    disturb,
    log_probabilities,
    make_rows,
    pair_rows,
    plain_models,
    prepared,
    write_rows,
)
from trex.evaluation.base_models import resolve_model
from trex.training.methods.dpo import DPO, DpoStage
from trex.training.methods.preference_pairs import pair_tokens


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREX_HOME", str(tmp_path_factory.mktemp("home")))
        return resolve_model("tiny")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("pairs"), pair_rows(40))


BETA = 0.3


def reference_loss(loss: str, better: Any, worse: Any, lengths: Any) -> Any:
    """The papers' losses on log ratios to the reference model."""
    from torch.nn.functional import logsigmoid, relu

    margin = better - worse
    return {
        "sigmoid": lambda: -logsigmoid(BETA * margin),
        "hinge": lambda: relu(1 - BETA * margin),
        "ipo": lambda: (better / lengths[0] - worse / lengths[1] - 1 / (2 * BETA)) ** 2,
        "robust": lambda: (-0.8 * logsigmoid(BETA * margin) + 0.2 * logsigmoid(-BETA * margin)) / 0.6,
        "apo_zero": lambda: 1 - (BETA * better).sigmoid() + (BETA * worse).sigmoid(),
    }[loss]().mean()


@pytest.mark.parametrize(
    ("loss", "more"),
    [("sigmoid", {}), ("hinge", {}), ("ipo", {}), ("apo_zero", {}), ("robust", {"label_smoothing": 0.2})],
)
def test_the_loss_is_the_papers(
    tiny: Path, dataset: Path, tmp_path: Path, loss: str, more: dict[str, Any]
) -> None:
    import torch

    stage = {"method": "dpo", "max_steps": 2, "batch_size": 6, "loss": loss, "beta": BETA, **more}
    trainer = prepared(tiny, dataset, tmp_path, stage)
    disturb(trainer.model, 0.3)
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.eval()
    found = trainer.compute_loss(trainer.model, dict(batch))
    mask = batch["completion_mask"][:, 1:]
    with torch.no_grad():
        policy, reference = (
            (log_probabilities(model, batch["input_ids"], batch["attention_mask"]) * mask).sum(-1)
            for model in plain_models(tiny, trainer.model)
        )
    better, worse = (policy - reference).chunk(2)
    lengths = mask.sum(-1).chunk(2)
    assert better.abs().max() > 0.01
    assert found.item() == pytest.approx(
        reference_loss(loss, better, worse, lengths).item(), rel=1e-5, abs=1e-5
    )


def test_pairs_share_their_prompt_and_end(tiny: Path, dataset: Path) -> None:
    rows = [*pair_rows(3), make_rows(1)[0]]
    rows[1]["rejected"] = rows[1]["completion"]
    found = pair_tokens(dataset, tiny, rows)
    assert [pair is None for pair in found] == [False, True, False, True]
    pair = found[0]
    assert pair is not None and len(pair.rejected) > len(pair.chosen)
    assert pair.chosen[-2:] == pair.rejected[-2:], "both end as the chat template ends a turn"
    assert pair.chosen[0] != pair.rejected[0]


def test_rows_without_pairs_are_a_problem_with_the_mend(tiny: Path, tmp_path: Path) -> None:
    [problem] = DPO.measure(DpoStage(), write_rows(tmp_path / "d", make_rows(4)), tiny).problems
    assert problem.cause == "empty" and "`output: pairs`" in problem.message and "`reject`" in problem.message


def test_long_pairs_are_a_problem(tiny: Path, dataset: Path) -> None:
    measured = DPO.measure(DpoStage(max_length=16), dataset, tiny)
    assert measured.unfit["too_long"] > 0 and measured.problems[0].cause == "too_long"
    assert DPO.measure(DpoStage(max_length=measured.longest), dataset, tiny).problems == []


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"label_smoothing": 0.1}, "no effect on the loss sigmoid: set it to 0"),
        ({"loss": "exo_pair"}, "needs label_smoothing > 0: set it to 0.001"),
        ({"loss": "magic"}, "Input should be 'sigmoid'"),
        ({"beta": 0}, "greater than 0"),
    ],
)
def test_contradictions_are_refused_with_the_mend(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        DpoStage.model_validate(settings)


def test_the_figures_and_a_whole_model(tiny: Path, dataset: Path, tmp_path: Path) -> None:
    """A whole model is compared with a copy of itself as the stage begins: at first no better, no worse."""
    stage = {"method": "dpo", "max_steps": 2, "batch_size": 6}
    trainer = prepared(tiny, dataset, tmp_path, stage, "full")
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx(math.log(2), rel=1e-5)
    assert trainer._metrics["train"]["rewards/margins"] == [pytest.approx(0, abs=1e-6)]
