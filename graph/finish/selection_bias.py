"""Correction for selecting the best of many configurations on the items that its score is reported on."""

from __future__ import annotations

from ...errors import TrexError
from ...evaluation.failures.analysis import measured_of, read_predictions
from ...evaluation.metrics import Measured, metric
from ...evaluation.results import Evaluation
from ...evaluation.statistics.best_of_many import improvement_measured
from ..run.runtime import Runtime
from ..tree.tree import Tree
from .finish_record import SelectionBias


def estimate_selection_bias(runtime: Runtime, tree: Tree) -> SelectionBias | None:
    """The best configuration on `search` against the base model, corrected for the number of candidates.

    Configurations count if they were evaluated on all items; those that ended on an earlier rung were never
    candidates. None without any, and for a metric whose best of many can't be tested.
    """
    root = tree.root.evaluation
    if root is None:
        return None
    evaluations = [trial.evaluation for e in tree for trial in e.trials if trial.evaluation is not None]
    candidates = {each.id: each for each in evaluations if each.score.n == root.score.n}
    if not candidates:
        return None

    def measured(evaluation: Evaluation) -> Measured:
        return measured_of(read_predictions(runtime.directory.path, evaluation))

    try:
        found = improvement_measured(
            metric(runtime.task.metric), measured(root), [measured(each) for each in candidates.values()]
        )
    except TrexError:
        return None
    return SelectionBias(
        gain=found.gain, at_least=found.at_least, p_value=found.p_value, candidates=found.candidates
    )
