"""Small random models of many architectures: two steps of training, answers, and the same logits after saving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.architectures import ARCHITECTURES, write_model
from support.plans import training_plan
from support.worker import make_rows, trial_of, write_rows
from trex.evaluation.base_models import resolve_model
from trex.evaluation.task import GenerationSettings
from trex.training.jobs.stage_run import stage_runs
from trex.training.jobs.trial_folder import TrialFolder
from trex.training.jobs.worker_session import WorkerSession
from trex.training.weights import weights_of

PLAN = training_plan(
    max_steps=2, batch_size=4, learning_rate=0.05, warmup_ratio=0.0, targets="all-linear", layers="upper_half"
)
SETTINGS = GenerationSettings(max_new_tokens=4, batch_size=4)
CHOICES = ["positive", "negative", "bad film"]

# Their logits are not the output layer's alone.
OTHER_LOGITS = {"gemma2", "cohere", "granite"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREX_HOME", str(tmp_path_factory.mktemp("home")))
        return resolve_model("tiny")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("dataset"), make_rows(12))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_from_training_to_answers(
    name: str, tiny: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from trex.evaluation.engines.transformers_engine import TransformersEngine
    from trex.training.methods import sft_trainer

    model = write_model(name, tiny, tmp_path / "model")
    trial = trial_of(model, dataset, PLAN, rows=12)
    folder = TrialFolder(tmp_path / "trial")
    folder.write_plan(trial)
    trainers: list[Any] = []

    class Kept(sft_trainer.CompletionTrainer):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            trainers.append(self)

    monkeypatch.setattr(sft_trainer, "CompletionTrainer", Kept)
    with WorkerSession(folder, 0, 2) as session:
        [run] = stage_runs(session)
        run.folder.mkdir(exist_ok=True)
        outcome = sft_trainer.train(run)
    assert [step for step, _ in outcome["curve"]] == [1, 2]

    trainer = trainers[0]
    assert trainer._selects_logits == (name not in OTHER_LOGITS)
    batch, trained = next(iter(trainer.get_train_dataloader())), trainer.model.eval()
    with torch.no_grad():
        loss = trainer.compute_loss(trained, batch)
        trainer._selects_logits = False
        assert torch.allclose(loss, trainer.compute_loss(trained, batch), rtol=0.02)

    weights, adapter = weights_of(PLAN.weights), tmp_path / "adapter"
    weights.export(run.checkpoint, adapter, model)
    weights.verify(adapter)
    assert sum(file.stat().st_size for file in adapter.iterdir()) < weights.disk_bytes(PLAN.weights, model)

    engine = TransformersEngine(model, threads=1)
    engine.precision = "float32"
    engine.load()
    ids = torch.arange(20, 60).view(2, 20)

    def logits(of: Any) -> torch.Tensor:
        with torch.inference_mode():
            return of(input_ids=ids).logits.float()

    with engine._running(None) as base:
        before = logits(base)
    with engine._running(adapter) as reloaded:
        after = logits(reloaded)
    assert not torch.allclose(after, before, atol=1e-3)
    assert torch.allclose(after, logits(trained), atol=1e-3)

    turns = [[{"role": "user", "content": "a film " * (1 + number % 3) + str(number)}] for number in range(5)]
    for adapted in (None, adapter):
        chosen = engine.choose(turns, CHOICES, SETTINGS, adapted)
        answers = engine.generate(turns, SETTINGS, adapted)
        for number, turn in enumerate(turns):
            assert engine.choose([turn], CHOICES, SETTINGS, adapted) == [chosen[number]]
            assert engine.generate([turn], SETTINGS, adapted) == [answers[number]]
