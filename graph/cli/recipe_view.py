"""What `trex recipe` shows: rows after every step with samples, contents of a data set, differences of recipes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ...evaluation.data_files import printable
from ...evaluation.task import Task
from ...tools.excerpt import cell
from ...training.data.build import BuildReport, Preview, preview
from ...training.data.models.model_access import ModelAccess
from ...training.data.recipe import DataRecipe, Stream
from ...training.data.recipe_execution import StepCount
from ...training.data.row_table import arrow, choose, visible
from ..executor.agent.recipe_differences import differences
from ..run.task_lookup import find_task

if TYPE_CHECKING:
    from datasets import Dataset

_CELL = 120
_ANSWER = 60
_STREAM = ("weight", "max_rows")


@dataclass(frozen=True)
class WatchedPreview:
    """A preview, and sample rows after each of its steps."""

    preview: Preview
    samples: list[list[dict[str, Any]]]

    @property
    def report(self) -> BuildReport:
        return self.preview.report

    @property
    def as_json(self) -> dict[str, Any]:
        report = self.report.model_dump(mode="json")
        for step, sample in zip(report["steps"], self.samples, strict=True):
            step["sample"] = sample
        return {**report, "rows": self.preview.rows[: max(map(len, self.samples), default=0)]}


def preview_of(
    recipe: DataRecipe,
    task: str,
    smoke: bool = False,
    sample: int = 0,
    open_models: Callable[[DataRecipe, Task], ModelAccess | None] = lambda recipe, task: None,
    allow_python: bool = False,
) -> WatchedPreview:
    """Carry a recipe out without writing. Raises InputError and PlanError as `preview`."""
    found = find_task(task, smoke)
    samples: list[list[dict[str, Any]]] = []

    def watch(count: StepCount, rows: Dataset) -> None:
        shown = arrow(choose(rows, sample, "preview").select_columns(visible(rows.column_names)))
        samples.append([{k: cell(v, _CELL) for k, v in row.items()} for row in shown.to_pylist()[:sample]])

    return WatchedPreview(preview(recipe, found, watch, open_models(recipe, found), allow_python), samples)


def print_preview(out: Console, found: WatchedPreview) -> None:
    """Print the rows after every step with samples, and the contents."""
    print_steps(out, found.report.steps, found.samples)
    print_contents(out, found.report)
    for row in found.preview.rows[: max(map(len, found.samples), default=0)]:
        prompt = " ".join(turn["content"] for turn in row["prompt"])
        answer = row["completion"][-1]["content"]
        out.print(
            f"{escape(printable(prompt, 400))} [bold green]{escape(printable(answer, 200))}[/]",
            soft_wrap=True,
        )


def print_report(out: Console, report: BuildReport) -> None:
    """Print the steps and contents of a built data set."""
    print_steps(out, report.steps, [[] for _ in report.steps])
    print_contents(out, report)


def print_steps(
    out: Console, steps: Sequence[StepCount], samples: Sequence[Sequence[dict[str, Any]]]
) -> None:
    """A table: rows after each step, what it dropped and why; sample rows under it."""
    table = Table("step", "rows", "dropped", box=None)
    for step, sample in zip(steps, samples, strict=True):
        name = f"load {step.stream}" if step.op == "load" else step.where
        reasons = (
            f"{n} {reason}"
            + (f" ({printable(step.examples[reason], 80)})" if reason in step.examples else "")
            for reason, n in step.dropped.items()
        )
        told = "; ".join(filter(None, [*reasons, step.note]))
        table.add_row(escape(name), str(step.rows), escape(told))
        for row in sample:
            table.add_row("", "", f"[dim]{escape(printable(str(row), 300))}[/]")
    out.print(table)


def print_contents(out: Console, report: BuildReport) -> None:
    """The contents of the data set in a few lines."""
    contents = report.contents
    answers = ", ".join(f"{printable(text, _ANSWER)!r} {n}" for text, n in contents.answers.items())
    out.print(report.summary, markup=False, soft_wrap=True)
    out.print(f"answers: {answers}", markup=False, soft_wrap=True)
    out.print(f"{contents.repeated} rows repeat another row, {contents.synthetic} are computed")
    for dropped in report.dropped:
        out.print(f"left out: {dropped.rows} rows, {dropped.reason} ({dropped.examples[0]})", markup=False)


def recipe_changes(old: DataRecipe, new: DataRecipe) -> list[str]:
    """One phrase for each difference."""
    before, after = _named(old), _named(new)
    changes = [
        f"{name}: {getattr(old, name)} became {getattr(new, name)}"
        for name in ("rows", "temperature", "output")
        if getattr(old, name) != getattr(new, name)
    ]
    changes += [f"removed source '{key[0]}'" for key in before if key not in after]
    changes += [f"added source '{key[0]}'" for key in after if key not in before]
    shared = [key for key in before if key in after]
    for key in shared:
        changes += [
            f"{name} of source '{key[0]}': {getattr(before[key], name)} became {getattr(after[key], name)}"
            for name in _STREAM
            if getattr(before[key], name) != getattr(after[key], name)
        ]
    kept = [recipe.model_copy(update={"streams": tuple(named[key] for key in shared)})
            for recipe, named in ((old, before), (new, after))]  # fmt: skip
    return [*changes, *differences(*kept)]


def _named(recipe: DataRecipe) -> dict[tuple[str, int], Stream]:
    """The streams by their source and how often it was named before."""

    def numbered() -> Iterator[tuple[tuple[str, int], Stream]]:
        seen: Counter[str] = Counter()
        for stream in recipe.streams:
            yield (stream.source, seen[stream.source]), stream
            seen[stream.source] += 1

    return dict(numbered())
