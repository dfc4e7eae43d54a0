"""Full fine-tuning: trained by the worker, scored by the engine, refused if it is not the base model's architecture."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.jobs import quiet
from support.launchers import local_runner
from support.worker import make_rows, trial_of, write_rows
from trex.errors import IntegrityError
from trex.evaluation.base_models import resolve_model
from trex.evaluation.engines.adapter_check import adapter_hash
from trex.evaluation.engines.transformers_engine import TransformersEngine
from trex.evaluation.task import GenerationSettings
from trex.training.jobs.job import Job
from trex.training.plan import TrainingPlan
from trex.training.weights.full import FULL, FullWeights

PLAN = TrainingPlan.model_validate(
    {"weights": {"kind": "full"}, "stages": [{"max_steps": 6, "batch_size": 8, "learning_rate": 3e-3}]}
)
TURNS = [[{"role": "user", "content": text}] for text in ("a dull film", "a bright film of the plot")]
SETTINGS = GenerationSettings(max_new_tokens=4)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREX_HOME", str(tmp_path_factory.mktemp("home")))
        return resolve_model("tiny")


@pytest.fixture(scope="module")
def trained(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of a trial that was interrupted after its first rung."""
    folder = tmp_path_factory.mktemp("trial")
    trial = trial_of(tiny, write_rows(folder / "data", make_rows(40)), PLAN)
    runner = local_runner(1, command=None)
    try:
        hashes = []
        for name, stops in (("a", (2, 6)), ("b", (6,))):
            for rung, stop in enumerate(stops):
                job = Job(trial=trial, rung=rung, stop_step=stop, folder=folder / name)
                result = runner.run(job, None, quiet)
            hashes.append(result.adapter_hash)
        assert hashes[0] == hashes[1], "rungs do not change the weights"
        assert result.curve[0][1] > result.train_loss
    finally:
        runner.close()
    return folder / "a" / "adapter"


def test_the_engine_answers_with_it_and_then_as_before(trained: Path, tiny: Path) -> None:
    from transformers import AutoModelForCausalLM

    engine = TransformersEngine(tiny, 1)
    before = engine.choose(TURNS, ["positive", "negative"], SETTINGS)
    base = {name: weights.clone() for name, weights in engine._model.named_parameters()}
    engine.generate(TURNS, SETTINGS, trained)
    with engine._trained(trained) as model:
        own = AutoModelForCausalLM.from_pretrained(trained)
        for name, weights in own.named_parameters():
            assert model.get_parameter(name).equal(weights)
            assert not weights.equal(base[name]), f"{name} was not trained"
    assert all(weights.equal(base[name]) for name, weights in engine._model.named_parameters())
    assert engine.choose(TURNS, ["positive", "negative"], SETTINGS) == before


def _tensors(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors")

    return damage


def _config(**changes: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))

    return damage


NORM = "model.norm.weight"
DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "not a number": (_tensors(lambda t: t | {NORM: t[NORM] * float("nan")}), "not finite"),
    "another shape": (_tensors(lambda t: t | {NORM: t[NORM][:3].clone()}), "has shape"),
    "a tensor less": (_tensors(lambda t: {k: v for k, v in t.items() if k != NORM}), "lacks or adds"),
    "a tensor more": (_tensors(lambda t: t | {"x": t[NORM].clone()}), "lacks or adds"),
    "another architecture": (_config(rms_norm_eps=1.0), "'rms_norm_eps' differs"),
    "other code": (_config(auto_map={"AutoConfig": "evil.Config"}), "'auto_map' differs"),
    "torn": (lambda f: (f / "model.safetensors").write_bytes(b"torn") and None, "no safetensors"),
    "no configuration": (lambda f: (f / "config.json").write_text("[]") and None, "no JSON object"),
    "a pickle": (lambda f: (f / "model.bin").write_bytes(b"x") and None, "only safetensors"),
}


@pytest.mark.parametrize(("damage", "says"), DAMAGES.values(), ids=DAMAGES)
def test_other_weights_are_refused(
    trained: Path, tiny: Path, tmp_path: Path, damage: Callable[[Path], None], says: str
) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(trained, bad)
    damage(bad)
    engine = TransformersEngine(tiny, 1)
    with pytest.raises(IntegrityError, match=says):
        engine.generate(TURNS, SETTINGS, bad)
    engine.generate(TURNS, SETTINGS)


def test_its_hash_and_its_size(trained: Path, tiny: Path) -> None:
    assert adapter_hash(trained) == adapter_hash(trained) != "base"
    size = (trained / "model.safetensors").stat().st_size
    assert FULL.disk_bytes(FullWeights(), tiny) == pytest.approx(8 * size, rel=0.05)
