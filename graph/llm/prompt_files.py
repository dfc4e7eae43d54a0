"""The prompts of agents: Jinja templates `<name>.md` in a folder. A missing value is an error."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage


@cache
def _environment(folder: Path) -> Environment:
    # The prompts are text for a model, not HTML: nothing is escaped.
    loader = FileSystemLoader(folder)
    return Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def first_messages(folder: Path, name: str, /, **values: Any) -> list[BaseMessage]:
    """The system prompt `system.md` and the prompt `<name>.md`. Values are never parsed as templates."""
    prompts = _environment(folder)
    return [
        SystemMessage(prompts.get_template("system.md").render().strip()),
        HumanMessage(prompts.get_template(f"{name}.md").render(values).strip()),
    ]
