"""The header Retry-After of a response."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime


def retry_after(value: str | None, now: float | None = None) -> float | None:
    """Seconds to wait, from a number or a date (RFC 9110, 10.2.3); None for anything else. `now` is in Unix time."""
    try:
        return max(0.0, float(value or ""))
    except ValueError:
        pass
    try:
        return max(
            0.0, parsedate_to_datetime(value or "").timestamp() - (time.time() if now is None else now)
        )
    except (ValueError, TypeError, OverflowError):
        return None
