"""A deadline a client sets itself: shorter than the gateway's own limit, never longer, and told on to the arm.

Two headers are read. ``x-envoy-expected-rq-timeout-ms`` is what Envoy, and with it Istio, writes itself when it has a
limit of its own for the request; ``x-request-timeout`` is its plain twin in seconds, for clients that set it by hand.
No standard has one: ``Prefer: wait`` (RFC 7240) asks for an early answer, and grpc-timeout belongs to gRPC.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from time import perf_counter

LEFT = b"x-fairway-deadline-ms"
"""The header that tells an arm how many milliseconds are left until nobody waits for its answer any more."""

_asked = re.compile(
    rb"\r\nx-(?:request-timeout:[ \t]*+([0-9]{1,7}(?:\.[0-9]{1,6})?)|envoy-expected-rq-timeout-ms:[ \t]*+([0-9]{1,10}))"
    rb"[ \t]*+(?=\r\n)"
).findall
_left = re.compile(rb"\r\n" + LEFT + rb": [0-9]+\r\n").search


def asked_for(lower: bytes) -> float | None:
    """Seconds a client waits for its answer at most; ``None`` when it does not say, or nothing that can be read.

    What cannot be read passes as it is, like any other header: others use the same names in other ways.

    Args:
        lower: A request's head in lower case.
    """
    if b"-timeout" not in lower:
        return None
    found = [float(seconds) if seconds else int(ms) / 1000 for seconds, ms in _asked(lower)]
    given = [seconds for seconds in found if seconds > 0]  # 0 is how Envoy says that there is none
    return min(given) if given else None


def left_line(seconds: float) -> bytes:
    """The header line that tells an arm how long it has."""
    return b"%b: %d\r\n" % (LEFT, max(0, int(seconds * 1000)))


def told_anew(request: bytes, seconds: float) -> bytes:
    """The request with less time left than when its head was written.

    Args:
        request: From its head on.
        seconds: Left now.
    """
    match = _left(request)  # the first one is the gateway's: a client's own does not get this far
    if match is None:
        return request
    return request[: match.start() + 2] + left_line(seconds) + request[match.end() :]


class Deadline:
    """The end of one request's time, and the timer that tells of it: exactly then, not when a sweep comes by."""

    __slots__ = ("_timer", "until")

    def __init__(self, seconds: float, late: Callable[[], None]) -> None:
        """Begin.

        Args:
            seconds: From now on.
            late: Called when they have passed.
        """
        self.until = perf_counter() + seconds
        self._timer = asyncio.get_running_loop().call_later(seconds, late)

    @property
    def left(self) -> float:
        """Seconds; below 0 when it has passed."""
        return self.until - perf_counter()

    @property
    def line(self) -> bytes:
        """The header line that tells an arm of it."""
        return left_line(self.left)

    def cancel(self) -> None:
        """The request has ended."""
        self._timer.cancel()


def deadline_of(lower: bytes, total: float, late: Callable[[], None]) -> Deadline | None:
    """The deadline a request's head sets, when that is sooner than the gateway's own.

    Args:
        lower: The head in lower case.
        total: Seconds the gateway itself gives it.
        late: Called when it has passed.
    """
    seconds = asked_for(lower)
    return None if seconds is None or seconds >= total else Deadline(seconds, late)
