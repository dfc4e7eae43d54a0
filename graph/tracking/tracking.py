"""What is told to a tracker of an experiment that has ended."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...files import fingerprint
from ...training.jobs.trial_folder import TrialFolder, read_result
from ..run.directory import RunDirectory
from ..tree.experiment import Experiment, TrialRecord
from .trackers import TrackedTrial, Tracker, open_tracker

_LOG = logging.getLogger("trex")


@dataclass(frozen=True)
class Tracking:
    """Tells a tracker the trials of a run; `name` is the tracker's, `thread` and `trials` are the run's."""

    name: str
    tracker: Tracker
    run: str
    thread: str
    trials: Path

    def tell(self, experiment: Experiment) -> None:
        """Write the trials of an experiment that has ended. A tracker that fails costs a warning, not the run."""
        for trial in tracked(self.run, self.thread, experiment, self.trials):
            try:
                self.tracker.write(trial)
            except Exception as error:  # whatever a library, a server or a full disk raises
                text = " ".join(str(error).split())[:300]
                _LOG.warning("%s did not take %s: %s: %s", self.name, trial.name, type(error).__name__, text)
                return


def open_tracking(name: str, directory: RunDirectory) -> Tracking | None:
    """What tells the tracker of that name; None for no name. Raises InputError as `open_tracker`."""
    if not name:
        return None
    tracker, thread = open_tracker(name, directory.path), directory.settings().thread_id
    return Tracking(name, tracker, directory.path.name, thread, directory.trials)


def tracked(run: str, thread: str, experiment: Experiment, trials: Path) -> Iterator[TrackedTrial]:
    """The trials of an experiment that were trained; `run` is the name of its folder, `thread` the run's own."""
    for trial in experiment.trials:
        if trial.id and trial.rung >= 0:
            yield TrackedTrial(
                run=run,
                node=experiment.id,
                name=f"{run}/{experiment.id}/{trial.index}",
                key=fingerprint([thread, experiment.id, trial.index]),
                tags=_tags(run, experiment, trial) | {"thread": thread},
                settings={name: str(value) for name, value in trial.training.effective().items()},
                series=_series(experiment, trial, trials),
            )


def _tags(run: str, experiment: Experiment, trial: TrialRecord) -> dict[str, str]:
    plan = experiment.tried_plan
    return {
        "run": run,
        "node": experiment.id,
        "parent": experiment.parent_id or "",
        "direction": plan.direction if plan else "",
        "trial": trial.id,
        "status": trial.status,
        "best": str(trial.id == experiment.best_trial),
    }


def _series(experiment: Experiment, trial: TrialRecord, trials: Path) -> dict[str, list[tuple[int, float]]]:
    """Loss by step as the job left it, the score at the end of each rung, and the method's own figures at the last."""
    result = read_result(TrialFolder(trials / trial.id).rung(trial.rung) / "result.json")
    series = {"loss": result.curve if result else trial.curve}
    metric = experiment.score.name if experiment.score else "score"
    series[metric] = [(step, value) for step, value, _ in trial.scored]
    for name, value in (result.figures if result else {}).items():
        series[name] = [(trial.step, value)]
    return series
