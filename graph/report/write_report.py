"""Writing report.html and report.md into a run directory."""

from __future__ import annotations

from pathlib import Path

from ...errors import InputError
from ...evaluation.task import Task
from ...files import write_atomic
from ..tree.tree import Tree
from .html import html
from .markdown import markdown
from .report_model import collect_report
from .summary import RunSummary


def write_report(directory: Path, summary: RunSummary, tree: Tree, task: Task) -> Path:
    """Write report.html and report.md; returns the page's path.

    Raises InputError before the baseline is scored.
    """
    if not len(tree):
        raise InputError(f"{directory} has no result yet: wait until the base model is scored")
    report = collect_report(directory, summary, tree, task)
    page = directory / "report.html"
    write_atomic(page, html(report))
    write_atomic(directory / "report.md", markdown(report))
    return page
