"""The Researcher's prompts: Jinja templates in `prompts/`. A missing value is an error."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

FOLDER = Path(__file__).with_name("prompts")


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(FOLDER),
        undefined=StrictUndefined,
        autoescape=False,  # text for a model, not HTML
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(name: str, **values: Any) -> str:
    """The prompt `prompts/<name>.md`. Values are never parsed as templates."""
    return _environment().get_template(f"{name}.md").render(values).strip()


def first_messages(name: str, **values: Any) -> list[BaseMessage]:
    """The first messages of a task: the system prompt and the task's prompt."""
    return [SystemMessage(render("system")), HumanMessage(render(name, **values))]
