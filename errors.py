"""Errors a person reads: one line that says what is wrong, where, and what to do."""

from __future__ import annotations

from pydantic import ValidationError


class TrexError(Exception):
    """The run cannot go on. The message is shown as it is; `exit_code` becomes the process's."""

    exit_code = 1


class InputError(TrexError):
    """What the user gave is wrong: a task, a file, an option. Nothing was written."""

    exit_code = 2


class PlanError(TrexError):
    """A plan or a recipe cannot be carried out as written; the message tells its author what to change."""


class IntegrityError(TrexError):
    """A check that protects the test split or the grader failed. Checks fail closed."""


def explain(error: ValidationError) -> str:
    """One line for a failed validation: where the first mistakes are, and what they are."""
    # A field that is not known first: it is often the misspelt name of one that is said to be missing.
    mistakes = sorted(error.errors(include_url=False), key=lambda m: m["type"] != "extra_forbidden")
    shown = [f"{'.'.join(map(str, m['loc'])) or 'value'}: {m['msg']}" for m in mistakes[:3]]
    more = f" (and {len(mistakes) - 3} more)" if len(mistakes) > 3 else ""
    return "; ".join(shown) + more
