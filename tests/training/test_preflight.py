"""Preflight: the counts TRL would meet, and the problems with their causes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.plans import training_plan
from trex.errors import InputError
from trex.evaluation.base_models import resolve_model
from trex.files import write_jsonl
from trex.training import preflight as preflight_module
from trex.training.methods import prompt_completion
from trex.training.preflight import Limits, preflight

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


def causes(report: preflight_module.Preflight) -> list[str]:
    return [problem.cause for problem in report.problems]


def test_a_sound_data_set_has_no_problems(tiny: Path, tmp_path: Path) -> None:
    texts = [f"a film number {n}" for n in range(10)]
    report = preflight(data(tmp_path / "d", texts), PLAN, tiny, Limits(tokens_per_second=100))
    assert report.problems == [] and not report.sampled
    assert (report.rows, report.measured_rows, report.steps) == (10, 10, 3)
    assert 0 < report.tokens.p50 <= report.tokens.p95 <= report.tokens.max
    assert report.seconds == pytest.approx(3 * 4 * report.tokens.mean / 100, rel=0.01)
    assert 0 < report.disk_bytes < report.disk_free_bytes


def test_the_counts_are_those_of_trl(tiny: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = data(tmp_path / "d", ["bad", "a slow, dull film with a bright end"])
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    totals = [len(tokenizer.apply_chat_template(r["prompt"] + r["completion"])["input_ids"]) for r in rows]
    prompts = [
        len(tokenizer.apply_chat_template(r["prompt"], add_generation_prompt=True)["input_ids"]) for r in rows
    ]
    report = preflight(folder, PLAN, tiny)
    assert (report.tokens.p50, report.tokens.max) == (min(totals), max(totals))
    between = PLAN.with_stage(max_length=max(prompts))
    assert preflight(folder, between, tiny).unfit["without_loss"] == 1
    longer = between.with_stage(max_length=max(prompts) + 1)
    assert preflight(folder, longer, tiny).unfit["without_loss"] == 0


def test_long_rows_are_a_problem(tiny: Path, tmp_path: Path) -> None:
    folder = data(tmp_path / "d", ["good film " * 200, "good film"])
    report = preflight(folder, PLAN, tiny)
    assert causes(report) == ["too_long"] and report.unfit["too_long"] == report.unfit["without_loss"] == 1
    assert f"1 of 2 rows are longer than max_length 256; the longest has {report.tokens.max} tokens" in (
        report.problems[0].message
    )
    longer = PLAN.with_stage(max_length=report.tokens.max)
    assert preflight(folder, longer, tiny).problems == []


def test_answers_that_do_not_end_are_a_problem(tiny: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    end = AutoTokenizer.from_pretrained(tiny).eos_token
    endless = without(tiny, tmp_path / "endless", lambda template: template.replace(end, ""))
    folder = data(tmp_path / "d", ["good", "fine"])
    report = preflight(folder, PLAN, endless)
    assert causes(report) == ["no_eos"] and report.unfit["without_eos"] == 2
    appended = preflight(folder, PLAN.with_stage(append_eos=True), endless)
    assert appended.problems == [] and appended.tokens.max == report.tokens.max + 1


def test_time_and_disk_are_problems(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = data(tmp_path / "d", ["good", "fine"])
    limits = Limits(seconds=1, tokens_per_second=1, folder=tmp_path / "not" / "yet")
    monkeypatch.setattr(preflight_module, "_free_bytes", lambda _: 2**20)
    report = preflight(folder, PLAN, tiny, limits)
    assert causes(report) == ["timeout", "disk_full"]
    assert "1 MiB are free" in report.problems[1].message


def test_more_adapted_weights_need_more_disk(tiny: Path, tmp_path: Path) -> None:
    folder = data(tmp_path / "d", ["good"])
    plans = [PLAN.with_weights(rank=rank) for rank in (4, 8)]
    small, large = (preflight(folder, plan, tiny).disk_bytes for plan in plans)
    assert large - preflight_module._FIXED_BYTES == 2 * (small - preflight_module._FIXED_BYTES)


def test_a_large_data_set_is_sampled_with_its_longest_rows(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompt_completion, "MAX_MEASURED", 20)
    monkeypatch.setattr(prompt_completion, "_LONGEST", 5)
    texts = [f"film {n}" for n in range(300)]
    texts[111] = "film " * 500
    report = preflight(data(tmp_path / "d", texts), PLAN, tiny)
    assert report.sampled and (report.rows, report.measured_rows) == (300, 20)
    assert report.unfit["too_long"] == 1 and report.tokens.max > 500 > report.tokens.p95
    assert "1 of 20 rows looked at are longer" in report.problems[0].message


def test_a_model_without_a_chat_template_is_refused(tiny: Path, tmp_path: Path) -> None:
    folder = data(tmp_path / "d", ["good"])
    with pytest.raises(InputError, match="has no chat template"):
        preflight(folder, PLAN, without(tiny, tmp_path / "a", lambda _: None))
    with pytest.raises(InputError, match="cannot render the rows: no"):
        preflight(folder, PLAN, without(tiny, tmp_path / "b", lambda _: "{{ raise_exception('no') }}"))
