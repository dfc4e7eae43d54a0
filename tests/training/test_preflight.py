"""Preflight: the counts TRL would meet, and the problems with their causes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.architectures import write_model
from support.plans import training_plan
from trex.errors import InputError
from trex.evaluation.base_models import resolve_model
from trex.files import read_jsonl, write_jsonl
from trex.training import preflight as preflight_module
from trex.training.causes import Problem
from trex.training.methods import prompt_completion
from trex.training.methods.prompt_completion import rendered_rows
from trex.training.methods.protocol import RowMeasurement
from trex.training.methods.sft import SFT
from trex.training.plan import TrainingPlan
from trex.training.preflight import preflight
from trex.training.weights.lora import LORA

PLAN = training_plan(batch_size=4)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREX_HOME", str(tmp_path_factory.mktemp("home")))
        return resolve_model("tiny")


def without(tiny: Path, target: Path, change: Any) -> Path:
    """A copy of the model's tokenizer with another chat template."""
    shutil.copytree(tiny, target)
    settings = json.loads((target / "tokenizer_config.json").read_text())
    file = target / "chat_template.jinja"
    template = file.read_text() if file.exists() else settings["chat_template"]
    file.unlink(missing_ok=True)
    settings["chat_template"] = change(template)
    (target / "tokenizer_config.json").write_text(json.dumps(settings))
    return target


def data(folder: Path, texts: list[str], answer: str = "positive") -> Path:
    rows = [
        {
            "prompt": [{"role": "user", "content": text}],
            "completion": [{"role": "assistant", "content": answer}],
            "source": {},
            "stream": "movies",
        }
        for text in texts
    ]
    folder.mkdir()
    write_jsonl(folder / "train.jsonl", rows)
    return folder


def measured(folder: Path, plan: TrainingPlan, tiny: Path) -> RowMeasurement:
    return SFT.measure(plan.stage, folder, tiny)


def causes(problems: list[Problem]) -> list[str]:
    return [problem.cause for problem in problems]


def test_a_sound_data_set_has_no_problems(tiny: Path, tmp_path: Path) -> None:
    folder = data(tmp_path / "d", [f"a film number {n}" for n in range(10)])
    assert preflight(folder, PLAN, tiny) == []
    assert measured(folder, PLAN, tiny).measured_rows == 10


def test_the_counts_are_those_of_trl(tiny: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = data(tmp_path / "d", ["bad", "a slow, dull film with a bright end"])
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    totals = [len(tokenizer.apply_chat_template(r["prompt"] + r["completion"])["input_ids"]) for r in rows]
    prompts = [
        len(tokenizer.apply_chat_template(r["prompt"], add_generation_prompt=True)["input_ids"]) for r in rows
    ]
    assert measured(folder, PLAN, tiny).longest == max(totals)
    between = PLAN.with_stage(max_length=max(prompts))
    assert measured(folder, between, tiny).unfit == {"too_long": 1, "without_loss": 1, "not_rendered": 0}
    longer = between.with_stage(max_length=max(prompts) + 1)
    assert measured(folder, longer, tiny).unfit["without_loss"] == 0
    assert measured(folder, between.with_stage(max_length=max(totals) - 1), tiny).unfit["too_long"] == 1


def test_long_rows_are_a_problem(tiny: Path, tmp_path: Path) -> None:
    folder = data(tmp_path / "d", ["good film " * 200, "good film"])
    found, problems = measured(folder, PLAN, tiny), preflight(folder, PLAN, tiny)
    assert causes(problems) == ["too_long"] and found.unfit["too_long"] == found.unfit["without_loss"] == 1
    assert f"1 of 2 rows are longer than max_length 256; the longest has {found.longest} tokens" in (
        problems[0].message
    )
    assert preflight(folder, PLAN.with_stage(max_length=found.longest), tiny) == []


def test_every_answer_ends(tiny: Path, tmp_path: Path) -> None:
    """Where the chat template writes no end of the turn, the end-of-sequence token follows the answer."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny)
    end = tokenizer.eos_token
    endless = without(tiny, tmp_path / "endless", lambda template: template.replace(end, ""))
    folder = data(tmp_path / "d", ["good", "fine"])
    assert preflight(folder, PLAN, endless) == []
    for model in (tiny, endless):
        [row, _] = rendered_rows(folder, model, list(read_jsonl(folder / "train.jsonl")))
        assert row is not None
        taught = [token for token, is_answer in zip(row.ids, row.answer, strict=True) if is_answer]
        assert tokenizer.convert_ids_to_tokens(taught)[:2] == ["positive", end]


def test_too_little_disk_is_a_problem(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = data(tmp_path / "d", ["good", "fine"])
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(preflight_module.shutil, "disk_usage", lambda _: usage._replace(free=2**20))
    problems = preflight(folder, PLAN, tiny)
    assert causes(problems) == ["disk_full"] and "1 MiB are free" in problems[0].message


def test_layers_that_the_model_has_not_are_a_problem(tiny: Path, tmp_path: Path) -> None:
    folder, model = data(tmp_path / "d", ["good", "fine"]), write_model("gpt2", tiny, tmp_path / "gpt2")
    for targets, says in (
        ("all-linear", None),
        (("c_attn",), None),
        (("q_proj",), "its linear layers are c_attn"),
    ):
        problems = preflight(folder, PLAN.with_weights(targets=targets), model)
        assert causes(problems) == ([] if says is None else ["base_model"])
        assert says is None or says in problems[0].message


def test_rows_beyond_an_embedding_of_positions_are_a_problem(tiny: Path, tmp_path: Path) -> None:
    """Rotary positions have no end, so that only `max_length` limits a Llama."""
    folder = data(tmp_path / "d", ["good film " * 40, "good film"])
    gpt2 = write_model("gpt2", tiny, tmp_path / "gpt2", n_positions=64)
    llama = write_model("llama", tiny, tmp_path / "llama", max_position_embeddings=64)
    [problem] = preflight(folder, PLAN, gpt2)
    assert problem.cause == "base_model" and "the base model reads at most 64: filter long" in problem.message
    assert preflight(folder, PLAN, llama) == []


def test_more_adapted_weights_need_more_disk(tiny: Path) -> None:
    plans = [PLAN.with_weights(rank=rank) for rank in (4, 8)]
    small, large = (LORA.disk_bytes(plan.weights, tiny) for plan in plans)
    assert large == 2 * small > 0


def test_a_large_data_set_is_sampled_with_its_longest_rows(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompt_completion, "MAX_MEASURED", 20)
    monkeypatch.setattr(prompt_completion, "_LONGEST", 5)
    texts = [f"film {n}" for n in range(300)]
    texts[111] = "film " * 500
    found = measured(data(tmp_path / "d", texts), PLAN, tiny)
    assert found.measured_rows == 20 and found.unfit["too_long"] == 1 and found.longest > 500
    assert "1 of 20 rows looked at are longer" in found.problems[0].message


def test_a_model_without_a_chat_template_gets_plain_text(tiny: Path, tmp_path: Path) -> None:
    folder = data(tmp_path / "d", ["good"])
    base = without(tiny, tmp_path / "a", lambda _: None)
    assert preflight(folder, PLAN, base) == []
    assert 0 < measured(folder, PLAN, base).longest < measured(folder, PLAN, tiny).longest


def test_a_template_that_renders_no_row_is_refused(tiny: Path, tmp_path: Path) -> None:
    folder = data(tmp_path / "d", ["good"])
    with pytest.raises(InputError, match="cannot render the conversation: no"):
        preflight(folder, PLAN, without(tiny, tmp_path / "b", lambda _: "{{ raise_exception('no') }}"))


def test_a_row_that_the_template_refuses_costs_the_row(tiny: Path, tmp_path: Path) -> None:
    refusing = "{% if 'secret' in messages[0]['content'] %}{{ raise_exception('no') }}{% endif %}"
    picky = without(tiny, tmp_path / "picky", lambda template: refusing + template)
    folder = data(tmp_path / "d", ["good", "secret", "fine"])
    assert measured(folder, PLAN, picky).unfit["not_rendered"] == 1
    assert preflight(folder, PLAN, picky) == []
    with pytest.raises(InputError, match="cannot render"):
        preflight(data(tmp_path / "e", ["secret", "secret two"]), PLAN, picky)
