"""How the graph's nodes follow a person's requests: stop trials, refine a chosen experiment."""

from __future__ import annotations

from collections.abc import Callable

from ...errors import InputError, Interrupted
from ..run.runtime import Runtime
from ..tree.experiment import TrialRecord
from ..tree.policies.protocol import refinable
from ..tree.tree import Tree
from .control import Control

STOPPED = "stopped by a person"


def stopped(trial: TrialRecord) -> TrialRecord:
    """The trial as it ends when a person stops the run: its last finished rung counts."""
    if trial.status not in ("planned", "running"):
        return trial
    return trial.model_copy(update={"status": "stopped", "message": STOPPED})


def unless_stopped(work: Callable[[], TrialRecord], planned: TrialRecord, control: Control) -> TrialRecord:
    """The trial after `work`; as it was before, stopped, if a person asks for the end at once meanwhile.

    The runtime cancels what trains. Raises Interrupted if the run is interrupted for another reason.
    """
    if control.stops_now():
        return stopped(planned)
    try:
        return work()
    except Interrupted:
        if control.stops_now():
            return stopped(planned)
        raise


def chosen_by_person(runtime: Runtime, tree: Tree, chosen: str) -> str | None:
    """The experiment a person chose to refine next, None if they did not.

    Raises InputError for one that cannot be refined, and for a run whose end is written: it has opened its
    test split, and its thread may only have been taken back to an earlier step.
    """
    if runtime.directory.finish.exists():
        raise InputError(
            f"the run in {runtime.directory.path} is done, its test split was opened: continue from one "
            f"of its experiments with `trex fork {runtime.directory.path} EXPERIMENT`"
        )
    if chosen:
        check_refinable(tree, chosen)
    return chosen or None


def check_refinable(tree: Tree, experiment: str) -> None:
    """Raises InputError unless that experiment can be refined: it is done and has a score."""
    known = [each.id for each in refinable(tree)]
    if experiment not in known:
        what = "has no score" if experiment in tree else "is not in the tree"
        raise InputError(f"experiment {experiment!r} {what}: choose one of {', '.join(known)}")
