"""`trex bench`: validate the ten tasks, run them, score predictions, write the table."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..errors import InputError, TrexError

if TYPE_CHECKING:
    from .runner import Entry
    from .table import TableRow

app = typer.Typer(help="FT-Bench: validate, run, score, compare.", no_args_is_help=True)
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


@app.command()
def validate(
    tasks: Annotated[list[str] | None, typer.Argument(help="Task names; default: all ten")] = None,
    fetch: Annotated[bool, typer.Option("--fetch", help="Fetch published data that is missing")] = False,
) -> None:
    """Check that gold answers score the maximum, shuffled ones less, and that no split repeats rows of another."""
    from .suite import TEN
    from .validation import validate_all

    found = validate_all(tasks or TEN, fetch)
    shown = Table("task", "", "data", "items", "result", box=None)
    for each in found:
        result = "[green]valid[/green]" if each.valid else f"[red]{escape('; '.join(each.problems))}[/red]"
        shown.add_row(each.name, each.title, each.data, str(each.items), result)
    out.print(shown)
    if not all(each.valid for each in found):
        raise typer.Exit(1)


@app.command()
def score(
    task: Annotated[str, typer.Argument(help="TASK or TASK:SUBTASK", metavar="TASK[:SUBTASK]")],
    file: Annotated[Path, typer.Argument(help='JSON lines of {"id", "prediction", "row"}')],
    upstream: Annotated[bool, typer.Option("--upstream", help="Use the official scorer exactly")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all results as JSON")] = False,
) -> None:
    """Score predictions from a file."""
    from .scoring import score_file

    scored = score_file(task, file, upstream=upstream)
    if as_json:
        sys.stdout.write(scored.model_dump_json(indent=1) + "\n")
        return
    for row in scored.rows:
        out.print(f"{row.id}\t{row.value:.4f}", markup=False)
    figure = scored.score
    out.print(
        f"\n{figure.name} {figure.value:.4f} [{figure.ci_low:.4f}, {figure.ci_high:.4f}] n={figure.n}",
        markup=False,
    )
    for name, value in scored.secondary.items():
        out.print(f"{name} {value:.4f}", markup=False)


@app.command()
def run(
    tasks: Annotated[list[str] | None, typer.Argument(help="Task names; default: all ten")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each task, with seeds 0, 1, …")] = 1,
    policy: Annotated[str, typer.Option(help="mcts, gbfs, ses or random")] = "mcts",
    rounds: Annotated[int | None, typer.Option(help="Experiments after the baseline, of each run")] = None,
    trials: Annotated[int | None, typer.Option(help="Configurations of one experiment")] = None,
    budget: Annotated[str | None, typer.Option(help="Limit on the active time of each run: 90s, 10m")] = None,
    fresh_seeds: Annotated[int, typer.Option(help="Train finalists again with N other seeds")] = 0,
    llm: Annotated[
        str | None, typer.Option(help="PROVIDER:MODEL of the Researcher; none: the built-in policy")
    ] = None,
    llm_executor: Annotated[str | None, typer.Option(help="PROVIDER:MODEL for the Executor [--llm]")] = None,
    llm_budget: Annotated[
        str | None, typer.Option(help="Limit on the calls of each run: 200k tokens, or $2")
    ] = None,
    llm_set: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Extra model option, see docs/models.md")
    ] = None,
    no_memory: Annotated[
        bool, typer.Option("--no-memory", help="Plan from the refined experiment only (ablation)")
    ] = False,
    no_diagnosis: Annotated[
        bool, typer.Option("--no-diagnosis", help="Skip failure analysis (ablation)")
    ] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Use a tiny model and a small sample of the data")
    ] = False,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder of the runs")] = Path("runs/bench"),
) -> None:
    """Run tasks one after the other and write the table. The same command again continues where it stopped."""
    from ..graph.llm.model_settings import parse_model_settings
    from ..graph.run.settings import parse_duration
    from .runner import entries
    from .suite import TEN

    models = parse_model_settings(llm, llm_executor, llm_budget, llm_set or ())
    found = entries(
        tasks or TEN,
        range(seeds),
        out_dir,
        policy=policy,
        rounds=rounds,
        trials=trials,
        budget_seconds=None if budget is None else parse_duration(budget),
        fresh_seeds=fresh_seeds,
        llm=models,
        # A model would read the runs of earlier seeds, and seeds would not be independent.
        reuse=models is None,
        memory=not no_memory,
        diagnosis=not no_diagnosis,
        smoke=smoke,
    )
    _run_all(found, out_dir)


def _run_all(entries: Iterable[Entry], out_dir: Path) -> None:
    """Run them and write the table of those that finished. Raises TrexError at the end if some failed."""
    from .runner import write_tables
    from .table import table

    made: list[Path] = []
    failed = 0
    for entry in entries:
        made.append(entry.prepared.directory.path)
        failed += not _finished(entry)
    if failed < len(made):
        _show(table(made))
        for path in write_tables(made, out_dir):
            out.print(str(path), soft_wrap=True)
    if failed:
        raise TrexError(
            f"{failed} of {len(made)} runs failed: see above; run the same command again to continue"
        )


@app.command(name="table")
def show_table(
    directories: Annotated[list[Path], typer.Argument(help="Runs, or folders of runs", metavar="DIR…")],
    to: Annotated[
        Path | None, typer.Option("--to", help="Write table.md, table.csv and table.png there")
    ] = None,
) -> None:
    """Print the paper's table for finished runs."""
    from .runner import write_tables
    from .table import table

    _show(table(directories))
    if to is not None:
        for path in write_tables(directories, to):
            out.print(str(path), soft_wrap=True)


def _show(rows: list[TableRow]) -> None:
    from .table import COLUMNS, markdown

    if not out.is_terminal:
        out.print(markdown(rows), markup=False, soft_wrap=True)
        return
    shown = Table(*COLUMNS, box=None)
    for row in rows:
        shown.add_row(*(escape(cell) for cell in row.cells()))
    out.print(shown)


def _finished(entry: Entry) -> bool:
    """Run to the end. A failure is printed, and the other runs continue."""
    from ..graph.cli.console import RunConsole

    name = f"{entry.task}, seed {entry.seed}"
    if entry.done:
        out.print(f"[bold]{name}[/bold]: already finished")
        return True
    out.print(f"[bold]{name}[/bold]: {entry.prepared.directory.path}", soft_wrap=True)
    try:
        with RunConsole(entry.prepared.settings, out) as console:
            entry.prepared.go(None, console)
    except InputError:
        raise
    except TrexError as error:
        err.print(f"[red]{name} failed:[/red] {escape(str(error))}", soft_wrap=True)
        return False
    return True
