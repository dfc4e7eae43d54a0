"""`trex metrics`: the metrics that a task can name, each with an example."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ...evaluation.metrics.catalogue import MetricPage, in_task_file, inputs, number, page, pages


def print_metrics(out: Console, name: str | None) -> None:
    """All metrics in a table, or all about one. Raises InputError for an unknown name."""
    if name is not None:
        _print_page(out, page(name))
        return
    table = Table("metric", "value of an answer", "example", box=None, padding=(0, 2, 1, 0))
    for each in pages():
        table.add_row(each.name, escape(each.summary), escape(_first_example(each)))
    out.print(table)
    out.print("Options and more examples: `trex metrics NAME`. A metric of your own: docs/own_task.md")


def _first_example(each: MetricPage) -> str:
    if not each.examples:
        return ""
    example = each.examples[0]
    given = [f"{name} {text}" for name, text in inputs(example)]
    return "\n".join([in_task_file(each.name, example), *given, f"→ {number(example.value)}"])


def _print_page(out: Console, each: MetricPage) -> None:
    out.print(f"[bold]{escape(each.name)}[/]")
    out.print(escape("\n\n".join(each.paragraphs)) + "\n")
    if each.options:
        table = Table("option", "type", "default", "meaning", box=None, padding=(0, 2, 0, 0))
        for option in each.options:
            default = "required" if option.default is None else option.default
            table.add_row(option.name, escape(option.type), escape(default), escape(option.help))
        out.print(table)
    for example in each.examples:
        out.print(f"\n[bold]{escape(in_task_file(each.name, example))}[/]")
        for file, code in example.code.items():
            out.print(escape(f"{file}:\n{code}".rstrip()))
        for label, text in inputs(example):
            out.print(escape(f"  {label} {text}"))
        out.print(f"  → {number(example.value)}")
