"""Live progress of a run in the terminal: the tree, running jobs, time and budget; plain lines in a log."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ..llm.usage import Usage
from ..report.call_totals import read_run_calls, totals
from ..report.formatting import dollars, readable, shorten
from ..report.tree_layout import layout
from ..run.events import Event
from ..run.settings import Settings

ARGUMENT_LENGTH = 100


class RunConsole:
    """Shows a run's events. On a terminal the display is updated in place, elsewhere one line is printed an event."""

    def __init__(self, settings: Settings, console: Console | None = None) -> None:
        self._settings = settings
        self._console = console or Console(stderr=False, highlight=False)
        self._started = time.monotonic()
        self._nodes: dict[str, Event] = {}
        self._jobs: dict[str, Event] = {}
        self._notes: dict[str, str] = {}
        self._doing = "starting"
        self._spent = self._spent_before()
        self._live = Live(
            console=self._console, get_renderable=self._display, refresh_per_second=4, transient=True
        )

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def pause(self) -> None:
        """Stop the live display, to ask a question."""
        self._live.stop()

    def resume(self) -> None:
        """Start the live display again."""
        if self._console.is_terminal:
            self._live.start()

    def __call__(self, event: Event) -> None:
        """Show one event of the run."""
        kind = event["event"]
        if kind == "training":
            self._jobs[event["trial"]] = event
            self._doing = "training"
            return
        line = getattr(self, f"_on_{kind}", self._on_other)(event)
        if line:
            self._console.print(f"[dim]{self._clock()}[/dim]  {line}")

    def _on_analysis(self, event: Event) -> str:
        self._doing = "evaluating the base model"
        return f"goal: {escape(event['goal'])}"

    def _spent_before(self) -> Usage:
        """What earlier processes of this run spent on chat models."""
        if self._settings.judging_model is None:
            return Usage()
        return totals(read_run_calls(self._settings.path / "calls.jsonl"))

    def _on_called(self, event: Event) -> str:
        """A call of a chat model ended: what it was for, and the tools that it asks for."""
        self._spent += Usage(1, event["tokens_in"], event["tokens_out"], event["cost_usd"])
        if event["role"] == "judge":  # hundreds of calls
            self._doing = "judging answers"
            return ""
        purpose, tools = escape(event["purpose"]), ", ".join(event["tools"])
        self._doing = f"{event['role']}: {event['purpose']}" + (f", uses {tools}" if tools else "")
        tokens = f"{event['tokens_in'] + event['tokens_out']:,} tokens"
        cost = f", {dollars(event['cost_usd'])}" if event["cost_usd"] else ""
        asks = f" → {escape(shorten(tools, ARGUMENT_LENGTH))}" if tools else ""
        if event["status"] != "answered":
            asks = " [yellow]no answer[/yellow]"
        return f"[dim]{event['role']}[/dim] {purpose}{asks} [dim]({tokens}{cost})[/dim]"

    def _on_research(self, event: Event) -> str:
        return f"data sources: {escape(', '.join(event['sources']))}"

    def _on_selected(self, event: Event) -> str:
        self._doing = f"planning a refinement of {event['id']}"
        return ""

    def _on_planned(self, event: Event) -> str:
        self._nodes[event["id"]] = event | {"status": "running"}
        self._notes = {str(index): note for index, note in enumerate(event["trials"])}
        self._doing = "preparing data"
        return f"[bold]{event['id']}[/bold] refines {event['parent']}: {escape(event['hypothesis'])}"

    def _on_prepared(self, event: Event) -> str:
        self._doing = "training"
        repairs = "".join(f"\n       repaired: {escape(repair)}" for repair in event["repairs"])
        if event["failure"]:
            return f"[red]{event['id']} failed: {escape(event['failure'])}[/red]{repairs}"
        return f"{event['id']} trains on {' and '.join(map(str, event['rows']))} rows{repairs}"

    def _on_evaluated(self, event: Event) -> str:
        self._jobs.pop(event["trial"], None)
        label = f"trial {event['index'] + 1} ({escape(event['note'])})"
        if event["value"] is None or event["status"] in ("failed", "stopped"):
            return f"[yellow]{label} {event['status']}: {escape(event['message'])}[/yellow]"
        return f"{label}, rung {event['rung'] + 1}: {event['value']:.3f}"

    def _on_promoted(self, event: Event) -> str:
        going = ", ".join(str(index + 1) for index in event["going"])
        return f"promoted to the next rung: trial {going}" if going else ""

    def _on_experiment(self, event: Event) -> str:
        self._nodes[event["id"]] = self._nodes.get(event["id"], {}) | event
        self._jobs.clear()
        self._doing = "researching the data" if event["parent"] is None else "selecting an experiment"
        if event["parent"] is None:
            return f"[bold]{event['id']}[/bold] baseline: {event['value']:.3f}"
        if event["value"] is None:
            return f"[red]{event['id']} failed: {escape(event['failure'] or '')}[/red]"
        return f"[bold green]{event['id']} done: {event['value']:.3f}[/bold green]"

    def _on_finishing(self, event: Event) -> str:
        self._doing = "evaluating finalists and the test split"
        return "evaluating finalists on confirm, then the winner on the sealed test split"

    def _on_other(self, event: Event) -> str:
        return ""

    def _clock(self) -> str:
        seconds = int(time.monotonic() - self._started)
        return f"{seconds // 60:3d}:{seconds % 60:02d}"

    def _display(self) -> RenderableType:
        parts: list[RenderableType] = []
        if self._nodes:
            parts.append(_tree(self._nodes))
        if self._jobs:
            parts.append(_job_table(list(self._jobs.values())))
        limit = self._settings.budget_seconds
        budget = f" of {limit / 60:.0f} min" if limit else ""
        done = sum(node.get("status") != "running" for node in self._nodes.values()) - 1
        round_text = f"round {min(max(done, 0) + 1, max(self._settings.rounds, 1))}/{self._settings.rounds}"
        spent = f" · {self._spending()}" if self._spent.calls else ""
        parts.append(Text(f"{self._clock()}{budget} · {round_text}{spent} · {self._doing}", style="cyan"))
        return Group(*parts)

    def _spending(self) -> str:
        """'48,210 tokens of 200,000, $0.43 of $2.00'."""
        limits, spent = self._settings.llm or self._settings.judge, self._spent
        tokens = f"{spent.tokens:,}"
        if limits and limits.token_budget is not None:
            tokens += f" of {limits.token_budget:,}"
        if limits and limits.cost_budget_usd is not None:
            return f"{tokens} tokens, {dollars(spent.cost_usd)} of {dollars(limits.cost_budget_usd)}"
        return f"{tokens} tokens" + (f", {dollars(spent.cost_usd)}" if spent.cost_usd else "")


@dataclass(frozen=True)
class _Node:
    id: str
    parent_id: str | None


def _tree(nodes: dict[str, Event]) -> Text:
    """The experiments known to this process; a parent from before a resume is not among them."""
    family = [
        _Node(name, node["parent"] if node["parent"] in nodes else None) for name, node in nodes.items()
    ]
    best = max((n["value"] for n in nodes.values() if n.get("value") is not None), default=None)
    lines = [
        f"[dim]{position.guide}[/dim]{_label(name, nodes[name], best)}"
        for name, position in layout(family).items()
    ]
    return Text.from_markup("\n".join(lines))


def _label(name: str, node: Event, best: float | None) -> str:
    value = node.get("value")
    what = readable(node.get("direction") or node.get("strategy", ""))
    if value is not None:
        star = " ★" if value == best else ""
        return f"{name} [bold]{value:.3f}[/bold] {escape(what)}{star}"
    mark = "[red]✗[/red]" if node.get("failure") else "…"
    return f"{name} {mark} {escape(what)}"


def _job_table(jobs: list[Event]) -> Table:
    table = Table.grid(padding=(0, 2))
    for job in jobs:
        share = job["step"] / max(1, job["stop_step"])
        bar = "█" * int(share * 20) + "░" * (20 - int(share * 20))
        loss = f"loss {job['loss']:.3f}" if job["loss"] is not None else ""
        table.add_row(
            f"trial {job['trial'][:8]}",
            job["state"],
            bar,
            f"{job['step']}/{job['stop_step']}",
            loss,
            _left(job),
        )
    return table


def _left(job: dict[str, Any]) -> str:
    if not job["step"] or job["step"] >= job["stop_step"]:
        return ""
    return f"{job['seconds'] / job['step'] * (job['stop_step'] - job['step']):.0f} s left"
