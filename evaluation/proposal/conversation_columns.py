"""Columns that hold whole conversations, and the answers in them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..conversations import BadConversation, read_conversation
from ..data_files import Row
from ..task import Prompt
from .column_profiles import ColumnProfile, Table

_MOST = 0.8  # of the filled cells
_LOOKED_AT = 200  # rows


def conversation_columns(table: Table) -> tuple[str, ...]:
    """The column of conversations, or those of their beginnings and their ends; () if there is none."""
    found = [
        name
        for name, column in table.columns.items()
        if column.nested or column.characters > 20
        if _hold_turns(row[name] for row in table.sample[:_LOOKED_AT] if row.get(name))
    ]
    if {"prompt", "completion"} <= set(found):
        return ("prompt", "completion")
    return tuple(found[:1])


def answers(table: Table, prompt: Prompt) -> ColumnProfile:
    """The answers of the conversations that can be used, as of a column of texts."""
    profile = ColumnProfile("answer")
    for row in usable_rows(table.sample, prompt):
        profile.add(prompt.reference(row))
    return profile


def usable_rows(rows: Iterable[Row], prompt: Prompt) -> list[Row]:
    """The rows that have a conversation."""
    return [row for row in rows if _fault([row.get(name) for name in prompt.messages]) is None]


def _hold_turns(cells: Iterable[Any]) -> bool:
    """Whether most cells are lists of turns; faults of turns do not count."""
    faults = [_fault([cell]) for cell in cells]
    return bool(faults) and faults.count("no conversation") <= (1 - _MOST) * len(faults)


def _fault(cells: list[Any]) -> str | None:
    try:
        read_conversation(cells)
    except BadConversation as error:
        return error.reason
    return None
