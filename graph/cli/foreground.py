"""Running a prepared run in the terminal: the announcement, live progress, questions, the outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

if TYPE_CHECKING:
    from ...evaluation.task import Task
    from ...evaluation.task_check import TaskCheck
    from ..api import PreparedRun, Run
    from ..run.settings import Settings

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def announce(task: Task, check: TaskCheck, settings: Settings) -> None:
    """Print what is left out of the data, and the expected time and disk use, before a run starts."""
    from ..run.estimate import budget_notes, estimate_run, model_limits
    from .check_view import print_dropped

    expected = estimate_run(task, settings)
    if expected.seconds is None:
        took = "unknown before the first trial"
    else:
        basis = "measured in earlier runs" if expected.measured else "from typical rates"
        took = f"about {max(1, round(expected.seconds / 60))} min ({basis})"
    limit = f"; budget: {settings.budget_seconds / 60:.3g} min" if settings.budget_seconds else ""
    trials = f"{settings.rounds} rounds of {settings.trials} trials"
    out.print(f"[bold]{task.name}[/bold]: {trials} on {task.base_model}")
    needs = f"disk: {expected.disk_mb} MB; memory: {expected.job_memory_mb / 1024:.1f} GiB a trial"
    out.print(f"expected time: {took}; {needs}{limit}; directory: {settings.directory}")
    print_dropped(out, check)
    if limits := model_limits(settings):
        out.print(limits, markup=False)
    for note in [*check.notes, *budget_notes(settings)]:
        out.print(f"note: {note}", style="yellow", markup=False, soft_wrap=True)


def run_in_foreground(prepared: PreparedRun, *, step: bool = False) -> None:
    """Run to the end with live output; with `step` ask before each turn of an agent.

    Ctrl-C exits with code 130 and the command that resumes.
    """
    from .approval_prompt import ask_about_step, ask_person
    from .console import RunConsole
    from .outcome import print_summary

    console = RunConsole(prepared.settings, out)

    def asked(question: dict[str, Any]) -> Any:
        console.pause()
        try:
            return ask_person(out, question) if "plan" in question else ask_about_step(out, question)
        except click.Abort:
            raise KeyboardInterrupt from None
        finally:
            console.resume()

    try:
        with console:
            done: Run = prepared.go(asked, console, step=asked if step else None)
    except KeyboardInterrupt:
        err.print(f"interrupted: continue with `trex resume {prepared.directory.path}`", soft_wrap=True)
        raise SystemExit(130) from None
    summary = done.summary
    print_summary(out, summary)
    if summary.status == "failed":
        raise SystemExit(1)
