"""`trex init`: questions with the proposed answers, the task file, and how its rows look to the model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape

from ...errors import InputError
from ...evaluation.check_process import check_files
from ...evaluation.data_files import printable
from ...evaluation.proposal import Proposal, Wanted, parts_by_name, propose, task_yaml
from .check_view import print_check

_ASKED = {"requirement": "What should the model do", "base_model": "Base model"}


def init_task(out: Console, data: list[str], wanted: Wanted, path: Path, ask: bool) -> None:
    """Propose a task, ask about it if `ask`, write its file, and check it. Raises InputError."""
    if path.suffix not in (".yaml", ".yml"):
        raise InputError(f"{path}: a task file ends in .yaml")
    parts = parts_by_name(data)
    proposal = propose(parts, wanted)
    if ask:
        proposal = _asked(parts, wanted, proposal)
    for name, value in proposal.fields.items():
        reason = escape(proposal.reasons.get(name, ""))
        out.print(
            f"[bold]{name}[/bold]: {escape(printable(str(value), 300))}  [dim]{reason}[/dim]", soft_wrap=True
        )
    for note in proposal.notes:
        out.print(f"[yellow]{escape(note)}[/yellow]", soft_wrap=True)
    folder = path.absolute().parent
    report = check_files(proposal.task(folder))  # a task that cannot be is told before its file is there
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(task_yaml(proposal, folder), encoding="utf-8")
    out.print()
    print_check(out, report)
    out.print(f"\nwritten: {path}; read it, change what you like, then:", soft_wrap=True)
    for command in (f"trex check {path}", f"trex run {path} --smoke", f"trex run {path} --budget 15m"):
        out.print(f"  {command}", markup=False, soft_wrap=True)


def _asked(parts: dict[str, list[str]], wanted: Wanted, proposal: Proposal) -> Proposal:
    """The proposal after the user's answers; Enter takes what is proposed."""
    if "answer_column" in proposal.fields:
        wanted = _asked_columns(parts, wanted, proposal)
    said = {
        name: typer.prompt(text, default=proposal.fields[name])
        for name, text in _ASKED.items()
        if name not in wanted.fields
    }
    changed = {name: value for name, value in said.items() if value != proposal.fields[name]}
    return propose(parts, replace(wanted, fields={**wanted.fields, **changed}))


def _asked_columns(parts: dict[str, list[str]], wanted: Wanted, proposal: Proposal) -> Wanted:
    answer = typer.prompt("Column of the answer", default=proposal.fields["answer_column"])
    if answer != proposal.fields["answer_column"]:
        wanted = replace(wanted, answer=answer)
        proposal = propose(parts, wanted)
    shown = ", ".join(sorted(proposal.task(Path.cwd()).prompt.question_fields))
    question = typer.prompt("Columns of the question, with commas", default=shown)
    if question != shown:
        wanted = replace(wanted, question=[name.strip() for name in question.split(",") if name.strip()])
    return wanted
