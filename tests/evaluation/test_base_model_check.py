"""Base models that cannot be had, loaded, adapted or rendered are refused in one line, before anything is written."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.architectures import ARCHITECTURES, write_model
from trex.errors import InputError
from trex.evaluation.base_model_check import check_base_model
from trex.evaluation.base_models import resolve_model
from trex.evaluation.task import EMBEDDED_MODEL, GenerationSettings, Prompt, Source, Task
from trex.evaluation.task_file import task_from_fields
from trex.files import write_jsonl
from trex.graph.api import prepare_run
from trex.graph.run.estimate import estimate_run
from trex.graph.run.machine import Machine

Edit = Callable[[Path], object]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREX_HOME", str(tmp_path_factory.mktemp("home")))
        return resolve_model("tiny")


@pytest.fixture(scope="module")
def models(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders of small models by their architecture, each made once."""
    place = tmp_path_factory.mktemp("models")

    def made(name: str) -> Path:
        folder = place / name
        return folder if folder.exists() else write_model(name, tiny, folder)

    return made


def task_of(model: str | Path, folder: Path, **fields: Any) -> Task:
    rows = [{"text": f"a film numbered {i}", "label": ["bad", "good"][i % 2]} for i in range(60)]
    for name in ("train", "dev", "test"):
        write_jsonl(folder / f"{name}.jsonl", [row | {"text": f"{name} {row['text']}"} for row in rows])
    return Task(
        name="films",
        requirement="Classify.",
        base_model=str(model),
        sources=[Source(name="train", path=str(folder / "train.jsonl"))],
        dev=folder / "dev.jsonl",
        test=folder / "test.jsonl",
        prompt=Prompt(user="Good or bad?\n{text}", answer="{label}"),
        choices=["good", "bad"],
        **fields,
    )


def configured(**changes: Any) -> Edit:
    def edit(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


def removed(*names: str) -> Edit:
    return lambda folder: [path.unlink() for name in names for path in folder.glob(name)]


def written(name: str, content: bytes) -> Edit:
    return lambda folder: (folder / name).write_bytes(content)


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def torn(folder: Path) -> None:
    os.truncate(folder / "model.safetensors", 1000)


def an_adapter(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")


def without_end(folder: Path) -> None:
    for path in (folder / "tokenizer_config.json", folder / "special_tokens_map.json"):
        if path.exists():
            path.write_text(
                json.dumps({k: v for k, v in json.loads(path.read_text()).items() if "eos" not in k})
            )
    (folder / "chat_template.jinja").unlink(missing_ok=True)


_REMOTE = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}

BROKEN: dict[str, tuple[Edit, str]] = {
    "an unknown architecture": (configured(model_type="evil"), "does not know the architecture 'evil'; upgrade"),
    "code of its own": (
        configured(model_type="evil", auto_map=_REMOTE), "'evil' needs the code of its repository, which is never",
    ),
    "no architecture": (written("config.json", b"{}"), "names no model_type"),
    "a configuration that is a list": (written("config.json", b"[]"), "names no model_type"),
    "a configuration that is torn": (written("config.json", b'{"model_type": "lla'), "is no JSON"),
    "a field of another type": (configured(hidden_size="wide"), "config.json is damaged: .*hidden_size"),
    "an impossible field": (configured(num_attention_heads=5), r"config\.json is damaged: .*multiple of the number"),
    "an encoder": (configured(model_type="bert"), "bert is an encoder, which writes no text"),
    "an encoder and a decoder": (configured(model_type="t5"), "t5 is an encoder-decoder model; choose"),
    "a model that reads padding": (configured(model_type="rwkv"), "rwkv reads padding as text"),
    "a model of images": (configured(model_type="vit"), "vit is no language model; choose"),
    "quantised weights": (configured(quantization_config={"quant_method": "gptq", "bits": 4}), "are quantised"),
    "fewer weights than layers": (configured(num_hidden_layers=3), "9 of its weights are missing, e.g. model.layers.2"),
    "weights of another size": (configured(intermediate_size=65), "6 of its weights have other shapes"),
    "torn weights": (torn, r"can't be loaded \(SafetensorError: .*header.*\); fetch or save it again"),
    "weights that are pickled": (pickled, r"it has pytorch_model\.bin, which is not read: save the model as safet"),
    "no weights": (removed("*.safetensors"), "it has no weights: save"),
    "a missing shard": (
        written("model.safetensors.index.json", b'{"weight_map": {"a": "model-2.safetensors"}}'),
        r"lacks 1 files of its weights, e\.g\. model-2\.safetensors: fetch it again",
    ),
    "no tokenizer": (removed("tokenizer*", "vocab*", "merges*"), "has no tokenizer: save one there"),
    "a torn tokenizer": (written("tokenizer.json", b"{"), "the tokenizer in .* can't be loaded"),
    "a template that raises": (
        written("chat_template.jinja", b"{{ raise_exception('no chats') }}"), "the chat template cannot render",
    ),
    "no end of a text": (without_end, "no end-of-sequence token: set its eos_token"),
    "no configuration": (removed("config.json"), "has no config.json"),
    "an adapter": (an_adapter, "is an adapter: merge it"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_a_model_that_cannot_be_used_is_refused_before_anything_is_written(
    kind: str, models: Callable[[str], Path], tmp_path: Path
) -> None:
    edit, says = BROKEN[kind]
    model, out = tmp_path / "model", tmp_path / "runs" / "out"
    shutil.copytree(models("llama"), model)
    edit(model)
    with pytest.raises(InputError, match=says) as caught:
        prepare_run(task_of(model, tmp_path), out=out)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    assert not out.parent.exists()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no model", "neither a directory nor a hub id"),
        ("./nothing", "there is no such directory"),
        ("~/nothing", "there is no such directory"),
        ("/nothing/at/all", "there is no such directory"),
        ("nobody/nothing", "'nobody/nothing' could not be fetched from the hub"),
    ],
)
def test_a_name_that_is_no_model(
    name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=says):
        prepare_run(task_of(name, tmp_path), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_that_trains_passes(
    name: str, models: Callable[[str], Path], tmp_path: Path
) -> None:
    shapes = check_base_model(task_of(models(name), tmp_path))
    assert shapes is not None and shapes.layers == 2 and shapes.linear


def test_a_model_that_trl_cannot_train_is_refused(tiny: Path, tmp_path: Path) -> None:
    model = write_model(
        "llama4_text", tiny, tmp_path / "model", num_local_experts=2, intermediate_size_mlp=64, head_dim=8
    )
    with pytest.raises(InputError, match="Llama4ForCausalLM cannot be trained"):
        check_base_model(task_of(model, tmp_path))


def test_lengths_beyond_an_embedding_of_positions_are_refused(
    models: Callable[[str], Path], tmp_path: Path
) -> None:
    long = GenerationSettings(max_prompt_tokens=1000, max_new_tokens=64)
    for name in ("gpt2", "opt"):
        with pytest.raises(
            InputError, match=r"at most 1024 tokens, the task asks for 1000 .* lower generation"
        ):
            check_base_model(task_of(models(name), tmp_path, generation=long))
    assert check_base_model(task_of(models("llama"), tmp_path, generation=long)) is not None


def test_a_token_beyond_the_embeddings_is_refused(tiny: Path, tmp_path: Path) -> None:
    model = write_model("llama", tiny, tmp_path / "model", vocabulary=100)
    with pytest.raises(InputError, match=r"its tokenizer has the token id \d+, its embeddings end at 99"):
        check_base_model(task_of(model, tmp_path))


def test_paths_of_a_task_file(
    models: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the file, in the home directory, and built-in names before folders of the same name."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mine").symlink_to(models("gpt2"))
    (tmp_path / "tiny").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir("/")
    fields = task_of("tiny", tmp_path).model_dump(mode="json")
    for name in ("models/mine", "./models/mine", "~/models/mine", str(tmp_path / "models" / "mine")):
        task = task_from_fields(fields | {"base_model": name}, tmp_path, "task.yaml", "films")
        assert resolve_model(task.base_model).resolve() == models("gpt2").resolve()
    for name in ("tiny", EMBEDDED_MODEL):
        task = task_from_fields(fields | {"base_model": name}, tmp_path, "task.yaml", "films")
        assert task.base_model == name and check_base_model(task) is None


def test_trials_share_the_memory_that_the_model_needs(
    models: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Machine, "here", lambda: Machine(cores=8, gpus=0, memory_mb=16_384))
    task = task_of(models("gpt2"), tmp_path)
    settings = prepare_run(task, out=tmp_path / "out", trials=4).settings
    assert settings.slots == 4
    estimate = estimate_run(task, settings)
    assert estimate.job_memory_mb == 1024 and estimate.disk_mb >= 20
    here = Machine.here()
    for weights_mb, slots in ((1000, 4), (2500, 3), (6000, 1), (16_000, 1)):
        assert here.share(4, weights_mb)["slots"] == slots
    with pytest.raises(InputError, match=r"take 19\.5 GiB in float32, 16\.0 GiB of memory are there"):
        here.share(4, 20_000)
    assert here.model_copy(update={"gpus": 1}).share(4, 20_000)["slots"] == 1
