"""What there is to decide about a preparation. Without any such question no model is asked about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ....files import read_json
from ....tools.excerpt import brief
from ....training.data.build import REPORT, BuildReport
from ...tree.experiment import DatasetCard
from ..preparation import Preparation

FEW_ROWS = 50
MANY_REPEATED = 0.02
"""Share of rows that repeat another row."""
MANY_DROPPED = 0.1
"""Share of rows that were left out because they could not be rendered."""
ONE_SIDED = 0.8
"""Share of the most frequent of a few answers."""


def open_questions(preparation: Preparation, datasets: Path) -> list[str]:
    """One sentence for each; `datasets` is the folder of the built data sets."""
    if preparation.problem is not None:
        return [f"the plan cannot be executed: {brief(preparation.problem, 300)}"]
    found = [f"a rule changed the plan: {brief(repair, 200)}" for repair in preparation.repairs]
    for trial in preparation.trials:
        if trial.status == "failed":
            found.append(f"trial {trial.index + 1} cannot be trained: {brief(trial.message, 200)}")
        found += [f"a rule changed trial {trial.index + 1}: {brief(repair, 200)}" for repair in trial.repairs]
    several = len(preparation.datasets) > 1
    for name, card in preparation.datasets.items():
        of = f"recipe {name}: " if several else ""
        found += [f"{of}{fault}" for fault in _unusual(card, datasets / card.fingerprint / REPORT)]
    return found


def _unusual(card: DatasetCard, report: Path) -> Iterator[str]:
    """What is unusual about a data set."""
    if (gate := card.contamination) is not None and gate.matches:
        yield f"{gate.matches} rows repeated dev or test items"
    if card.rows < FEW_ROWS:
        yield f"only {card.rows} rows"
    if not report.is_file():
        return
    built = BuildReport.model_validate(read_json(report))
    contents, dropped = built.contents, sum(each.rows for each in built.dropped)
    if contents.repeated > MANY_REPEATED * contents.rows:
        yield f"{contents.repeated} of {contents.rows} rows repeat another row"
    if dropped > MANY_DROPPED * (contents.rows + dropped):
        yield f"{dropped} rows were left out"
    few_answers = contents.distinct_answers == len(contents.answers)
    most = max(contents.answers.values(), default=0)
    if few_answers and most > ONE_SIDED * contents.rows:
        yield f"{most} of {contents.rows} rows have the same answer"
