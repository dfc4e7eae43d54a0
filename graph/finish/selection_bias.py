"""What the choice among many configurations is worth: the search picked its best on the items that it reports."""

from __future__ import annotations

from ...errors import TrexError
from ...evaluation.failures.analysis import measured_of, read_predictions
from ...evaluation.metrics import Measured, metric
from ...evaluation.results import Evaluation
from ...evaluation.statistics.best_of_many import improvement_measured
from ..report.summary import SelectionBias
from ..run.runtime import Runtime
from ..tree.tree import Tree


def picked(runtime: Runtime, tree: Tree) -> SelectionBias | None:
    """The best configuration on `search` against the base model, corrected for the number it was picked from.

    Configurations count if they were evaluated on all items; those that ended on an earlier rung were never
    candidates. None without any, and for a metric whose best of many can't be tested.
    """
    root = tree.root.evaluation
    if root is None:
        return None
    evaluations = [trial.evaluation for e in tree for trial in e.trials if trial.evaluation is not None]
    whole = {each.id: each for each in evaluations if each.score.n == root.score.n}
    if not whole:
        return None

    def said(evaluation: Evaluation) -> Measured:
        return measured_of(read_predictions(runtime.directory.path, evaluation))

    try:
        found = improvement_measured(
            metric(runtime.task.metric), said(root), [said(each) for each in whole.values()]
        )
    except TrexError:
        return None
    return SelectionBias(
        gain=found.gain, at_least=found.at_least, p_value=found.p_value, candidates=found.candidates
    )
