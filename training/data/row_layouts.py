"""Reads the usual layouts of question-and-answer rows."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...evaluation.data_files import as_text

_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "bing": "assistant",
          "chatgpt": "assistant", "system": "system"}  # fmt: skip


@dataclass(frozen=True)
class Exchange:
    """A question, its answer, and the system's turn if there is one."""

    question: str
    answer: str
    system: str = ""


class LayoutFault(Exception):
    """A row is not in the layout. The message says why."""


def exchanges(turns: Any) -> list[Exchange]:
    """The exchanges of a conversation, in ShareGPT's (`from`, `value`) or OpenAI's (`role`, `content`) layout.

    A question holds the turns before its answer, those of earlier exchanges with their roles.
    """
    if not isinstance(turns, Sequence) or isinstance(turns, str):
        raise LayoutFault(f"{turns!r:.40} is no list of turns")
    system, before, found = "", list[tuple[str, str]](), list[Exchange]()
    for turn in turns:
        if not isinstance(turn, Mapping):
            raise LayoutFault(f"{turn!r:.40} is no turn")
        role, text = _turn(turn)
        if role == "system":
            system = text
        elif role == "user":
            before.append((role, text))
        elif before and before[-1][0] == "user" and text.strip():
            asked = before[0][1] if len(before) == 1 else "\n\n".join(f"{r}: {t}" for r, t in before)
            found.append(Exchange(asked, text, system))
            before.append((role, text))
    if not found:
        raise LayoutFault("no turn of an assistant after one of a user")
    return found


def _turn(turn: Mapping[str, Any]) -> tuple[str, str]:
    name = as_text(turn.get("role") or turn.get("from")).casefold()
    content = turn.get("content") if turn.get("content") is not None else turn.get("value")
    if name not in _ROLES:
        raise LayoutFault(f"unknown role {name[:20]!r}")
    if isinstance(content, list):  # parts: {"type": "text", "text": ...}
        content = "".join(as_text(part.get("text")) for part in content if isinstance(part, Mapping))
    return _ROLES[name], as_text(content)


def instruction(row: Mapping[str, Any]) -> Exchange:
    """A row in Alpaca's layout: `instruction`, `input`, `output`."""
    asked = [as_text(row.get(name)).strip() for name in ("instruction", "input")]
    return _complete("\n\n".join(part for part in asked if part), as_text(row.get("output")), row)


def multiple_choice(row: Mapping[str, Any]) -> Exchange:
    """`question`, `choices` (texts, or an object with `text` and `label`), `answer` (place from 0, letter or text)."""
    choices = row.get("choices") if row.get("choices") is not None else row.get("options")
    labels: Sequence[str] = string.ascii_uppercase
    if isinstance(choices, Mapping):
        labels, choices = [as_text(label) for label in choices.get("label") or labels], choices.get("text")
    if not isinstance(choices, list) or not 2 <= len(choices) <= len(labels):
        raise LayoutFault(f"`choices` is {choices!r:.40}, not 2 to {len(labels)} texts")
    labels = list(labels)[: len(choices)]
    texts = [as_text(choice) for choice in choices]
    right = row.get("answer") if row.get("answer") is not None else row.get("answerKey", row.get("label"))
    spelled = as_text(right).strip()
    if spelled in labels:
        letter = spelled
    elif spelled in texts:
        letter = labels[texts.index(spelled)]
    elif spelled.isdecimal() and int(spelled) < len(labels):
        letter = labels[int(spelled)]
    else:
        raise LayoutFault(f"the answer {spelled[:40]!r} is none of the choices")
    lines = [as_text(row.get("question")), *(f"{a}. {b}" for a, b in zip(labels, texts, strict=True))]
    return _complete("\n".join(lines), letter, row)


def _complete(question: str, answer: str, row: Mapping[str, Any]) -> Exchange:
    if not question.strip() or not answer.strip():
        raise LayoutFault("no question or no answer")
    return Exchange(question, answer, as_text(row.get("system")))
