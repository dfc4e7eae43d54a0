"""Asking for approval of a plan in the terminal."""

from __future__ import annotations

from typing import Any

import click
import yaml
from rich.console import Console
from rich.syntax import Syntax


def ask_person(console: Console, question: dict[str, Any]) -> dict[str, Any]:
    """Show the plan, and return the answer as a `review.Review`: accept, edit in $EDITOR, or reject with a hint."""
    text = yaml.safe_dump(question["plan"], sort_keys=False, allow_unicode=True)
    console.print(Syntax(text, "yaml", background_color="default"))
    if question["problem"]:
        console.print(f"invalid plan: {question['problem']}", markup=False)
    console.print(question["question"], markup=False)
    answer = click.prompt("accept, edit or reject", type=click.Choice(["a", "e", "r"]), default="a")
    if answer == "e":
        edited = click.edit(text, extension=".yaml")
        try:
            return {"decision": "edit", "plan": yaml.safe_load(edited or text)}
        except yaml.YAMLError as error:
            console.print(f"invalid YAML: {error}", markup=False)
            return ask_person(console, question)
    if answer == "r":
        return {"decision": "reject", "hint": click.prompt("hint for the next plan", default="")}
    return {"decision": "accept"}
