"""Distillation from a teacher's distribution on the model's own answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.worker import dataset_of, disturb, plain_models, prepared
from trex.evaluation.base_models import resolve_model
from trex.training.jobs.identity import environment_hash
from trex.training.methods.distillation import DISTILLATION, DistillationStage
from trex.training.plan import TrainingPlan

TEMPERATURE = 0.7


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREX_HOME", str(tmp_path_factory.mktemp("home")))
        return resolve_model("tiny")


@pytest.fixture(scope="module")
def teacher(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with other weights."""
    import torch
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("teacher") / "model"
    shutil.copytree(tiny, folder)
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    torch.manual_seed(2)
    for weights in model.parameters():
        weights.data += 0.05 * torch.randn_like(weights)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dataset_of("prompt_completion", tmp_path_factory.mktemp("rows"))


def divergence(beta: float, student: Any, teacher: Any) -> Any:
    """The generalised Jensen-Shannon divergence of log-probabilities (Agarwal et al., 2024)."""

    def kl(one: Any, other: Any) -> Any:
        return (one.exp() * (one - other)).sum(-1)

    if beta in (0, 1):
        return kl(student, teacher) if beta else kl(teacher, student)
    mixture = (beta * teacher.exp() + (1 - beta) * student.exp()).log()
    return beta * kl(teacher, mixture) + (1 - beta) * kl(student, mixture)


@pytest.mark.parametrize("beta", [0, 0.3, 1])
def test_the_loss_is_the_papers(
    tiny: Path, teacher: Path, dataset: Path, tmp_path: Path, beta: float
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    stage = {
        "method": "distillation", "max_steps": 2, "batch_size": 4, "max_new_tokens": 4, "beta": beta,
        "temperature": TEMPERATURE, "teacher": str(teacher),
    }  # fmt: skip
    trainer = prepared(tiny, dataset, tmp_path, stage)
    disturb(trainer.model, 0.1)
    trainer.model.train()
    batch = trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))
    mask = batch["completion_mask"].float()
    with torch.no_grad():
        found = trainer.compute_loss(trainer.model, dict(batch)).item()
        student, _ = plain_models(tiny, trainer.model)
        other = AutoModelForCausalLM.from_pretrained(teacher, dtype=torch.float32).eval()
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
        seen = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
        first = batch["prompt_ids"].shape[1] - 1
        ours, theirs = (
            (model(input_ids=ids, attention_mask=seen).logits[:, first:-1] / TEMPERATURE).log_softmax(-1)
            for model in (student, other)
        )
        each = divergence(beta, ours, theirs) * mask
    assert each.max() > 0.01
    assert found == pytest.approx((each.sum() / mask.sum()).item(), abs=1e-5)


@pytest.mark.parametrize(
    ("teacher", "says"),
    [
        ("http://127.0.0.1:8000/v1", "let it answer in a recipe, and train on the answers with sft"),
        ("models/large", "no absolute path: give that of a model's folder, or base"),
    ],
)
def test_a_teacher_is_a_folder(teacher: str, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        DistillationStage(teacher=teacher)


def test_a_teacher_that_does_not_fit_is_a_problem(
    tiny: Path, teacher: Path, dataset: Path, tmp_path: Path
) -> None:
    assert DISTILLATION.measure(DistillationStage(teacher=str(teacher)), dataset, tiny).problems == []
    [problem] = DISTILLATION.measure(DistillationStage(teacher=str(tmp_path)), dataset, tiny).problems
    assert "has no config.json" in problem.message
    other = tmp_path / "other"
    shutil.copytree(teacher, other)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["e"], vocabulary["t"] = vocabulary["t"], vocabulary["e"]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    [problem] = DISTILLATION.measure(DistillationStage(teacher=str(other)), dataset, tiny).problems
    assert "another vocabulary" in problem.message
    (other / "tokenizer.json").write_text("{}")
    [problem] = DISTILLATION.measure(DistillationStage(teacher=str(other)), dataset, tiny).problems
    assert problem.message.startswith("teacher: ")


def test_the_teachers_weights_are_part_of_the_id(teacher: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(teacher, copy)
    plans = [
        TrainingPlan.model_validate({"stages": [{"method": "distillation", "teacher": str(folder)}]})
        for folder in (teacher, copy)
    ]
    assert environment_hash(plans[0]) == environment_hash(plans[1]) != environment_hash(TrainingPlan())
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert environment_hash(plans[0]) != environment_hash(plans[1])
