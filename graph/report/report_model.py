"""What a report shows: the summary of a run with its tree, failure cases, research, calls, hints, integrity."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import TrexError, reading
from ...evaluation.failures.analysis import Failures
from ...evaluation.results import FailureCase
from ...evaluation.task import Task
from ...evaluation.task_check import TaskCheck
from ...files import read_json
from ..memory.insights import Insight, distil
from ..researcher.protocol import Candidate, Note, ResearchNotes
from ..steering.control import Control, Hint
from ..tree.experiment import Experiment
from ..tree.tree import Tree
from .call_totals import read_run_calls
from .integrity import Integrity
from .summary import RunSummary
from .verification import Verified

if TYPE_CHECKING:
    from ..llm.protocol import CallRecord

RESEARCH, CALLS, CHECK = "research.json", "calls.jsonl", "check.json"
CASES_SHOWN = 12


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
    check: TaskCheck | None = None  # of the data, before the run

    @property
    def winner(self) -> Experiment | None:
        """The experiment of the best trial."""
        best = self.summary.best
        return self.tree[best.experiment] if best is not None and best.trial is not None else None

    @property
    def replay_command(self) -> str:
        """What trains the winner again."""
        return f"trex replay {shlex.quote(self.summary.directory)}"


def collect_report(run: Verified, summary: RunSummary) -> Report:
    """Read what a run directory holds beside the tree.

    Failure cases come from the predictions that the run kept, notes from what research wrote down.
    """
    directory = run.info.settings.path
    report = Report(summary, run.tree)
    research = _research(directory / RESEARCH)
    return replace(
        report,
        cases=[] if report.winner is None else _cases(directory, report.winner, run.info.task),
        notes=[f"{note.text} ({note.source})" for note in research.notes],
        findings=research.findings,
        candidates=research.candidates,
        calls=read_run_calls(directory / CALLS),
        insights=distil(run.tree),
        hints=[_hint_text(hint) for hint in Control(directory).hints()],
        integrity=run.integrity,
        check=_check(directory / CHECK),
    )


def _cases(directory: Path, winner: Experiment, task: Task) -> list[FailureCase]:
    """The first failure cases; none where dev has changed, which the section on integrity says."""
    if winner.evaluation is None or winner.evaluation.predictions is None:
        return []
    try:
        return Failures(winner.evaluation, task, directory).cases[:CASES_SHOWN]
    except TrexError:
        return []


def _research(path: Path) -> ResearchNotes:
    if not path.exists():
        return ResearchNotes()
    with reading(path, "remove it, and the report is written without notes"):
        return ResearchNotes.model_validate(read_json(path))


def _check(path: Path) -> TaskCheck | None:
    if not path.exists():
        return None
    with reading(path, "remove it, and the report is written without the data"):
        return TaskCheck.model_validate(read_json(path))


def _hint_text(hint: Hint) -> str:
    """The text of a hint, and where it came from."""
    if hint.origin == "rejection":
        return f"{hint.text} (with a rejected plan{f': {hint.about}' if hint.about else ''})"
    return hint.text if hint.origin == "hint" else f"{hint.text} (with the {hint.origin})"
