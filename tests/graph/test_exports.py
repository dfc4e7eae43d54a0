"""`trex export`: each form on the tiny model, checked against the weights that it is made from."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Template
from support.cli import caller
from support.finished import copy_of
from support.jobs import quiet
from support.launchers import local_runner
from support.worker import pair_rows, trial_of, write_rows
from trex import Run
from trex.errors import InputError, IntegrityError
from trex.evaluation.base_models import resolve_model
from trex.evaluation.rendering import open_renderer
from trex.files import read_json, read_jsonl, read_yaml
from trex.ftbench.tasks.sentiment import load
from trex.graph.exports import FORMATS, export_winner, merged, trl_script
from trex.graph.exports.merged import write_merged, write_peft
from trex.graph.exports.ollama import go_template, write_gguf, write_ollama
from trex.graph.exports.other_tools import write_axolotl, write_llamafactory
from trex.graph.exports.trl_script import write_trl_script
from trex.graph.exports.winner_files import WinnerFiles
from trex.training.jobs.job import Job
from trex.training.plan import TrainingPlan

SFT: dict[str, Any] = {"method": "sft", "max_steps": 8, "batch_size": 4, "gradient_accumulation": 2}
AXOLOTL = {
    "base_model", "datasets", "chat_template", "sequence_len", "sample_packing", "val_set_size", "micro_batch_size",
    "gradient_accumulation_steps", "max_steps", "optimizer", "lr_scheduler", "learning_rate", "warmup_steps",
    "weight_decay", "max_grad_norm", "seed", "bf16", "output_dir", "adapter", "lora_r", "lora_alpha", "lora_dropout",
    "lora_target_modules", "lora_model_dir", "train_on_inputs", "neftune_noise_alpha", "rl", "rl_beta",
}  # fmt: skip
LLAMAFACTORY = {
    "model_name_or_path", "stage", "do_train", "finetuning_type", "dataset_dir", "dataset", "template", "cutoff_len",
    "per_device_train_batch_size", "gradient_accumulation_steps", "max_steps", "lr_scheduler_type", "learning_rate",
    "warmup_steps", "weight_decay", "max_grad_norm", "seed", "report_to", "output_dir", "lora_rank", "lora_alpha",
    "lora_dropout", "lora_target", "adapter_name_or_path", "neftune_noise_alpha", "pref_beta", "pref_loss",
}  # fmt: skip
"""Keys of the tools' own schemas (axolotl's `utils/schemas`, LLaMA-Factory's `hparams` and `TrainingArguments`)."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREX_HOME", str(tmp_path_factory.mktemp("home")))
        yield


def trained(folder: Path, kind: str, *stages: dict[str, Any], stop: int | None = None) -> WinnerFiles:
    """A winner of two stages on the tiny model, in float32, as a run leaves it."""
    dataset = write_rows(folder / "datasets" / "pairs", pair_rows(40))
    plan = TrainingPlan.model_validate({"weights": {"kind": kind}, "stages": stages})
    tiny = resolve_model("tiny")
    trial = trial_of(tiny, dataset, plan).model_copy(update={"dtype": "float32"})
    steps = stop or trial.total_steps
    job = Job(trial=trial, rung=0, stop_step=steps, folder=folder / "trials" / trial.id)
    runner = local_runner(1, command=None)
    try:
        runner.run(job, None, quiet)
    finally:
        runner.close()
    shutil.copytree(job.folder / "rungs" / "0" / "adapter", folder / "best" / "adapter")
    return WinnerFiles(folder, load(smoke=True).model_copy(update={"base_model": "tiny"}), (trial,), (steps,))


@pytest.fixture(scope="module")
def winner(home: None, tmp_path_factory: pytest.TempPathFactory) -> WinnerFiles:
    folder = tmp_path_factory.mktemp("winner")
    return trained(folder, "lora", SFT | {"learning_rate": 5e-3}, SFT | {"learning_rate": 2e-3}, stop=13)


@pytest.fixture(scope="module")
def whole(home: None, tmp_path_factory: pytest.TempPathFactory) -> WinnerFiles:
    return trained(tmp_path_factory.mktemp("whole"), "full", SFT | {"learning_rate": 1e-3})


def logits(model: Any) -> Any:
    import torch

    with torch.no_grad():
        return model(input_ids=torch.arange(5, 45).view(2, 20)).logits


def adapted(winner: WinnerFiles) -> Any:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(winner.base_model), winner.weights)


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_the_script_trains_the_same_weights_without_trex(
    winner: WinnerFiles, whole: WinnerFiles, tmp_path: Path, kind: str
) -> None:
    from safetensors.torch import load_file

    made = winner if kind == "lora" else whole
    write_trl_script(made, tmp_path)
    script = tmp_path / "train.py"
    assert len(script.read_text().splitlines()) < 100 and "trex" not in script.read_text().lower()
    program = (
        f"import sys, runpy; sys.modules['trex'] = None; runpy.run_path({str(script)!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-2000:]
    name = "adapter_model.safetensors" if kind == "lora" else "model.safetensors"
    ours, theirs = load_file(made.weights / name), load_file(tmp_path / "trained" / name)
    assert ours.keys() == theirs.keys()
    for key, weights in ours.items():
        assert (weights - theirs[key]).abs().max() < 1e-4, key
    if kind == "lora":
        assert any(weights.abs().max() > 1e-3 for key, weights in theirs.items() if "lora_B" in key)


def test_the_script_is_for_supervised_training(winner: WinnerFiles, tmp_path: Path) -> None:
    plan = TrainingPlan.model_validate({"stages": [{"method": "sft"}, {"method": "dpo"}]})
    [data] = [each.data for each in winner.stages()[:1]]
    trial = winner.trial.model_copy(update={"plan": plan, "later_stages": (data,), "total_steps": 16})
    with pytest.raises(InputError, match="trained with dpo too"):
        write_trl_script(WinnerFiles(winner.directory, winner.task, (trial,), (16,)), tmp_path)


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_a_merged_model_has_the_logits_of_base_and_adapter(
    winner: WinnerFiles, whole: WinnerFiles, tmp_path: Path, kind: str
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    [note] = write_merged(winner if kind == "lora" else whole, tmp_path)
    found = logits(AutoModelForCausalLM.from_pretrained(tmp_path).eval())
    if kind == "lora":
        assert (found - logits(adapted(winner).eval())).abs().max() < 1e-4
    base = AutoModelForCausalLM.from_pretrained(winner.base_model).eval()
    assert (found - logits(base)).abs().max() > 1e-2, "it is not the base model"
    assert len(AutoTokenizer.from_pretrained(tmp_path)) > 0 and "differ" in note


def test_a_merge_that_changes_the_logits_is_no_export(
    winner: WinnerFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import PeftModel

    monkeypatch.setattr(PeftModel, "merge_and_unload", lambda self: self.unload(), raising=False)
    with pytest.raises(IntegrityError, match="logits differ from the adapter's"):
        write_merged(winner, tmp_path)


def test_an_adapter_names_its_base_model(winner: WinnerFiles, whole: WinnerFiles, tmp_path: Path) -> None:
    from peft import AutoPeftModelForCausalLM

    write_peft(winner, tmp_path)
    found = AutoPeftModelForCausalLM.from_pretrained(tmp_path).eval()
    assert (logits(found) - logits(adapted(winner).eval())).abs().max() < 1e-6
    with pytest.raises(InputError, match="--to merged"):
        write_peft(whole, tmp_path)


def go(template: str, system: str, messages: list[dict[str, str]]) -> str:
    """What Ollama makes of a template of this form."""
    kinds: list[str] = []

    def jinja(match: re.Match[str]) -> str:
        word = match[1]
        if word.startswith(("if", "range")):
            kinds.append("if" if word.startswith("if") else "for")
        words = {"else": "{% else %}", ".System": "{{ system }}", ".Content": "{{ m.content }}"}
        words |= {"if .System": "{% if system %}", "range .Messages": "{% for m in messages %}"}
        if word == "end":
            return "{% endif %}" if kinds.pop() == "if" else "{% endfor %}"
        role = re.fullmatch(r'(else )?if eq \.Role "(\w+)"', word)
        if role is None:
            return words[word]
        return f"{{% {'elif' if role[1] else 'if'} m.role == '{role[2]}' %}}"

    text = re.sub(r"\{\{ (.*?) \}\}", jinja, template)
    return Template(text, keep_trailing_newline=True).render(system=system, messages=messages)


@pytest.mark.parametrize("system", ["", "Be brief."])
@pytest.mark.parametrize("turns", [1, 3])
def test_ollama_writes_prompts_as_the_renderer_does(winner: WinnerFiles, system: str, turns: int) -> None:
    renderer = open_renderer(winner.base_model, winner.task.rendering)
    roles = ["user", "assistant", "user"][:turns]
    messages = [{"role": role, "content": f"turn {place}"} for place, role in enumerate(roles)]
    start = [{"role": "system", "content": system}] if system else []
    [ids] = renderer.prompts([[*start, *messages]])
    assert go(go_template(renderer), system, messages) == renderer.text(ids)


def test_an_ollama_model(winner: WinnerFiles, tmp_path: Path) -> None:
    write_ollama(winner, tmp_path)
    text = (tmp_path / "Modelfile").read_text()
    assert text.startswith("FROM .\nTEMPLATE ") and "PARAMETER stop " in text
    assert f"PARAMETER num_predict {winner.task.generation.max_new_tokens}\n" in text
    assert (tmp_path / "model.safetensors").exists() and (tmp_path / "tokenizer.json").exists()


def test_gguf_needs_a_converter(winner: WinnerFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"convert_hf_to_gguf.py on the PATH"):
        write_gguf(winner, tmp_path)
    tool = tmp_path / "convert_hf_to_gguf.py"
    tool.write_text(f"#!{sys.executable}\nimport sys\nopen(sys.argv[3], 'w').write(sys.argv[1])\n")
    tool.chmod(0o755)
    write_gguf(winner, tmp_path)
    assert (tmp_path / "model.gguf").read_text() == str(tmp_path / "merged")


@pytest.mark.parametrize(("write", "keys"), [(write_axolotl, AXOLOTL), (write_llamafactory, LLAMAFACTORY)])
def test_configurations_of_other_tools_have_their_documented_keys(
    winner: WinnerFiles, tmp_path: Path, write: Any, keys: set[str]
) -> None:
    write(winner, tmp_path)
    first, second = (read_yaml(tmp_path / f"stage-{number}.yaml") for number in (0, 1))
    assert first.keys() | second.keys() <= keys
    assert (first["learning_rate"], second["learning_rate"]) == (5e-3, 2e-3)
    assert (first["max_steps"], second["max_steps"]) == (8, 5)
    rows = list(read_jsonl(tmp_path / "stage-0-rows.jsonl"))
    assert len(rows) == 40 and [turn["role"] for turn in rows[0]["messages"]] == ["user", "assistant"]
    targets = read_json(winner.weights / "adapter_config.json")["target_modules"]
    if write is write_axolotl:
        assert first["lora_target_modules"] == targets and second["lora_model_dir"] == first["output_dir"]
        assert first["datasets"][0]["path"] == str(tmp_path / "stage-0-rows.jsonl")
    else:
        assert (
            first["lora_target"] == ",".join(targets)
            and second["adapter_name_or_path"] == first["output_dir"]
        )
        info = read_json(tmp_path / "dataset_info.json")
        assert info[first["dataset"]]["file_name"] == "stage-0-rows.jsonl"


def test_the_command(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    trex, run = caller(monkeypatch, capfd), copy_of(finished, tmp_path / "run")
    trex("export", run, "--to", "tar").complains(2, "no export 'tar'", "trl-script")
    taken = tmp_path / "taken"
    taken.mkdir()
    trex("export", run, "--to", "axolotl", "--out", taken).complains(2, "is there already")
    shutil.rmtree(run / "best")
    trex("export", run, "--to", "axolotl").complains(2, "run without a winner")
    assert not (run / "exports").exists()


def test_every_form_is_known() -> None:
    assert list(FORMATS) == ["peft", "merged", "ollama", "gguf", "trl-script", "axolotl", "llamafactory"]
    assert merged.TOLERANCE <= 1e-3 and trl_script.warmup_steps(0.05, 24) == 2 and callable(export_winner)
