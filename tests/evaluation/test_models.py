"""The tiny model through the real code: resolving, answering, adapters, and the grader process."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.adapters import random_adapter
from trex.errors import InputError, IntegrityError
from trex.evaluation.base_models import chat_template_hash, model_hash, resolve_model
from trex.evaluation.engines import adapter_check
from trex.evaluation.engines.adapter_check import adapter_hash, verify_adapter
from trex.evaluation.grader.client import GraderClient
from trex.evaluation.task import GenerationSettings, Prompt, Source, Task
from trex.files import hash_folder, write_jsonl

SETTINGS = GenerationSettings(max_new_tokens=6, batch_size=4)
TURNS = [[{"role": "user", "content": "a film " * (1 + 5 * n % 7) + str(n)}] for n in range(9)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREX_HOME", str(tmp_path_factory.mktemp("home")))
        yield resolve_model("tiny")


@pytest.fixture(scope="module")
def engine(tiny: Path) -> Any:
    from trex.evaluation.engines.transformers_engine import TransformersEngine

    made = TransformersEngine(tiny, threads=1)
    made.precision = "float32"  # exact comparisons below
    made.load()
    return made


@pytest.fixture(scope="module")
def adapter(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_adapter(tiny, tmp_path_factory.mktemp("adapter"))


def test_the_tiny_model_is_the_same_wherever_it_is_made(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setenv("TREX_HOME", str(tmp_path))
    torch.manual_seed(123)
    drawn = torch.random.get_rng_state()
    again = resolve_model("tiny")
    assert torch.equal(drawn, torch.random.get_rng_state())
    assert again.name == tiny.name and again != tiny
    assert hash_folder(again) == hash_folder(tiny)
    assert model_hash(again) == model_hash(tiny)
    assert resolve_model("tiny") == again
    assert sorted(p.name for p in again.parent.iterdir() if p.is_dir()) == [again.name]


def test_a_hash_notices_weights_and_template(tiny: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    assert model_hash(copy) == model_hash(tiny)
    template = copy / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    assert model_hash(copy) != model_hash(tiny)
    assert chat_template_hash(copy) != chat_template_hash(tiny)
    assert resolve_model(str(copy)) == copy


def test_a_model_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="neither a directory nor a hub id"):
        resolve_model("no model")
    with pytest.raises(InputError, match=r"config\.json"):
        resolve_model(str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="'nobody/nothing@main' could not be fetched") as caught:
        resolve_model("nobody/nothing@main")
    assert "\n" not in str(caught.value)


def naive_likelihood(engine: Any, turns: list[dict[str, str]], answer: list[int]) -> float:
    """One unpadded sequence at a time, all logits."""
    import torch

    [prompt] = engine._renderer.prompts([turns])
    with torch.inference_mode():
        logits = engine._model(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
    return sum(float(logits[len(prompt) - 1 + k, token]) for k, token in enumerate(answer))


@pytest.mark.parametrize(
    "choices",
    [["positive", "negative"], ["yes", "no", "true"], ["pos", "positive", "one two"], ["aa", "aab", "aabc"]],
)
def test_the_choice_is_the_most_likely_one(engine: Any, choices: list[str]) -> None:
    [prompt] = engine._renderer.choices(TURNS[:1], choices)
    answers = [list(answer) for answer in prompt.choices]
    found = [answer.text for answer in engine.choose(TURNS, choices, SETTINGS)]
    for turns, choice in zip(TURNS, found, strict=True):
        likelihoods = [naive_likelihood(engine, turns, answer) for answer in answers]
        assert likelihoods[choices.index(choice)] == pytest.approx(max(likelihoods), abs=1e-4)


def test_many_choices_are_computed_as_few_tokens_and_chosen_exactly(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """77 choices as a tree of tokens: the same answers as one by one, for less than three generations' tokens."""
    words = ["good", "bad", "slow", "kind", "new", "old", "red", "blue", "cold", "warm"]
    choices = [f"{words[n % 10]} {words[n // 10]} film {n}" for n in range(77)]
    computed: list[int] = []
    forward = type(engine._model).forward
    monkeypatch.setattr(
        type(engine._model), "forward", lambda self, input_ids, **rest: (
            computed.append(input_ids.numel()), forward(self, input_ids, **rest)
        )[1],
    )  # fmt: skip
    turns = [[{"role": "user", "content": f"{n} film, slow and warm, " * 20}] for n in range(12)]
    assert engine._trees is not False
    chosen = engine.choose(turns, choices, SETTINGS)
    by_tree, computed[:] = sum(computed), []
    engine.generate(turns, SETTINGS.model_copy(update={"max_new_tokens": 40}), choices=choices)
    generated, computed[:] = sum(computed), []
    assert engine._trees is True and by_tree < 3 * generated
    monkeypatch.setattr(engine, "_trees", False)
    assert engine.choose(turns, choices, SETTINGS) == chosen
    assert sum(computed) > 5 * by_tree


def test_a_choice_that_begins_another_has_to_end(engine: Any) -> None:
    [prompt] = engine._renderer.choices(TURNS[:1], ["aa", "aab"])
    assert [answer[-1] for answer in prompt.choices] == [engine._renderer.end] * 2
    [prompt] = engine._renderer.choices(TURNS[:1], ["positive", "negative"])
    [[first], [second]] = prompt.choices
    assert first != second


def test_batches_and_padding_change_no_answer(engine: Any) -> None:
    together = engine.generate(TURNS, SETTINGS)
    alone = [engine.generate([turns], SETTINGS)[0] for turns in TURNS]
    assert together == alone
    assert all(answer.truncated for answer in together)


def test_generation_is_cut_soon_after_the_longest_choice(engine: Any) -> None:
    [prompt] = engine._renderer.choices(TURNS[:1], ["yes", "no"])
    longest = max(map(len, prompt.choices))
    patient = SETTINGS.model_copy(update={"max_new_tokens": 40})
    cut = SETTINGS.model_copy(update={"max_new_tokens": longest + 4})
    assert engine.generate(TURNS, patient, choices=["yes", "no"]) == engine.generate(TURNS, cut)


def test_an_adapter_changes_answers_and_leaves_no_trace(engine: Any, adapter: Path) -> None:
    import torch

    weights = {name: value.clone() for name, value in engine._model.state_dict().items()}
    base = engine.generate(TURNS, SETTINGS)
    tuned = engine.generate(TURNS, SETTINGS, adapter)
    assert tuned != base
    assert engine.generate(TURNS, SETTINGS) == base
    assert engine.generate(TURNS, SETTINGS, adapter) == tuned
    after = engine._model.state_dict()
    assert weights.keys() == after.keys()
    assert all(torch.equal(weights[name], after[name]) for name in weights)


def damaged(adapter: Path, folder: Path, config: dict[str, object] | None = None) -> Path:
    shutil.copytree(adapter, folder)
    if config:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return folder


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"peft_type": "IA3"}, "only LORA"),
        ({"base_model_name_or_path": "/elsewhere/other-model"}, "was made for base model"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
        ({"bias": "all"}, "bias"),
    ],
)
def test_an_adapter_that_reaches_further_is_refused(
    tiny: Path, adapter: Path, tmp_path: Path, config: dict[str, object], says: str
) -> None:
    verify_adapter(adapter, tiny)
    with pytest.raises(IntegrityError, match=says):
        verify_adapter(damaged(adapter, tmp_path / "bad", config), tiny)


def test_foreign_or_broken_weights_are_refused(
    tiny: Path, adapter: Path, tmp_path: Path, engine: Any
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    good = load_file(adapter / "adapter_model.safetensors")
    first = next(iter(good))
    cases = {
        "not finite": good | {first: torch.full_like(good[first], float("nan"))},
        "unexpected tensor": good | {"base_model.model.lm_head.weight": torch.zeros(2, 2)},
        "no tensors": {},
    }
    for says, tensors in cases.items():
        bad = damaged(adapter, tmp_path / says)
        save_file(tensors, bad / "adapter_model.safetensors")
        with pytest.raises(IntegrityError, match=says):
            engine.choose(TURNS, ["yes", "no"], SETTINGS, bad)
    torn = damaged(adapter, tmp_path / "torn")
    (torn / "adapter_model.safetensors").write_bytes(b"torn")
    with pytest.raises(IntegrityError, match="no safetensors file"):
        verify_adapter(torn, tiny)
    pickled = damaged(adapter, tmp_path / "pickled")
    (pickled / "adapter_model.bin").write_bytes(b"")
    with pytest.raises(IntegrityError, match="only safetensors"):
        verify_adapter(pickled, tiny)
    with pytest.raises(IntegrityError, match="is no adapter"):
        adapter_hash(tmp_path)


def test_an_adapter_of_another_shape_is_refused_and_the_base_recovers(
    adapter: Path, tmp_path: Path, engine: Any
) -> None:
    from safetensors.torch import load_file, save_file

    before = engine.generate(TURNS, SETTINGS)
    bad = damaged(adapter, tmp_path / "shape")
    tensors = {
        name: value[:, :3].contiguous() if "lora_A" in name else value
        for name, value in load_file(bad / "adapter_model.safetensors").items()
    }
    save_file(tensors, bad / "adapter_model.safetensors")
    with pytest.raises(IntegrityError, match="does not fit the base model"):
        engine.generate(TURNS, SETTINGS, bad)
    assert engine.generate(TURNS, SETTINGS) == before


def test_outputs_that_are_no_numbers_are_no_answers(
    adapter: Path, tmp_path: Path, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the bound on weights; the largest of NaN logits would be the same answer to everything."""
    from safetensors.torch import load_file, save_file

    before = engine.generate(TURNS, SETTINGS)
    bad = damaged(adapter, tmp_path / "large")
    tensors = load_file(bad / "adapter_model.safetensors")
    save_file({name: value * 1e30 for name, value in tensors.items()}, bad / "adapter_model.safetensors")
    with pytest.raises(IntegrityError, match="more than 1000; the training diverged"):
        engine.generate(TURNS, SETTINGS, bad)
    monkeypatch.setattr(adapter_check, "LARGEST_WEIGHT", math.inf)
    for ask in (engine.generate, lambda *given: engine.choose(given[0], ["yes", "no"], *given[1:])):
        with pytest.raises(IntegrityError, match="large: the outputs are not finite numbers"):
            ask(TURNS, SETTINGS, bad)
    assert engine.generate(TURNS, SETTINGS) == before


def test_missing_tensors_are_refused(adapter: Path, tmp_path: Path, engine: Any) -> None:
    """PEFT would fill what a file lacks with fresh weights and say nothing."""
    from safetensors.torch import load_file, save_file

    bad = damaged(adapter, tmp_path / "half")
    tensors = load_file(bad / "adapter_model.safetensors")
    save_file(dict(list(tensors.items())[:3]), bad / "adapter_model.safetensors")
    before = engine.generate(TURNS, SETTINGS)
    with pytest.raises(IntegrityError, match="lacks"):
        engine.generate(TURNS, SETTINGS, bad)
    assert engine.generate(TURNS, SETTINGS) == before


def test_the_real_grader_from_baseline_to_test(tiny: Path, adapter: Path, tmp_path: Path) -> None:
    rows = [{"text": f"a film numbered {i}", "label": ["negative", "positive"][i % 2]} for i in range(40)]
    write_jsonl(tmp_path / "dev.jsonl", rows[:30])
    write_jsonl(tmp_path / "test.jsonl", rows[30:])
    task = Task(
        name="films",
        requirement="Classify.",
        base_model="tiny",
        sources=[Source(name="train", path="train.jsonl")],
        dev=tmp_path / "dev.jsonl",
        test=tmp_path / "test.jsonl",
        prompt=Prompt(user="Good or bad?\n{text}", answer="{label}"),
        choices=["negative", "positive"],
        generation=SETTINGS,
    )
    with GraderClient(task, tmp_path / "run", tiny) as grader:
        base = grader.evaluate(None, "search")
        tuned = grader.evaluate(adapter, "search")
        generated = grader.evaluate(None, "search", 5, "generation")
        assert (base.scoring, generated.scoring) == ("choices", "generation")
        assert base.id != tuned.id
        with pytest.raises(IntegrityError, match="only LORA"):
            grader.evaluate(damaged(adapter, tmp_path / "bad", {"peft_type": "IA3"}), "search")
        grader.seal(adapter)
        best, baseline = grader.score_test()
    assert best.score.n == baseline.score.n == 10
    assert baseline.score.value == max(
        baseline.secondary["choices_accuracy"], baseline.secondary["generation_accuracy"]
    )
