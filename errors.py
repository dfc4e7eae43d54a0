"""Errors for users: one line that says what is wrong, where, and what to do."""

from __future__ import annotations

from pydantic import ValidationError


class TrexError(Exception):
    """The command cannot continue. The message is shown unchanged; `exit_code` is the exit code of the process."""

    exit_code = 1


class InputError(TrexError):
    """Invalid input of the user: a task, a file, an option. Nothing was written."""

    exit_code = 2


class PlanError(TrexError):
    """A plan or a recipe cannot be executed. The message says what to change."""


class IntegrityError(TrexError):
    """A check that protects the test split or the grader failed. In doubt a check fails."""


def explain(error: ValidationError) -> str:
    """One line for a failed validation: the fields and messages of the first errors."""
    # Unknown fields first: one is often the misspelt name of a field that is reported as missing.
    mistakes = sorted(error.errors(include_url=False), key=lambda m: m["type"] != "extra_forbidden")
    shown = [f"{'.'.join(map(str, m['loc'])) or 'value'}: {m['msg']}" for m in mistakes[:3]]
    more = f" (and {len(mistakes) - 3} more)" if len(mistakes) > 3 else ""
    return "; ".join(shown) + more
