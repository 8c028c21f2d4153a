"""When a server wants to be asked again."""

from __future__ import annotations


def parse_retry_after(value: str | None, *, now: float) -> float | None:
    """Seconds of a ``Retry-After`` header, given as seconds or as a date; ``None`` when absent or unreadable.

    Args:
        value: Of the header.
        now: Seconds since the epoch, for a date.
    """
    if value is None:
        return None
    text = value.strip()
    try:
        seconds = float(text) if text.replace(".", "", 1).isdecimal() else None
    except ValueError:
        seconds = None
    if seconds is None:
        from email.utils import parsedate_to_datetime  # 20 ms to import, for a form hardly anybody sends

        try:
            seconds = parsedate_to_datetime(text).timestamp() - now
        except (ValueError, TypeError, OverflowError, IndexError):
            return None
    return max(0.0, seconds) if seconds < float("inf") else None
