"""Errors for users: one line that says what is wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError


class TrexError(Exception):
    """The command cannot continue. The message is shown unchanged; `exit_code` is the exit code of the process."""

    exit_code = 1


class InputError(TrexError):
    """Invalid input of the user: a task, a file, an option. Nothing was written."""

    exit_code = 2


class Interrupted(Exception):
    """The run was asked to stop: nothing is recorded, so that it can be resumed."""


class PlanError(TrexError):
    """A plan or a recipe cannot be executed. The message says what to change."""


class IntegrityError(TrexError):
    """A check that protects the test split or the grader failed. In doubt a check fails."""


@contextmanager
def reading(path: Path, advice: str) -> Iterator[None]:
    """Raises InputError, with the path and the advice, for whatever comes of reading a damaged document."""
    try:
        yield
    except (TrexError, OSError, ValueError, TypeError, AttributeError, LookupError, OverflowError) as error:
        reason = str(error)
        if isinstance(error, TrexError) and str(path) in reason:
            raise
        if isinstance(error, ValidationError):
            reason = explain(error)
        elif isinstance(error, OSError):
            reason = error.strerror or reason
        elif not isinstance(error, ValueError | TrexError):
            reason = "its structure is wrong"
        raise InputError(f"{path} is damaged ({' '.join(reason.split())}): {advice}") from error


def explain(error: ValidationError) -> str:
    """One line for a failed validation: the fields and messages of the first errors."""
    # Unknown fields first: one is often the misspelt name of a field that is reported as missing.
    mistakes = sorted(error.errors(include_url=False), key=lambda m: m["type"] != "extra_forbidden")
    listed: set[str] = set()  # the names that one may choose from: a long list, told once
    shown = []
    for mistake in mistakes[:3]:
        text, tags = _message(mistake["msg"]), mistake.get("ctx", {}).get("expected_tags", "")
        shown.append(": ".join(filter(None, (".".join(map(str, mistake["loc"])), text))))
        if tags and tags in listed:
            shown[-1] = shown[-1].removesuffix(f": {tags}")
        listed.add(tags)
    more = f" (and {len(mistakes) - 3} more)" if len(mistakes) > 3 else ""
    return "; ".join(shown) + more


def _message(text: str) -> str:
    """A message of ours without pydantic's prefix."""
    return text.removeprefix("Value error, ")
