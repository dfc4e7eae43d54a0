"""What a model is told whose arguments for a tool do not validate."""

from __future__ import annotations

from pydantic import ValidationError

from ..errors import explain


def refusal(error: object) -> str:
    """One line, marked as an error: which arguments are wrong, and how. For `handle_validation_error`."""
    told = explain(error) if isinstance(error, ValidationError) else " ".join(str(error).split())
    return f"error: {told[:1000]}"
