"""The Researcher's prompts: files in `prompts/`, filled in by Jinja; a name that is missing is an error."""

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
        autoescape=False,  # texts for a model, not HTML
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(name: str, **values: Any) -> str:
    """The prompt `prompts/<name>.md`. What is filled in is never read as a template."""
    return _environment().get_template(f"{name}.md").render(values).strip()


def opening(name: str, **values: Any) -> list[BaseMessage]:
    """The first messages of an agent_task: who the Researcher is, and what is asked."""
    return [SystemMessage(render("system")), HumanMessage(render(name, **values))]
