"""What a rule of LawBench is given, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ....errors import InputError
from ..columns import column, row_name, shown


@dataclass(frozen=True)
class Case:
    """One answer to score: the prompt the model saw, the published answer, and what it wrote."""

    where: str
    prompt: str
    reference: str
    prediction: str


@dataclass(frozen=True)
class Outcome:
    """What one case is worth. `counted` is false for rows that the task leaves out of its mean."""

    value: float = 0.0
    counted: bool = True
    abstained: bool = False
    edits: tuple[int, int, int] = (0, 0, 0)
    """Right, wrong and missed corrections; proofreading alone counts them."""


Rule = Callable[[Case], Outcome]
"""Scores a case. An upstream rule may raise anything, as the official code does."""


def case(item: Mapping[str, Any], prediction: str) -> Case:
    """The case of a row: of the official evaluation (`refr`, `origin_prompt`) or of the data set itself.

    Raises InputError naming the row and the column it lacks.
    """
    where = row_name(item)
    reference = item["refr"] if "refr" in item else _text(item, "answer")
    if "origin_prompt" in item:
        prompt = _prompt(item["origin_prompt"], where)
    elif "refr" in item and "instruction" not in item and "question" not in item:
        raise InputError(
            f"{where} has no column 'origin_prompt', which LawBench's scorer reads beside 'refr'"
        )
    else:
        prompt = f"{_text(item, 'instruction')}\n{_text(item, 'question')}"
    if not isinstance(reference, str):
        raise InputError(f"{where}: the answer must be text, not {type(reference).__name__}")
    return Case(where, prompt, reference, prediction)


def _text(item: Mapping[str, Any], name: str) -> str:
    value = column(item, name, "lawbench")
    if not isinstance(value, str):
        raise InputError(f"{row_name(item)}: column {name!r} must be text, not {type(value).__name__}")
    return value


def _prompt(value: Any, where: str) -> str:
    """A prompt as text, or as OpenCompass keeps it: a list of turns, the first of which is the question."""
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        value = value[0].get("prompt")
    if not isinstance(value, str):
        raise InputError(f"{where}: 'origin_prompt' must be text or a list of turns with a 'prompt'")
    return value


def malformed(case: Case, expected: str) -> InputError:
    """The error for a published answer that isn't what the sub-task's answers look like."""
    return InputError(f"{case.where}: its answer must be {expected}, not {shown(case.reference)}")
