"""The trials that a trial's weights come from, each of which continued from the one before."""

from __future__ import annotations

from typing import NamedTuple

from ...errors import IntegrityError
from ..tree.experiment import Experiment, TrialRecord
from ..tree.tree import Tree


class Link(NamedTuple):
    """A trial, and the experiment it belongs to."""

    experiment: Experiment
    trial: TrialRecord


def training_chain(tree: Tree, experiment: Experiment, trial: TrialRecord) -> list[Link]:
    """The trial, the one that it continues from, and so on to the one that started from the base model.

    Raises IntegrityError if the tree has lost one of them.
    """
    known = {trial.id: Link(each, trial) for each in tree for trial in each.trials if trial.evaluation}
    chain = [Link(experiment, trial)]
    while (start := chain[-1].trial.start) is not None:
        if start.trial not in known:
            raise IntegrityError(f"the tree has lost the trial {start.trial} that {trial.id} continues from")
        chain.append(known[start.trial])
    return chain
