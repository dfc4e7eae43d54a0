"""Every kind of weights keeps the protocol, one from an installed package as well."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.toy_package import write_toy_package
from trex.errors import IntegrityError
from trex.evaluation.base_models import resolve_model
from trex.files import canonical_json, hash_folder
from trex.tools.guide import training_guide
from trex.training.plan import TrainingPlan
from trex.training.weights import WEIGHTS, weights_of
from trex.training.weights.protocol import Weights

KINDS = [*WEIGHTS.names(), "number"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of an installed package, on the path."""
    place = write_toy_package(tmp_path_factory.mktemp("toy"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(place))
        yield place
    for name in [name for name in sys.modules if name.partition(".")[0] == "toy_trex"]:
        del sys.modules[name]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, place: Path) -> Weights[Any]:
    return WEIGHTS.load(request.param)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREX_HOME", str(tmp_path_factory.mktemp("home")))
        return resolve_model("tiny")


def saved(kind: Weights[Any], tiny: Path, folder: Path, seed: int = 1) -> Path:
    """Fresh weights on the tiny model, saved in a checkpoint."""
    from transformers import AutoModelForCausalLM

    folder.mkdir()
    base = AutoModelForCausalLM.from_pretrained(tiny, local_files_only=True)
    kind.save(kind.make(kind.settings(), base, seed), folder)
    return folder


def test_settings_are_a_bounded_model_that_explains_itself(kind: Weights[Any]) -> None:
    settings = kind.settings()
    assert settings.kind == kind.kind and weights_of(settings) is kind
    for name, field in kind.settings.model_fields.items():
        assert field.description or name == "kind", f"{name} has no description"
    with pytest.raises(ValidationError, match="Extra inputs"):
        kind.settings(seed=1)  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="frozen"):
        settings.kind = "other"
    plan = TrainingPlan.model_validate({"weights": {"kind": kind.kind}})
    assert plan.weights == settings and hash(plan) == hash(plan.model_copy())
    assert TrainingPlan.model_validate_json(plan.model_dump_json()) == plan
    assert canonical_json(kind.effective(settings)) == canonical_json(kind.effective(settings.model_copy()))
    assert kind.describe(settings)


def test_their_size_is_estimated(kind: Weights[Any], tiny: Path) -> None:
    assert kind.disk_bytes(kind.settings(), tiny) >= 1


def test_the_seed_alone_decides_fresh_weights(kind: Weights[Any], tiny: Path, tmp_path: Path) -> None:
    one, same, other = (
        saved(kind, tiny, tmp_path / name, seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    exports = [tmp_path / f"export-{place.name}" for place in (one, same, other)]
    for checkpoint, target in zip((one, same, other), exports, strict=True):
        kind.export(checkpoint, target, tiny)
    hashes = [hash_folder(target) for target in exports]
    assert hashes[0] == hashes[1]
    assert (hashes[0] != hashes[2]) is (kind.kind != "full"), "only a whole model begins as the base model"


def test_saved_weights_are_loaded(kind: Weights[Any], tiny: Path, tmp_path: Path) -> None:
    """What a model was trained to is what another one goes on from."""
    from transformers import AutoModelForCausalLM

    saved(kind, tiny, tmp_path / "one", 1)
    base = AutoModelForCausalLM.from_pretrained(tiny, local_files_only=True)
    if kind.kind == "full":
        base.lm_head.weight.data += 1
    other = kind.make(kind.settings(), base, 2)
    kind.load(other, tmp_path / "one")
    (tmp_path / "two").mkdir()
    kind.save(other, tmp_path / "two")
    assert hash_folder(tmp_path / "one") == hash_folder(tmp_path / "two")


def test_an_export_is_complete_and_the_same_everywhere(
    kind: Weights[Any], tiny: Path, tmp_path: Path
) -> None:
    checkpoint, target = saved(kind, tiny, tmp_path / "checkpoint"), tmp_path / "export"
    kind.export(checkpoint, target, tiny)
    kind.verify(target)
    first = hash_folder(target)
    kind.export(checkpoint, target, Path("/elsewhere") / tiny.name)
    assert hash_folder(target) == first, "the path of the base model must not change the hash"
    for file in sorted(target.iterdir()):
        content = file.read_bytes()
        file.unlink()
        with pytest.raises(IntegrityError):
            kind.verify(target)
        file.write_bytes(content)
    kind.verify(target)


@pytest.mark.parametrize("config", [b"[]", b"null", b'"LORA"', b"[" * 100_000, b"\xff", b"", None])
def test_an_export_that_is_damaged_is_refused(tmp_path: Path, config: bytes | None) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(b"w")
    if config is None:
        os.mkfifo(tmp_path / "adapter_config.json")  # reading it would wait for ever
    else:
        (tmp_path / "adapter_config.json").write_bytes(config)
    with pytest.raises(IntegrityError, match="LoRA adapter"):
        WEIGHTS.load("lora").verify(tmp_path)


def test_agents_are_told_of_it(kind: Weights[Any]) -> None:
    guide = training_guide()
    assert f"kind={kind.kind}: " in guide
    assert all(f"{name}=" in guide for name in kind.settings.model_fields.keys() - {"kind"})


def test_an_unknown_kind_is_named(place: Path) -> None:
    with pytest.raises(ValidationError, match="no kind of weights 'qlora'; there are: lora, full, number"):
        TrainingPlan.model_validate({"weights": {"kind": "qlora"}})
