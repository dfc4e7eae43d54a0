"""The report of a run: report.html, one page that needs nothing else, and report.md, the same in plain text.

Texts from plans, data and models are data: the template engine escapes them, the pictures are built as
element trees, and the page's content policy allows neither scripts nor requests.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ...errors import InputError
from ...evaluation.failures.analysis import Failures
from ...evaluation.results import FailureCase
from ...evaluation.task import Task
from ...files import read_json, write_atomic
from ..llm.usage import Usage
from ..memory.insights import Insight, distil
from ..researcher.protocol import Candidate, Note, ResearchNotes
from ..steering.control import Control, Hint
from ..tree.experiment import Experiment
from ..tree.tree import Tree
from . import formatting as formatting
from .agent_turns import thinking
from .call_totals import by_role, by_round, read_run_calls, totals
from .charts import SERIES, intervals_svg, learning_curves_svg, progress_svg, tokens_svg
from .integrity import Integrity, examine
from .markdown import markdown
from .summary import BUILT_IN, RunSummary, Spend
from .tree_svg import tree_svg

if TYPE_CHECKING:
    from ..llm.protocol import CallRecord

RESEARCH, CALLS = "research.json", "calls.jsonl"
KINDS = {"own": "our own work", "model": "waiting for models"}
CASES_SHOWN = 12
TEXT_LENGTH = 1200


@dataclass(frozen=True)
class Report:
    """Everything a report shows. `cases` come from `search`; `notes` are the Researcher's, one line each.

    `findings` and `candidates` come from open-domain research, `calls` from the record of chat models, `hints`
    from a person, `insights` from the whole tree; without a chat model most of it is empty.

    `integrity` is None for a report on objects alone, without a run directory.
    """

    summary: RunSummary
    tree: Tree
    cases: Sequence[FailureCase] = ()
    notes: Sequence[str] = ()
    findings: Sequence[Note] = ()
    candidates: Sequence[Candidate] = ()
    calls: Sequence[CallRecord] = ()
    insights: Sequence[Insight] = ()
    hints: Sequence[str] = ()
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
    research = _research(directory / RESEARCH)
    report = replace(
        report,
        notes=[f"{note.text} ({note.source})" for note in research.notes],
        findings=research.findings,
        candidates=research.candidates,
        calls=read_run_calls(directory / CALLS),
        insights=distil(tree),
        hints=[_said(hint) for hint in Control(directory).hints()],
        integrity=examine(directory, task),
    )
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
    return Failures(evaluation, task, directory).cases[:CASES_SHOWN]


def _research(path: Path) -> ResearchNotes:
    return ResearchNotes.model_validate(read_json(path)) if path.exists() else ResearchNotes()


def _said(hint: Hint) -> str:
    """A person's words, and when they were said if it was not in between."""
    if hint.origin == "rejection":
        return f"{hint.text} (with a plan that was turned down{f': {hint.about}' if hint.about else ''})"
    return hint.text if hint.origin == "hint" else f"{hint.text} (with the {hint.origin})"


def html(report: Report) -> str:
    """The page."""
    summary, winner = report.summary, report.winner
    best = summary.best
    page = (
        _environment()
        .get_template("report.html.jinja")
        .render(
            report=report,
            summary=summary,
            best=best,
            winner=winner,
            verdict=formatting.verdict(summary),
            beside=formatting.beside(best) if best else [],
            endings=formatting.ENDINGS,
            flat={experiment.id: experiment for experiment in summary.experiments},
            series=SERIES,
            outcome=formatting.outcome,
            contamination=formatting.contamination(list(report.tree)),
            integrity=report.integrity,
            openings=formatting.openings,
            split_hashes=formatting.split_hashes,
            shares=_shares(report.spend),
            kinds=KINDS,
            cases=report.cases,
            tree_picture=Markup(tree_svg(summary.experiments, best.experiment if best else None)),
            progress=Markup(progress_svg(summary)),
            intervals=Markup(intervals_svg(best)) if best else "",
            curves=Markup(learning_curves_svg(winner.trials, winner.best_trial)) if winner else "",
            **_model_parts(report),
        )
    )
    return formatting.clean(page)


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": formatting.number,
        "signed": formatting.signed,
        "interval": formatting.interval,
        "duration": formatting.duration,
        "readable": formatting.readable,
        "dollars": formatting.dollars,
        "model_spend": _model_spend,
        "shorten": lambda text: formatting.shorten(text, TEXT_LENGTH),
    }
    return environment


def _model_parts(report: Report) -> dict[str, object]:
    """What the page shows of chat models; without one, nothing."""

    def linked(experiments: Sequence[str]) -> Markup:
        link = Markup('<a href="#{0}">{0}</a>')
        return Markup(", ").join(link.format(e) if e in report.tree else e for e in experiments)

    return {
        "built_in": BUILT_IN,
        "total": totals(report.calls),
        "by_role": by_role(report.calls),
        "tokens_picture": Markup(tokens_svg(by_round(report.calls))),
        "thinking": thinking(report.calls),
        "linked": linked,
    }


def _model_spend(sums: Usage) -> str:
    return formatting.model_spend(sums.calls, sums.tokens_in, sums.tokens_out, sums.cost_usd)


def _shares(spend: Spend) -> list[tuple[str, float, float]]:
    """(kind, seconds, percent of the sum) of what was spent, without what was not."""
    total = sum(spend.by_kind.values())
    return [
        (kind, seconds, 100 * seconds / total)
        for kind, seconds in spend.by_kind.items()
        if seconds > 0 and total > 0
    ]
