"""The command line: `trex run`, and a command for each other verb. Exit codes: 0 done, 1 the run failed,
2 the input is wrong, 130 interrupted and resumable."""

from __future__ import annotations

import sys
import traceback
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from ...errors import InputError, TrexError
from .foreground import announce, err, out, run_in_foreground

app = typer.Typer(
    name="trex",
    help="Fine-tune a language model automatically: agents search a tree of experiments for your task.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
LlmSet = Annotated[
    list[str] | None, typer.Option(metavar="KEY=VALUE", help="Extra option of a chat model: docs/models.md")
]
Plans = Annotated[
    list[Path] | None, typer.Option(help="File with the plan of the first round; again for the next")
]
Runner = Annotated[
    str | None,
    typer.Option(
        metavar="NAME:SETTING=VALUE,…", help="Where jobs run: local, or another one of docs/scaling.md"
    ),
]
AllowPython = Annotated[
    bool, typer.Option("--allow-python", help="Recipes may run Python code, in a sandbox")
]
Directory = Annotated[Path, typer.Argument(help="A run directory", metavar="DIR")]


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors")] = False,
) -> None:
    """Fine-tune a language model automatically: agents search a tree of experiments for your task."""


@app.command()
def tasks() -> None:
    """List the installed tasks."""
    from ..run.task_lookup import installed_tasks

    table = Table("task", "defined in", box=None)
    for name, entry in installed_tasks().items():
        table.add_row(name, entry.value)
    out.print(table)
    out.print("\nA task of your own: `trex run path/to/task.yaml`")


@app.command()
def metrics(
    name: Annotated[str | None, typer.Argument(help="Show the options and examples of this metric")] = None,
) -> None:
    """List the metrics that a task can use, with an example each."""
    from .metric_list import print_metrics

    print_metrics(out, name)


@app.command()
def assets() -> None:
    """Download, verify and convert the embedded model and data (once)."""
    from ...assets import fetch_all

    fetch_all(lambda line: out.print(line))


def _keeps_all(keep: str) -> bool:
    if keep not in ("best", "all"):
        raise InputError(f"--keep {keep!r}: choose best or all")
    return keep == "all"


@app.command()
def run(
    task: Annotated[str, typer.Argument(help="A task's name, or the path of a task file")],
    rounds: Annotated[int | None, typer.Option(help="Experiments after the baseline (default: 2)")] = None,
    trials: Annotated[int | None, typer.Option(help="Trials of one experiment (default: 3)")] = None,
    budget: Annotated[str | None, typer.Option(help="Limit on active time: 90s, 10m, 1.5h")] = None,
    policy: Annotated[str, typer.Option(help="mcts, gbfs, ses, random, or an installed one")] = "mcts",
    seed: Annotated[int, typer.Option(help="Random seed")] = 0,
    out_dir: Annotated[Path | None, typer.Option("--out", help="Directory (default: runs/TASK-TIME)")] = None,
    examples: Annotated[int | None, typer.Option(help="Training examples a trial may consume")] = None,
    fresh_seeds: Annotated[int, typer.Option(help="Extra trainings of each finalist with other seeds")] = 0,
    llm: Annotated[str | None, typer.Option(help="Chat model PROVIDER:MODEL that plans")] = None,
    llm_executor: Annotated[str | None, typer.Option(help="Chat model of the Executor (else --llm)")] = None,
    llm_budget: Annotated[str | None, typer.Option(help="Limit of all calls: 200k (tokens) or $2")] = None,
    llm_set: LlmSet = None,
    judge: Annotated[str | None, typer.Option(help="Chat model of the metric judge (else --llm)")] = None,
    researcher: Annotated[str | None, typer.Option(help="builtin, agent, or an installed one")] = None,
    plan: Plans = None,
    no_memory: Annotated[bool, typer.Option("--no-memory", help="Plan without the tree")] = False,
    no_diagnosis: Annotated[bool, typer.Option("--no-diagnosis", help="Skip failure analysis")] = False,
    smoke: Annotated[bool, typer.Option("--smoke", help="Tiny model, little data: a quick check")] = False,
    approve: Annotated[bool, typer.Option("--approve", help="Ask before each plan is executed")] = False,
    step: Annotated[bool, typer.Option("--step", help="Ask before each turn of an agent")] = False,
    no_reuse: Annotated[bool, typer.Option("--no-reuse", help="Use no results of other runs")] = False,
    keep: Annotated[str, typer.Option(help="Adapters and checkpoints to keep: best or all")] = "best",
    allow_python: AllowPython = False,
    track: Annotated[str, typer.Option(help="Show trials in tensorboard, mlflow, wandb or trackio too")] = "",
    runner: Runner = None,
) -> None:
    """Improve a model on TASK by searching a tree of experiments."""
    from ..api import prepare_run
    from ..llm.model_settings import parse_judge
    from ..researcher.given_plans import read_plans
    from ..run.runner_choice import choose_runner
    from ..run.settings import parse_duration

    models, judging = parse_judge(judge, llm, llm_executor, llm_budget, llm_set or ())
    prepared = prepare_run(
        task,
        out=out_dir,
        smoke=smoke,
        announce=announce,
        rounds=rounds,
        trials=trials,
        budget_seconds=None if budget is None else parse_duration(budget),
        policy=policy,
        seed=seed,
        trial_examples=examples,
        fresh_seeds=fresh_seeds,
        llm=models,
        judge=judging,
        researcher=researcher,
        plans=read_plans(plan or ()),
        memory=not no_memory,
        diagnosis=not no_diagnosis,
        approve=approve,
        reuse=not no_reuse,
        keep_all=_keeps_all(keep),
        allow_python=allow_python,
        **(choose_runner(runner) | {"track": track}),
    )
    run_in_foreground(prepared, step=step)


@app.command()
def init(
    data: Annotated[
        list[str], typer.Argument(help="Data files, a folder of them, or hub:owner/name", metavar="DATA…")
    ],
    out_path: Annotated[Path, typer.Option("--out", help="The task file to write")] = Path("task.yaml"),
    answer: Annotated[str | None, typer.Option(help="Column of the answer")] = None,
    question: Annotated[
        list[str] | None, typer.Option(help="Column of the question; may be repeated")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the task")] = None,
    requirement: Annotated[str | None, typer.Option(help="What the model should do, in a sentence")] = None,
    metric: Annotated[str | None, typer.Option(help="A metric of `trex metrics`")] = None,
    base_model: Annotated[str | None, typer.Option(help="A directory, a hub id, or tiny")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there")] = False,
) -> None:
    """Look at data files, propose a task with reasons, and write its file."""
    from ...evaluation.proposal import Wanted
    from .init_task import init_task

    if out_path.exists() and not force:
        raise InputError(f"{out_path} is there already: give --out ANOTHER.yaml, or --force")
    fields = {"name": name, "requirement": requirement, "metric": metric, "base_model": base_model}
    given = {field: value for field, value in fields.items() if value is not None}
    init_task(out, data, Wanted(answer, question or (), given), out_path, ask=not yes and sys.stdin.isatty())


@app.command()
def check(
    task: Annotated[str, typer.Argument(help="A task's name, or the path of a task file")],
    as_json: Annotated[bool, typer.Option("--json", help="The whole report as JSON")] = False,
    smoke: Annotated[bool, typer.Option("--smoke", help="With the tiny model")] = False,
    judge: Annotated[
        str | None, typer.Option(metavar="PROVIDER:MODEL", help="Chat model of the metric judge")
    ] = None,
    llm_set: LlmSet = None,
) -> None:
    """Read every row of a task's files: what is kept, left out and why; lengths, duplicates, noise."""
    from ...evaluation.check_process import check_files
    from ...evaluation.metrics import is_ours
    from ..llm.model_settings import parse_model_settings
    from ..run.agents import check_judge
    from ..run.task_lookup import read_task

    read = read_task(task, smoke)
    if is_ours(read.metric):
        check_judge(read, parse_model_settings(judge, more=llm_set or ()))
    report = check_files(read)
    if as_json:
        sys.stdout.write(report.model_dump_json(indent=2) + "\n")
    else:
        from .check_view import print_check

        print_check(out, report)
    if report.refusals:
        raise typer.Exit(2)


@app.command()
def resume(
    directory: Directory,
    step: Annotated[bool, typer.Option("--step", help="Ask before each turn of an agent")] = False,
) -> None:
    """Continue a run that was interrupted or killed."""
    from ..api import reopen

    prepared = reopen(directory)
    if prepared.directory.finish.exists():
        out.print(f"{directory} is already done", soft_wrap=True)
    run_in_foreground(prepared, step=step)


@app.command()
def show(
    directory: Directory,
    as_json: Annotated[bool, typer.Option("--json", help="The whole summary as JSON")] = False,
) -> None:
    """Show the state and results of a run."""
    from ..api import load_run

    summary = load_run(directory).summary
    if as_json:
        sys.stdout.write(summary.model_dump_json(indent=2) + "\n")
        return
    from .outcome import print_summary

    print_summary(out, summary)


@app.command()
def report(directory: Directory) -> None:
    """Write report.md, report.html and the experiment store again."""
    from ..api import load_run

    for path in load_run(directory).write_report():
        out.print(str(path))


@app.command()
def replay(
    directory: Directory,
    judge: Annotated[str | None, typer.Option(help="Chat model of the metric judge")] = None,
    llm_budget: Annotated[str | None, typer.Option(help="Limit of its calls: 200k (tokens) or $2")] = None,
    llm_set: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Extra option of that model")
    ] = None,
    allow_python: AllowPython = False,
) -> None:
    """Train the winner again from best/ alone, and show both dev scores."""
    import tempfile

    from ..finish.export import PLAN
    from ..finish.replay import replay as train_again
    from ..llm.model_settings import parse_judge

    best = directory if (directory / PLAN).exists() else directory / "best"
    with tempfile.TemporaryDirectory(prefix="trex-replay-") as workspace, out.status("training…") as status:
        again = train_again(
            best,
            Path(workspace),
            lambda job: status.update(f"training: step {job.step}/{job.stop_step}"),
            parse_judge(judge, None, None, llm_budget, llm_set or ())[1],
            allow_python,
        )
    same = "same" if again.trial == again.replayed_trial else "another"
    out.print(
        f"run     {again.trial}  dev {again.dev.value:.4f} [{again.dev.ci_low:.3f}, {again.dev.ci_high:.3f}]"
    )
    out.print(
        f"replay  {again.replayed_trial}  dev {again.replayed_dev.value:.4f} "
        f"[{again.replayed_dev.ci_low:.3f}, {again.replayed_dev.ci_high:.3f}]  ({same} trial id)"
    )
    if again.repeats_removed:
        out.print(f"{again.repeats_removed} training rows repeat dev or test items: removed")
    for difference in again.differences:
        out.print(difference, markup=False, soft_wrap=True)


@app.command()
def export(
    directory: Directory,
    to: Annotated[str, typer.Option(help="peft, merged, ollama, gguf, trl-script, axolotl or llamafactory")],
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="New folder; default: DIR/exports/FORM")
    ] = None,
) -> None:
    """Write the winner of a finished run in the form of another tool."""
    from ..exports import export_winner

    folder = out_folder or directory / "exports" / to
    for note in export_winner(directory, to, folder):
        out.print(note, markup=False, soft_wrap=True)
    out.print(str(folder), markup=False, soft_wrap=True)


@app.command()
def doctor(
    llm: Annotated[
        str | None, typer.Option(metavar="PROVIDER:MODEL", help="Also probe a chat model: a few small calls")
    ] = None,
    llm_set: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Another setting of the chat model; repeatable"),
    ] = None,
    runner: Runner = None,
) -> None:
    """Check this machine; with --llm what a model's server accepts, with --runner what a launcher's nodes are."""
    from ..llm.model_settings import parse_model_settings
    from ..run.doctor import check_machine, check_model
    from ..run.runner_check import check_runner

    models = parse_model_settings(llm, more=llm_set or ())
    if runner is not None:
        checks, needed = check_runner(runner), 0
    elif models:
        checks, needed = check_model(models), -1  # one output mode is enough
    else:
        checks, needed = check_machine(), 0
    for check in checks:
        mark = "[green]ok[/green]    " if check.ok else "[red]failed[/red]"
        out.print(f"{mark} {check.what:<12} {escape(check.detail)}")
    if not all(check.ok for check in checks[needed:]):
        raise typer.Exit(1)


def main() -> None:
    """The command `trex`."""
    from .recipe_commands import app as recipes
    from .steering_commands import app as steering

    app.add_typer(steering)
    app.add_typer(recipes, name="recipe")
    for entry in entry_points(group="trex.commands"):
        app.add_typer(entry.load(), name=entry.name)
    debug = "--debug" in sys.argv
    try:
        code = app(sys.argv[1:] or ["--help"], prog_name="trex", standalone_mode=False)
    except TrexError as error:
        _print_error(error, debug)
        raise SystemExit(error.exit_code) from None
    except (KeyboardInterrupt, typer.Abort):
        raise SystemExit(130) from None
    except Exception as error:
        usage = _usage_error(error)
        _print_error(usage or error, debug)
        raise SystemExit(usage.exit_code if usage else 1) from None
    raise SystemExit(code if isinstance(code, int) else 0)


def _usage_error(error: Exception) -> InputError | None:
    """A command-line error in one line. Its class is Click's or Typer's, depending on Typer's version."""
    explain = getattr(error, "format_message", None)
    return InputError(f"{explain()} (see `trex --help` and `trex run --help`)") if explain else None


def _print_error(error: Exception, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    known = isinstance(error, TrexError)
    text = str(error) if known else f"unexpected {type(error).__name__}: {error} (--debug shows where)"
    text = escape(" ".join(text.split()))  # 'trex-finetune[llm]' is no markup
    err.print(f"[red]error:[/red] {text}", soft_wrap=True)


if __name__ == "__main__":
    main()
