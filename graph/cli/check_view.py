"""`trex check` on the terminal: tables of files, rows as the model sees them, what dev can show."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ...evaluation.data_files import printable
from ...evaluation.task_check import TaskCheck

_ANSWERS = 8
_WIDTH = 400


def print_check(out: Console, check: TaskCheck) -> None:
    """Print the report on a task's files."""
    table = Table(
        "file", "rows", "kept", "repeated", "tokens p50/p95/max", "prompts cut", "answers too long", box=None
    )
    for entry in check.files:
        tokens = "/".join(str(entry.prompt_tokens[name]) for name in ("p50", "p95", "max"))
        counts = (entry.read, entry.kept, entry.repeated)
        limits = (f"{count} of {entry.measured}" for count in (entry.cut_prompts, entry.long_answers))
        table.add_row(escape(entry.name), *map(str, counts), tokens, *limits)
    out.print(table)
    print_dropped(out, check)
    for entry in check.files:
        if entry.answers:
            out.print(f"answers of {entry.name}: {escape(_answers(entry.answers))}", soft_wrap=True)
    for pair, count in check.shared.items():
        out.print(f"[yellow]{count} questions of {pair} are the same[/yellow]", soft_wrap=True)
    for line in [*check.variants, *check.notes]:
        out.print(f"[yellow]{escape(line)}[/yellow]", soft_wrap=True)
    for number, example in enumerate(check.examples, start=1):
        prompt = escape(printable(example["prompt"], _WIDTH))
        answer = escape(printable(example["answer"], _WIDTH))
        out.print(f"row {number}: {prompt}[bold green]{answer}[/bold green]", soft_wrap=True)
    gains = ", ".join(f"{name} {gain:.3f}" for name, gain in check.smallest_gain.items())
    out.print(f"smallest gain that can be seen: {gains}", soft_wrap=True)
    for line in check.refusals:
        out.print(f"[red]{escape(line)}[/red]", soft_wrap=True)
    if not check.refusals:
        out.print("[green]the task can run[/green]", soft_wrap=True)


def print_dropped(out: Console, check: TaskCheck) -> None:
    """Print which rows are left out of which file, and why."""
    for entry in check.files:
        for dropped in entry.dropped:
            examples = "; ".join(printable(example, _WIDTH) for example in dropped.examples)
            lost = f"[yellow]{entry.name}: {dropped.rows} of {entry.read} rows left out, {dropped.reason}[/yellow]"
            out.print(f"{lost} ({escape(examples)})", soft_wrap=True)


def _answers(answers: dict[str, int]) -> str:
    shown = ", ".join(f"{printable(text)!r} {count}" for text, count in list(answers.items())[:_ANSWERS])
    return shown + (f" and {len(answers) - _ANSWERS} more" if len(answers) > _ANSWERS else "")
