"""A proposal as a task file with comments."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import yaml

from ..data_files import HUB
from .proposal import Proposal

_WIDTH = 110


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text and not any(line.endswith((" ", "\t")) for line in text.split("\n")) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def task_yaml(proposal: Proposal, folder: Path) -> str:
    """The text of a task file in `folder`: fields with their reasons above, notes at the end."""
    parts = ["# A task for TREX, proposed from the data. Change what you like, then: trex check THIS_FILE"]
    for name, value in proposal.fields.items():
        lines = _comment(proposal.reasons.get(name, ""))
        lines.append(
            yaml.dump(
                {name: _relative(name, value, folder)},
                Dumper=_Dumper,
                sort_keys=False,
                allow_unicode=True,
                width=_WIDTH,
                default_flow_style=None if name == "choices" else False,
            ).rstrip()
        )
        parts.append("\n".join(lines))
    if proposal.notes:
        parts.append("\n".join(line for note in proposal.notes for line in _comment(note)))
    return "\n\n".join(parts) + "\n"


def _comment(text: str) -> list[str]:
    printed = " ".join(text.split())
    return textwrap.wrap(printed, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False)


def _relative(name: str, value: Any, folder: Path) -> Any:
    """Paths inside the task file's folder relative to it, so that the folder can be moved."""
    if name == "sources":
        return [entry | {"path": _relative("data", entry["path"], folder)} for entry in value]
    if name not in ("data", "dev", "test") or not isinstance(value, str) or value.startswith(HUB):
        return value
    path = Path(value).absolute()
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
