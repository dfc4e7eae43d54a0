"""A data set and a trial on the tiny model, to train in a second."""

from __future__ import annotations

import json
from pathlib import Path

from trex.training.data.build import BuildReport, BuiltDataset
from trex.training.data.render import Contents
from trex.training.jobs.identity import make_trial
from trex.training.jobs.job import Trial
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


def trial_of(model: Path, dataset: Path, plan: TrainingPlan, rows: int = 40, seed: int = 3) -> Trial:
    return make_trial(plan, model, "model-hash", [built(dataset, rows)] * len(plan.stages), seed, threads=1)
