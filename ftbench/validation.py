"""What a benchmark task must satisfy before anybody is measured by it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

from ..errors import InputError
from ..evaluation.decontamination.gate import ContaminationGate
from ..evaluation.metrics import measure, metric
from ..evaluation.splits import load_items
from ..evaluation.statistics.intervals import score_measured
from ..evaluation.task import Item, Task
from ..evaluation.task_file import check_task
from ..files import read_jsonl
from ..graph.run.machine import Machine
from .benchmark import Benchmark, across, repeats
from .suite import benchmark

NONSENSE = ("", "?", "I cannot say.")
WORTHLESS = 0.2
"""Nonsense scores less than this: nothing where there is right and wrong, next to nothing by overlap of words."""
SOME = 500
"""Items of a split, about, that are tried with nonsense and with each other's answers; with gold, all are."""
_EXACT = 1 - 1e-9


@dataclass(frozen=True)
class Validity:
    """What validating a benchmark found."""

    name: str
    title: str
    data: Literal["published", "samples"]
    items: int
    problems: list[str]

    @property
    def valid(self) -> bool:
        return not self.problems


def validate_all(names: Sequence[str], fetch: bool = False) -> list[Validity]:
    """`validate` the benchmarks of these names, each in one of as many processes as there are cores.

    Raises InputError for a name that is none, before anything is read.
    """
    known = [benchmark(name).name for name in names]
    workers = min(len(known), Machine.here().cores)
    if workers < 2:
        return [_validate(name, fetch) for name in known]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        last_first = [
            pool.submit(_validate, name, fetch) for name in reversed(known)
        ]  # LawBench takes longest
        return [found.result() for found in reversed(last_first)]


def _validate(name: str, fetch: bool) -> Validity:
    return validate(benchmark(name), fetch)


def validate(of: Benchmark, fetch: bool = False) -> Validity:
    """Prove a benchmark's scorer and splits on its published data if that is at hand, else on its samples.

    Published data that is out of reach, or not as published, is a problem of that benchmark.
    """
    published, count = fetch or all(home.present for home in of.homes), 0
    try:
        task = of.load(smoke=not published)
        count = sum(len(load_items(path)) for path in (task.dev, task.test))
        found = problems(task)
    except InputError as error:
        found = [str(error)]
    return Validity(of.name, of.title, "published" if published else "samples", count, found)


def problems(task: Task) -> list[str]:
    """What is wrong with a task, one line each; none if nothing is. It reads the test split: for authors.

    Gold answers must score the maximum through the real scorer, nonsense next to nothing, and other items'
    answers less than gold; dev and test must share no item, and no row of a local source may repeat one. Items
    whose data state no answer ('') are left out of the first three. Raises InputError for a task whose files or
    columns don't fit.
    """
    check_task(task)
    dev = load_items(task.dev, task)
    test = load_items(task.test, task)
    found = [*_scoring(task, "dev", dev), *_scoring(task, "test", test)]
    pairs = across([dict(item.row) for item in dev], [dict(item.row) for item in test], task.prompt)
    if pairs:
        found.append(f"{len({j for _, j in pairs})} test items repeat dev items, or are repeated by one")
    local = [
        source
        for source in task.sources
        if source.path.endswith(".jsonl") and not source.path.startswith("hub:")
    ]
    gate = ContaminationGate([*dev, *test] if local else [], task.prompt)
    for source in local:
        if shared := sum(repeats(gate, read_jsonl(Path(source.path)), task.prompt)):
            found.append(f"{shared} rows of source {source.name!r} repeat dev or test items")
    return found


def _scoring(task: Task, split: str, items: Sequence[Item]) -> Iterator[str]:
    scorer = metric(task.metric)
    answered = [item for item in items if item["reference"]]
    if not answered:
        return
    gold = [str(item["reference"]) for item in answered]
    scored = measure(scorer, answered, gold, figures=False)
    if min(scored.values) < _EXACT:
        yield f"{split}: {sum(value < _EXACT for value in scored.values)} gold answers do not score 1"
    some = answered[:: max(1, len(answered) // SOME)]  # long answers take a twentieth of a second each
    for answer in NONSENSE:
        measured = measure(scorer, some, [answer] * len(some), figures=False)
        if score_measured(scorer, measured).value > WORTHLESS:
            yield f"{split}: the answer {answer!r} scores"
    own = [str(item["reference"]) for item in some]
    shuffled = measure(scorer, some, [*own[1:], own[0]], figures=False)
    if score_measured(scorer, shuffled).value >= score_measured(scorer, scored).value:
        yield f"{split}: another item's answer scores as well as an item's own"
