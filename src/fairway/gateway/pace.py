"""How fast a request's body comes: a client that sends a byte now and then holds a place that others need."""

from __future__ import annotations

from fairway.gateway.watching import BODY_SECONDS


class Pace:
    """The pace of one body, looked at now and then."""

    __slots__ = ("_since", "_taken")

    def __init__(self, now: float, taken: int) -> None:
        """Begin to measure.

        Args:
            now: Seconds.
            taken: Bytes that have come.
        """
        self._since, self._taken = now, taken

    def crawls(self, now: float, taken: int, *, rate: int, held: bool) -> bool:
        """Whether less than so many bytes a second came over the last :data:`BODY_SECONDS`.

        Args:
            now: Seconds.
            taken: Bytes that have come.
            rate: The least bytes a second.
            held: The gateway itself does not read, because the arm does not: nobody's pace but its own.
        """
        elapsed = now - self._since
        if not held and elapsed < BODY_SECONDS:
            return False
        slow = not held and taken - self._taken < rate * elapsed
        self._since, self._taken = now, taken
        return slow
