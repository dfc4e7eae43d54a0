"""The tool `failure_cases`: items of `search` that a model answered wrongly, selected by filters."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from langchain_core.tools import BaseTool
from pydantic import Field

from ..errors import InputError
from ..evaluation.failures.analysis import FailureGroup
from ..evaluation.results import FailureCase
from .agent_tool import agent_tool
from .excerpt import brief, cut, fitting
from .untrusted import quoted

Order = Literal["mixed", "longest", "shortest"]
Text = Annotated[str, Field(min_length=1)]

_TEXT = 700  # characters of a prompt or an answer
_CONFUSIONS = 8


def failure_tool(
    cases: Callable[[], Sequence[FailureCase]],
    groups: Callable[[], Sequence[FailureGroup]] = tuple,
) -> BaseTool:
    """The tool `failure_cases`. Both functions are called at each use of the tool.

    They must come from `evaluation.failures`, which reads only the split `search`.
    """

    def failure_cases(
        reference: Annotated[str | None, Field(description="Only cases with this correct answer")] = None,
        prediction: Annotated[str | None, Field(description="Only cases whose answer begins so")] = None,
        contains: Annotated[Text | None, Field(description="Only cases with this in the prompt")] = None,
        cause: Annotated[Text | None, Field(description="Only causes with this; without it, all")] = None,
        order: Annotated[Order, Field(description="By length of the prompt, or random")] = "mixed",
        most: Annotated[int, Field(ge=0, le=20, description="Cases to show; 0: only counts")] = 6,
    ) -> str:
        every, causes = cases(), groups()
        chosen = [case for case in every if _matches(case, reference, prediction, contains)]
        if cause is not None:
            ids = _of_cause(causes, cause)
            chosen = [case for case in chosen if case.id in ids]
        lines = [f"{len(every)} search items were answered wrongly; {len(chosen)} match"]
        lines += _counts(chosen, causes)
        lines += [_case_lines(case) for case in _ordered(chosen, order)[:most]]
        return quoted(fitting(lines), "failure cases of the search split")

    return agent_tool(
        failure_cases,
        "Look at dev items that the experiment's best model answered wrongly: counts of confused answers, causes that "
        "cases share, and cases by filter; upper and lower case are equal in filters. Dev items are for diagnosis; "
        "rows like them must not be copied into training data.",
    )


def _normalised(text: str) -> str:
    return " ".join(text.casefold().split())


def _matches(case: FailureCase, reference: str | None, prediction: str | None, contains: str | None) -> bool:
    return (
        (reference is None or _normalised(case.reference) == _normalised(reference))
        and (prediction is None or _normalised(case.prediction).startswith(_normalised(prediction)))
        and (contains is None or _normalised(contains) in _normalised(case.prompt))
    )


def _of_cause(groups: Sequence[FailureGroup], wanted: str) -> set[str]:
    folded = wanted.casefold()
    found = [group for group in groups if folded in f"{group.kind} {group.cause}".casefold()]
    if not found:
        known = "; ".join(group.cause for group in groups) or "none are known"
        raise InputError(f"no cause contains {wanted!r}; causes: {known[:800]}")
    return {row for group in found for row in group.ids}


def _counts(cases: Sequence[FailureCase], groups: Sequence[FailureGroup]) -> list[str]:
    ids = {case.id for case in cases}
    pairs = Counter((brief(case.reference, 40), brief(case.prediction, 40)) for case in cases)
    ordered = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))[:_CONFUSIONS]
    lines = [f"  right {right!r}, answered {given!r}: {n}" for (right, given), n in ordered if n > 1]
    if lines:
        lines.insert(0, "answered most often:")
    causes = [(len(ids & set(group.ids)), group) for group in groups]
    shown = [f"  {group.kind}: {group.cause} ({count} of the matches)" for count, group in causes if count]
    return [*lines, *(["causes:", *shown] if shown else [])]


def _ordered(cases: Sequence[FailureCase], order: Order) -> list[FailureCase]:
    """By length, or in a random order that is the same at each call."""
    if order == "mixed":
        ordered = sorted(cases, key=lambda case: case.id)
        random.Random(0).shuffle(ordered)
        return ordered
    sign = -1 if order == "longest" else 1
    return sorted(cases, key=lambda case: (sign * len(case.prompt), case.id))


def _case_lines(case: FailureCase) -> str:
    return (
        f"case {case.id}\n  prompt: {cut(case.prompt, _TEXT)}\n  right: {cut(case.reference, _TEXT)}\n"
        f"  answered: {cut(case.prediction, _TEXT) or '(nothing)'}"
    )
