"""Steering a run from the command line: `trex pause`, `stop`, `hint` and `fork`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import InputError, TrexError
from .foreground import out, run_in_foreground

if TYPE_CHECKING:
    from ..run.directory import RunDirectory

app = typer.Typer()

Directory = Annotated[Path, typer.Argument(help="A run directory", metavar="DIR")]

PATIENCE_S = 60.0
"""How long `pause` waits for the process to end."""


@app.command()
def pause(directory: Directory) -> None:
    """Stop the process of a run; `trex resume` continues it."""
    from ..run.directory import RunDirectory
    from ..steering.control import POLL_S, Control, is_held

    run = RunDirectory.open(directory)
    settings = run.settings()
    if settings.checkpoint == "server":
        raise InputError(f"a LangGraph server runs {directory}: cancel thread {settings.thread_id} there")
    if not is_held(run.path):
        raise InputError(f"no process is running {directory}: there is nothing to pause")
    Control(run.path).pause()
    end = time.monotonic() + PATIENCE_S
    while is_held(run.path):
        if time.monotonic() > end:
            raise TrexError(
                f"the process of {directory} has not ended after {PATIENCE_S:.0f} s; it ends as soon as it can"
            )
        time.sleep(POLL_S)
    text = "the run is done" if run.finish.exists() else f"paused: continue with `trex resume {directory}`"
    out.print(text, soft_wrap=True)


@app.command()
def stop(
    directory: Directory,
    now: Annotated[bool, typer.Option("--now", help="Stop running trials too, not after the round")] = False,
) -> None:
    """Finish a run early: no further rounds, then winner, test score and report."""
    from ..steering.control import Control, is_held

    run = _unfinished(directory)
    Control(run.path).stop("now" if now else "round")
    when = "now, with the last finished rung of each trial" if now else "after this round"
    more = "" if is_held(run.path) else f"; no process is running it: `trex resume {directory}`"
    out.print(f"{directory} ends {when}{more}", soft_wrap=True, markup=False)


@app.command()
def hint(
    directory: Directory,
    text: Annotated[str, typer.Argument(help="What the next plan should do, in your own words")],
) -> None:
    """Give the Researcher a hint for the next plan."""
    from ..steering.control import Control

    run = _unfinished(directory)
    Control(run.path).hint(text)
    out.print("the hint is passed to the next plan")


@app.command()
def fork(
    directory: Directory,
    experiment: Annotated[str, typer.Argument(help="What to refine next, e.g. e002")],
    out_dir: Annotated[Path | None, typer.Option("--out", help="Directory (default: runs/TASK-TIME)")] = None,
    rounds: Annotated[int | None, typer.Option(help="Further rounds (default: those left)")] = None,
    text: Annotated[str, typer.Option("--hint", help="Hint for the first plan")] = "",
) -> None:
    """Start a new run from an experiment of another run, which is not changed."""
    from ..api import load_run

    prepared = load_run(directory).prepare_fork(experiment, out=out_dir, rounds=rounds, hint=text)
    out.print(f"from {experiment} of {directory}, in {prepared.directory.path}", soft_wrap=True, markup=False)
    run_in_foreground(prepared)


def _unfinished(directory: Path) -> RunDirectory:
    from ..run.directory import RunDirectory

    run = RunDirectory.open(directory)
    if run.finish.exists():
        raise InputError(
            f"{directory} is done: continue from one of its experiments with `trex fork {directory} EXPERIMENT`"
        )
    return run
