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
        early = f"{directory} has no result yet: wait until the base model is scored"
        raise InputError(run.faults[-1] if run.faults else early)
    report = collect_report(run, summary)
    page = directory / "report.html"
    for path, text in ((page, html(report)), (page.with_suffix(".md"), markdown(report))):
        try:
            write_atomic(path, text)
        except IsADirectoryError as error:
            raise InputError(f"{path} is a directory: remove it") from error
    return page
