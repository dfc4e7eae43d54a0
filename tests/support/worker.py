"""A data set and a trial on the tiny model, to train in a second."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from trex.files import read_jsonl, write_json
from trex.training.data.build import BuildReport, BuiltDataset
from trex.training.data.render import Contents
from trex.training.jobs.identity import make_trial
from trex.training.jobs.job import StartWeights, Trial
from trex.training.jobs.stage_run import StageRun
from trex.training.methods import method_of
from trex.training.methods.protocol import RowSchema
from trex.training.plan import TrainingPlan

WORDS = ["good", "bad", "film", "plot", "a", "the", "very", "is", "was", "and", "of"]


def make_rows(count: int) -> list[dict[str, object]]:
    """Rows of different lengths with a learnable answer, and a column the worker must ignore."""
    rows: list[dict[str, object]] = []
    for i in range(count):
        words = [WORDS[(i * 7 + j * 3) % len(WORDS)] for j in range(3 + i % 9)]
        words.insert(1, "bright" if i % 2 else "dull")
        label = "positive" if i % 2 else "negative"
        rows.append(
            {
                "prompt": [{"role": "user", "content": " ".join(words)}],
                "completion": [{"role": "assistant", "content": label}],
                "source": "made",
            }
        )
    return rows


def pair_rows(count: int) -> list[dict[str, object]]:
    """Rows whose worse answer is the other one, and longer."""
    rows = make_rows(count)
    for place, row in enumerate(rows):
        worse = "negative" if place % 2 else "positive of the film"
        row["rejected"] = [{"role": "assistant", "content": worse}]
    return rows


def write_rows(folder: Path, rows: list[dict[str, object]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def built(folder: Path, rows: int) -> BuiltDataset:
    """A data set of which only the number of rows is known."""
    contents = Contents.model_construct(rows=rows)
    return BuiltDataset(folder, f"data-{rows}", BuildReport.model_construct(contents=contents))


def trial_of(
    model: Path,
    dataset: Path,
    plan: TrainingPlan,
    rows: int = 40,
    seed: int = 3,
    start: StartWeights | None = None,
) -> Trial:
    data = [built(dataset, rows)] * len(plan.stages)
    return make_trial(plan, model, "model-hash", data, seed, threads=1, start=start)


def rows_of(schema: RowSchema, count: int) -> list[dict[str, object]]:
    """Rows that methods with this schema train on."""
    rows = pair_rows(count)
    for place, row in enumerate(rows):
        if schema == "unpaired_preference":
            row["desirable"] = place % 3 > 0
        elif schema == "plain_text":
            row["prompt"] = []
    return rows


def dataset_of(schema: RowSchema, folder: Path, count: int = 40) -> Path:
    """A data set of such rows, scored by accuracy."""
    rows = [row | {"source": {"id": place}} for place, row in enumerate(rows_of(schema, count))]
    dataset = write_rows(folder, rows)
    write_json(dataset / "scoring.json", {"metric": "accuracy"})
    return dataset


def prepared(tiny: Path, dataset: Path, folder: Path, stage: dict[str, Any], kind: str = "lora") -> Any:
    """The trainer of a stage, as the worker makes it."""
    plan = TrainingPlan.model_validate({"weights": {"kind": kind}, "stages": [stage]})
    rows = sum(1 for _ in read_jsonl(dataset / "train.jsonl"))
    trial = trial_of(tiny, dataset, plan, rows)
    session: Any = SimpleNamespace(job=SimpleNamespace(trial=trial), update=lambda **fields: None)
    module = method_of(plan.stage).trainer.partition(":")[0]
    run = StageRun(session, plan.stage, trial.stage_data[0], folder, 2)
    trainer = import_module(module).prepare(run).trainer
    trainer.current_gradient_accumulation_steps = 1
    trainer.run = run
    return trainer


def disturb(model: Any, scale: float, seed: int = 1) -> None:
    """Give a new adapter weights that change the model."""
    import torch

    torch.manual_seed(seed)
    for name, weights in model.named_parameters():
        if ".default." in name and "lora_B" in name:
            weights.data.normal_(0, scale)


def plain_models(tiny: Path, model: Any) -> tuple[Any, Any]:
    """The model with its adapter merged, and the base model, both without TRL's changes."""
    import copy

    import torch
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32).eval()
    merged = copy.deepcopy(base)
    merged.load_state_dict(model.merge_and_unload(adapter_names=["default"]).state_dict())
    return merged, base


def log_probabilities(model: Any, ids: Any, attention: Any, temperature: float = 1.0) -> Any:
    """Of each token after the first, in plain torch."""
    logits = model(input_ids=ids, attention_mask=attention).logits[:, :-1] / temperature
    return logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
