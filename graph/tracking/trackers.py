"""The trackers by name, and what each of them is told of a trial."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from ...errors import InputError

PROJECT = "trex"


@dataclass(frozen=True)
class TrackedTrial:
    """A trial as a tracker shows it."""

    run: str
    node: str
    name: str
    """'RUN/NODE/NUMBER', the same whenever the trial is told again; runs in other folders may have it too."""
    key: str
    """The trial of this run and no other, in hex digits, the same whenever it is told again."""
    tags: dict[str, str]
    settings: dict[str, str]
    series: dict[str, list[tuple[int, float]]]
    """Values by step, by name."""


class Tracker(Protocol):
    """Takes trials. A node of the graph that is repeated after a crash tells its trials again."""

    def write(self, trial: TrackedTrial) -> None:
        """Take a trial that has ended. Raises whatever its library raises."""


class TensorBoardTracker:
    """Event files in `RUN/tracking/tensorboard`: `tensorboard --logdir` shows them."""

    def __init__(self, directory: Path) -> None:
        self._folder = directory / "tracking" / "tensorboard"

    def write(self, trial: TrackedTrial) -> None:
        """See `Tracker`."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.text.summary_v2 import text_pb
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        folder = self._folder / trial.name.replace("/", "-")
        shutil.rmtree(folder, ignore_errors=True)
        writer = EventFileWriter(str(folder))
        about = "\n".join(f"- {name}: {value}" for name, value in (trial.tags | trial.settings).items())
        writer.add_event(Event(step=0, summary=text_pb("trial", about)))
        for name, points in trial.series.items():
            for step, value in points:
                summary = Summary(value=[Summary.Value(tag=name, simple_value=value)])
                writer.add_event(Event(step=step, summary=summary))
        writer.close()


class MlflowTracker:
    """An MLflow run for each trial, on MLFLOW_TRACKING_URI or in `RUN/tracking/mlflow`."""

    def __init__(self, directory: Path) -> None:
        self._folder = directory / "tracking" / "mlflow"

    def write(self, trial: TrackedTrial) -> None:
        """See `Tracker`."""
        from mlflow.tracking import MlflowClient

        uri = os.environ.get("MLFLOW_TRACKING_URI", "")
        if not uri:
            os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"  # MLflow asks for consent to a plain folder
            uri = self._folder.absolute().as_uri()
        client = MlflowClient(uri)
        known = client.get_experiment_by_name(PROJECT)
        project = known.experiment_id if known else client.create_experiment(PROJECT)
        for earlier in client.search_runs([project], f"tags.`trex.key` = '{trial.key}'"):
            client.delete_run(earlier.info.run_id)
        tags = {f"trex.{name}": value for name, value in trial.tags.items()}
        tags |= {"trex.name": trial.name, "trex.key": trial.key}
        run = client.create_run(project, tags=tags, run_name=trial.name).info.run_id
        for name, value in trial.settings.items():
            client.log_param(run, name, value[:500])
        for name, points in trial.series.items():
            for step, number in points:
                client.log_metric(run, name, number, step=step)
        client.set_terminated(run)


class WandbTracker:
    """A run of Weights & Biases for each trial, by its own settings (WANDB_…)."""

    def __init__(self, directory: Path) -> None:
        self._folder = directory / "tracking"

    def write(self, trial: TrackedTrial) -> None:
        """See `Tracker`."""
        import wandb

        self._folder.mkdir(exist_ok=True)
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            group=trial.run,
            name=trial.name,
            id=trial.key,
            resume="allow",  # a trial that is told again is left as it is
            tags=[f"{name}:{value}"[:64] for name, value in trial.tags.items()],
            config=trial.settings,
            dir=str(self._folder),
            reinit="create_new",
        )
        for step, values in by_step(trial):
            run.log(values, step=step)
        run.finish()


class TrackioTracker:
    """A run of Trackio for each trial, in its own folder (TRACKIO_DIR)."""

    def __init__(self, directory: Path) -> None:
        pass

    def write(self, trial: TrackedTrial) -> None:
        """See `Tracker`."""
        import trackio

        trackio.init(project=PROJECT, group=trial.run, name=trial.name, config=trial.tags | trial.settings)
        for step, values in by_step(trial):
            trackio.log(values, step=step)
        trackio.finish()


def by_step(trial: TrackedTrial) -> list[tuple[int, dict[str, float]]]:
    """The values of all series of each step, in the order of steps."""
    steps: dict[int, dict[str, float]] = {}
    for name, points in trial.series.items():
        for step, value in points:
            steps.setdefault(step, {})[name] = value
    return sorted(steps.items())


TRACKERS: dict[str, Callable[[Path], Tracker]] = {
    "tensorboard": TensorBoardTracker,
    "mlflow": MlflowTracker,
    "wandb": WandbTracker,
    "trackio": TrackioTracker,
}


def open_tracker(name: str, directory: Path) -> Tracker:
    """The tracker of that name for a run. Raises InputError for an unknown one, or if its package is not installed."""
    if name not in TRACKERS:
        raise InputError(f"no tracker {name!r}: there are {', '.join(TRACKERS)}")
    if find_spec(name) is None:
        raise InputError(f"--track {name} needs a package: pip install 'trex-finetune[{name}]'")
    return TRACKERS[name](directory)
