"""Writing report.html and report.md into a run directory."""

from __future__ import annotations

from pathlib import Path

from ...errors import InputError
from ...files import write_atomic
from .html import html
from .markdown import markdown
from .report_model import collect_report
from .summary import RunSummary
from .verification import Verified


def write_report(run: Verified, summary: RunSummary) -> Path:
    """Write report.html and report.md; returns the page's path.

    Raises InputError before the baseline is scored.
    """
    directory = run.info.settings.path
    if not len(run.tree):
        raise InputError(f"{directory} has no result yet: wait until the base model is scored")
    report = collect_report(run, summary)
    page = directory / "report.html"
    write_atomic(page, html(report))
    write_atomic(directory / "report.md", markdown(report))
    return page
