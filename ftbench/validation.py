"""What a benchmark task must satisfy before anybody is measured by it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..evaluation.contamination import ContaminationGate
from ..evaluation.metrics import measure, metric
from ..evaluation.splits import load_items
from ..evaluation.statistics import score_measured
from ..evaluation.task import Item, Task
from ..evaluation.task_file import check_task
from ..files import read_jsonl

NONSENSE = ("", "?", "I cannot say.")


def problems(task: Task) -> list[str]:
    """What is wrong with a task, one line each; none if nothing is. It reads the test split: for authors.

    Gold answers must score the maximum through the real scorer, nonsense nothing, and other items' answers
    less than gold; dev and test must share no item, and no row of a local source may repeat one. Raises
    InputError for a task whose files or columns don't fit.
    """
    check_task(task)
    dev = load_items(task.dev, task.prompt, task.answer_column)
    test = load_items(task.test, task.prompt, task.answer_column)
    found = [*_scoring(task, "dev", dev), *_scoring(task, "test", test)]
    shared = _repeated(task, dev, task.test)
    if shared:
        found.append(f"{shared} test items repeat dev items")
    for source in task.sources:
        if not source.path.startswith("hub:"):
            shared = _repeated(task, [*dev, *test], Path(source.path))
            if shared:
                found.append(f"{shared} rows of source {source.name!r} repeat dev or test items")
    return found


def _scoring(task: Task, split: str, items: list[Item]) -> Iterator[str]:
    scorer = metric(task.metric)
    gold = [str(item["reference"]) for item in items]
    scored = measure(scorer, items, gold)
    if min(scored.values) < 1:
        yield f"{split}: {sum(value < 1 for value in scored.values)} gold answers do not score 1"
    for answer in NONSENSE:
        if max(measure(scorer, items, [answer] * len(items)).values) > 0:
            yield f"{split}: the answer {answer!r} scores"
    shuffled = measure(scorer, items, [*gold[1:], gold[0]])
    if score_measured(scorer, shuffled).value >= score_measured(scorer, scored).value:
        yield f"{split}: another item's answer scores as well as an item's own"


def _repeated(task: Task, items: list[Item], path: Path) -> int:
    """How many rows of a file repeat one of the items, as training rows would be checked.

    Rows may lack the answer (a recipe derives it), so that only the question is rendered.
    """
    if path.suffix != ".jsonl":
        return 0
    rows = ({**row, "messages": task.prompt.messages(row)} for row in read_jsonl(path))
    return ContaminationGate(items, task.prompt).check(rows).matches
