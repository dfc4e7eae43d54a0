"""Tasks, rows and recipes for the tests of data sets."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from trex.evaluation.task import Prompt, Source, Task
from trex.files import write_jsonl
from trex.training.data.operators.protocol import Operator, OperatorContext
from trex.training.data.operators.threshold import Threshold
from trex.training.data.recipe import DataRecipe, Stream
from trex.training.data.row_table import KEY, STREAM, as_dataset
from trex.training.data.sources import row_key

from support.text_models import ToyModel, toy_models

Rows = list[dict[str, Any]]
MakeTask = Callable[..., Task]

WORDS = ["good", "bad", "dull", "bright", "slow", "warm"]
LABEL = Threshold(column="rating", below=-0.5, above=0.5)


def dataset(rows: Rows, stream: str = "movies") -> Any:
    """Rows as operators see them."""
    import pyarrow as pa

    return as_dataset(pa.Table.from_pylist([{**row, KEY: row_key(row), STREAM: stream} for row in rows]))


def apply(step: Operator, rows: Any, scope: Literal["stream", "mix"] = "stream") -> Any:
    """The rows after a step. A model gives each row's score by its length."""
    if step.model_choice() is None:
        return step.run(rows, OperatorContext(scope))
    with TemporaryDirectory() as name:
        task = task_in(Path(name))(movies=[{"text": "a", "label": "b"}])
        model = ToyModel(lambda asked, number: str(len(asked) % 10 + 1))
        models = toy_models(task, Path(name), model)
        return step.run(rows, OperatorContext(scope, task=task, models=models))


def reviews(n: int, seed: int = 0) -> Rows:
    """Different texts with ratings from -4 to 4."""
    rng = random.Random(seed)
    return [
        {"id": i, "rating": round(rng.uniform(-4, 4), 2), "text": f"{i} " + " ".join(rng.choices(WORDS, k=5))}
        for i in range(n)
    ]


def recipe(*steps: Any, **fields: Any) -> DataRecipe:
    """A recipe of one stream, the source 'movies'."""
    return DataRecipe(streams=(Stream(source="movies", steps=steps),), **fields)


def task_in(folder: Path) -> MakeTask:
    """Makes tasks whose sources are rows, written to that folder, or paths."""

    def make(**sources: Rows | Path | str) -> Task:
        write_jsonl(folder / "dev.jsonl", [{"text": "a dev item", "label": "positive"}])
        write_jsonl(folder / "test.jsonl", [{"text": "a test item", "label": "negative"}])
        listed = []
        for name, rows in sources.items():
            path = folder / f"{name}.jsonl"
            if isinstance(rows, list):
                write_jsonl(path, rows)
            listed.append(Source(name=name, path=str(path if isinstance(rows, list) else rows)))
        return Task(
            name="reviews",
            requirement="Tell good reviews from bad ones.",
            sources=listed,
            dev=folder / "dev.jsonl",
            test=folder / "test.jsonl",
            prompt=Prompt(user="Positive or negative?\n{text}", answer="{label}"),
            rating_column="rating",
        )

    return make
