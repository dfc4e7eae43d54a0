"""Asking a person in the terminal: about a plan, about the next turn of an agent."""

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


def ask_about_step(console: Console, question: dict[str, Any]) -> dict[str, Any] | str:
    """Show what an agent's next turn is based on, or its answer, and return the answer as a `StepReview`."""
    answer = "answer" in question
    shown = question["answer"] if answer else {id: m["content"] for id, m in question["messages"].items()}
    text = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True)
    console.print(Syntax(text, "yaml", background_color="default", word_wrap=True))
    if question["problem"]:
        console.print(f"invalid: {question['problem']}", markup=False)
    console.print(f"{question['purpose']}: {question['question']}", markup=False)
    said = click.prompt("go on, edit or no more questions", type=click.Choice(["g", "e", "n"]), default="g")
    if said == "n":
        return {"step": False}
    edited = click.edit(text, extension=".yaml") if said == "e" else None
    if edited is None:
        return "go on"
    try:
        given = yaml.safe_load(edited)
    except yaml.YAMLError as error:
        console.print(f"invalid YAML: {error}", markup=False)
        return ask_about_step(console, question)
    if answer:
        return {"answer": given}
    return {"messages": {id: content for id, content in given.items() if content != shown.get(id)}}
