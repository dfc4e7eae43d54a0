"""The outcome of a run in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..report.formatting import ENDINGS, duration, model_usage, score_notes
from ..report.spend import MODEL
from ..report.summary import BUILT_IN, Interval, RunSummary

_NO_SCORE = {"failed": "[red]failed[/red]", "done": "withheld", "running": "…"}


def print_summary(console: Console, summary: RunSummary) -> None:
    """Print the experiments, the winner with its intervals, the time used, and the path of the report."""
    table = Table("", "refines", "direction", "score", "95 % interval", "visits", "verdict", box=None)
    for experiment in summary.experiments:
        score = experiment.score
        table.add_row(
            experiment.id,
            experiment.parent_id or "",
            experiment.direction.replace("_", " "),
            f"{score.value:.3f}" if score else _NO_SCORE[experiment.status],
            _interval(score),
            str(experiment.visits),
            experiment.verdict or "",
        )
    console.print(table)
    for experiment in summary.experiments:
        if experiment.failure:
            console.print(f"[red]{experiment.id} failed:[/red] {escape(experiment.failure)}", soft_wrap=True)
    best = summary.best
    if best is not None:
        console.print()
        for name, score in (
            ("dev (search)", best.dev_interval),
            ("dev (confirm)", best.confirm),
            ("test", best.test),
            ("test, baseline", best.baseline_test),
            ("test gain", best.test_gain),
        ):
            if score is not None:
                sign = "+" if name == "test gain" else ""
                console.print(f"{name:<15} {score.value:{sign}.3f}  {_interval(score)}  n={score.n}")
        for sentence in score_notes(best):
            console.print(sentence, markup=False)
        if best.trial is None:
            console.print("no experiment is better than the base model")
    for fault in summary.faults:
        console.print(f"[red]changed outside of TREX:[/red] {escape(fault)}", soft_wrap=True)
    spend = summary.spend
    parts = [f"{kind} {seconds:.0f} s" for kind, seconds in spend.by_kind.items() if kind != MODEL]
    console.print(f"\nwall time: {spend.active_seconds:.0f} s; process time: {', '.join(parts)}")
    if summary.llm != BUILT_IN:
        used = f"{model_usage(spend.usage)}, {duration(spend.model_seconds)} of waiting"
        planned = f"{summary.plans_by_model} of {summary.plans} plans by the model"
        console.print(f"model: {escape(summary.llm)}: {planned}; {used}", soft_wrap=True)
    ended = f" ({ENDINGS[summary.reason]})" if summary.reason else ""
    console.print(f"{summary.status}{ended}: {escape(summary.directory)}", soft_wrap=True)
    if summary.message:
        console.print(escape(summary.message))
    if summary.reason is not None:
        console.print(f"report: {escape(summary.directory)}/report.html", soft_wrap=True)


def _interval(score: Interval | None) -> str:
    return escape(f"[{score.ci_low:.3f}, {score.ci_high:.3f}]") if score else ""
