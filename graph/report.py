"""The report of a run: report.html, one page that needs nothing else, and report.md, the same in plain text.

Texts from plans, data and models are data: the template engine escapes them, the pictures are built as
element trees, and the page's content policy allows neither scripts nor requests.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..errors import InputError
from ..evaluation.failures import failure_cases
from ..evaluation.results import FailureCase
from ..evaluation.task import Task
from ..files import read_json, write_atomic
from . import phrases
from .charts import SERIES, intervals_svg, learning_curves_svg, progress_svg
from .experiment import Experiment
from .integrity import Integrity, examine
from .report_markdown import markdown
from .researcher.protocol import ResearchNotes
from .summary import RunSummary, Spend
from .tree import Tree
from .tree_picture import tree_svg

RESEARCH = "research.json"
CASES_SHOWN = 12
TEXT_LENGTH = 1200


@dataclass(frozen=True)
class Report:
    """Everything a report shows. `cases` come from `search`; `notes` are the Researcher's, one line each.

    `integrity` is None for a report on objects alone, without a run directory.
    """

    summary: RunSummary
    tree: Tree
    cases: Sequence[FailureCase] = ()
    notes: Sequence[str] = ()
    integrity: Integrity | None = None

    @property
    def winner(self) -> Experiment | None:
        """The experiment of the best trial."""
        best = self.summary.best
        return self.tree[best.experiment] if best is not None and best.trial is not None else None

    @property
    def spend(self) -> Spend:
        """What the run has used."""
        return Spend.model_validate(self.summary.spend)

    @property
    def replay_command(self) -> str:
        """What trains the winner again."""
        return f"trex replay {shlex.quote(self.summary.directory)}"


def write_report(directory: Path, summary: RunSummary, tree: Tree, task: Task) -> Path:
    """Write report.html and report.md into a run directory; returns the page's path.

    Failure cases come from the predictions that the run kept, notes from what research wrote down. Raises
    InputError before the baseline is scored: there is nothing to show yet.
    """
    if not len(tree):
        raise InputError(f"{directory} has no result yet: wait until the base model is scored")
    report = Report(summary, tree)
    if report.winner is not None:
        report = replace(report, cases=_cases(directory, report.winner, task))
    report = replace(report, notes=_notes(directory / RESEARCH), integrity=examine(directory, task))
    page = directory / "report.html"
    write_atomic(page, html(report))
    write_atomic(directory / "report.md", markdown(report))
    return page


def _cases(directory: Path, winner: Experiment, task: Task) -> list[FailureCase]:
    evaluation = winner.evaluation
    if (
        evaluation is None
        or evaluation.predictions is None
        or not (directory / evaluation.predictions).exists()
    ):
        return []
    return failure_cases(evaluation, task, directory)[:CASES_SHOWN]


def _notes(path: Path) -> list[str]:
    if not path.exists():
        return []
    notes = ResearchNotes.model_validate(read_json(path))
    return [f"{note.text} ({note.source})" for note in notes.notes]


def html(report: Report) -> str:
    """The page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": phrases.number,
        "signed": phrases.signed,
        "interval": phrases.interval,
        "duration": phrases.duration,
        "readable": phrases.readable,
        "shorten": lambda text: phrases.shorten(text, TEXT_LENGTH),
    }
    summary, winner = report.summary, report.winner
    best = summary.best
    return environment.get_template("report.html.jinja").render(
        report=report,
        summary=summary,
        best=best,
        winner=winner,
        verdict=phrases.verdict(summary),
        beside=phrases.beside(best) if best else [],
        endings=phrases.ENDINGS,
        flat={experiment.id: experiment for experiment in summary.experiments},
        series=SERIES,
        outcome=phrases.outcome,
        contamination=phrases.contamination(list(report.tree)),
        integrity=report.integrity,
        openings=phrases.openings,
        split_hashes=phrases.split_hashes,
        shares=_shares(report.spend),
        cases=report.cases,
        tree_picture=Markup(tree_svg(summary.experiments, best.experiment if best else None)),
        progress=Markup(progress_svg(summary)),
        intervals=Markup(intervals_svg(best)) if best else "",
        curves=Markup(learning_curves_svg(winner.trials, winner.best_trial)) if winner else "",
    )


def _shares(spend: Spend) -> list[tuple[str, float, float]]:
    """(kind, seconds, percent of the sum) of what was spent, without what was not."""
    total = sum(spend.by_kind.values())
    return [
        (kind, seconds, 100 * seconds / total)
        for kind, seconds in spend.by_kind.items()
        if seconds > 0 and total > 0
    ]
