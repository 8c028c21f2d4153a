"""How often requests of an arm may be sent anew, so that an arm in trouble is not given twice the work. Pure."""

from __future__ import annotations

REFILL_SECONDS = 10.0
"""An empty budget is whole again after this."""


class RetryBudget:
    """A bucket as large as what may run on the arm at once: each of those may be sent anew when an instance dies."""

    __slots__ = ("_at", "_left", "spent", "whole")

    def __init__(self, whole: int = 0) -> None:
        """Begin full."""
        self.whole = whole
        self.spent = 0
        """Taken in all."""
        self._left = float(whole)
        self._at = 0.0

    def resize(self, whole: int) -> None:
        """From now on it holds so many; what was spent stays spent."""
        self._left = max(0.0, self._left + whole - self.whole)
        self.whole = whole

    def take(self, now: float) -> bool:
        """Take one; ``False`` when there is none left.

        Args:
            now: Seconds of a monotonic clock.
        """
        self._left = min(self.whole, self._left + max(0.0, now - self._at) * self.whole / REFILL_SECONDS)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        self.spent += 1
        return True
