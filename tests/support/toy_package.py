"""A package outside of the repository that adds a training method and a kind of weights by entry points."""

from __future__ import annotations

from pathlib import Path

METHODS = '''
"""The method `count`: every row adds one to a number."""

from typing import Literal

from pydantic import Field
from trex.errors import PlanError
from trex.files import read_jsonl
from trex.training.methods.protocol import RowMeasurement, Stage, StageRepair


class CountStage(Stage):
    """Counts rows."""

    method: Literal["count"] = "count"
    size: int = Field(default=8, ge=1, le=64, description="Rows of one step")
    epochs: float = Field(default=1.0, gt=0, le=9, description="Passes over the data set")


class Count:
    name = "count"
    stage = CountStage
    row_schema = "prompt_completion"
    trainer = "toy_trex.trainer:train"
    search_space = {"size": (1, 64)}
    repairable = {"size": "down"}

    def total_steps(self, stage, rows):
        return max(1, round(-(-rows // stage.size) * stage.epochs))

    def rows_per_step(self, stage):
        return stage.size

    def measure(self, stage, dataset, base_model):
        lengths = [len(str(row).split()) for row in read_jsonl(dataset / "train.jsonl")]
        return RowMeasurement(len(lengths), max(lengths))

    def plan_faults(self, stage, contents, examples):
        return ["too many rows"] if contents.rows * stage.epochs > examples else []

    def effective(self, stage):
        return stage.model_dump()

    def repair(self, stage, cause):
        if cause != "out_of_memory" or stage.size == 1:
            return None
        return StageRepair(stage.model_copy(update={"size": stage.size // 2}), "fewer rows a step")

    def adjusted(self, stage, changes):
        if changes.get("size", stage.size) > stage.size:
            raise PlanError("size may only go down")
        return stage.model_copy(update=dict(changes))


COUNT = Count()
'''
WEIGHTS = '''
"""The kind of weights `number`: one number in a JSON file."""

import shutil
from typing import Literal

from pydantic import Field
from trex.errors import IntegrityError
from trex.files import read_json, write_json
from trex.training.weights.protocol import WeightsSettings


class NumberWeights(WeightsSettings):
    """A number."""

    kind: Literal["number"] = "number"
    start: int = Field(default=0, ge=0, le=9, description="Where the number begins")


class Number:
    kind = "number"
    settings = NumberWeights
    may_change = frozenset()

    def describe(self, settings):
        return f"a number from {settings.start}"

    def effective(self, settings):
        return settings.model_dump()

    def make(self, settings, base, seed):
        return {"value": settings.start + seed}

    def load(self, model, folder):
        model.update(read_json(folder / "number.json"))

    def save(self, model, folder, state_dict=None):
        write_json(folder / "number.json", model)

    def export(self, checkpoint, target, base_model):
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        write_json(target / "number.json", read_json(checkpoint / "number.json"))

    def verify(self, folder):
        if not (folder / "number.json").is_file():
            raise IntegrityError(f"{folder} contains no number")

    def disk_bytes(self, settings, base_model):
        return 100


NUMBER = Number()
'''
TRAINER = """
from trex.sealed_folder import seal
from trex.training.weights import weights_of


def train(run):
    run.update(state="training", step=0)
    run.checkpoint.mkdir()
    weights = weights_of(run.trial.plan.weights)
    weights.save(weights.make(run.trial.plan.weights, None, run.trial.seed), run.checkpoint)
    seal(run.checkpoint)
    return {"curve": [(1, 1.0), (run.stop_step, 0.5)], "train_loss": 0.5}
"""
ENTRY_POINTS = """[trex.methods]
count = toy_trex.methods:COUNT

[trex.weights]
number = toy_trex.weights:NUMBER
"""


def write_toy_package(folder: Path) -> Path:
    """Install the package into `folder`/site-packages; the folder to put on the path."""
    place = folder / "site-packages"
    package, info = place / "toy_trex", place / "toy_trex-1.0.dist-info"
    package.mkdir(parents=True)
    info.mkdir()
    for name, text in (("__init__", ""), ("methods", METHODS), ("weights", WEIGHTS), ("trainer", TRAINER)):
        (package / f"{name}.py").write_text(text)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-trex\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return place
