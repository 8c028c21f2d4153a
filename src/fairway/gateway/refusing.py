"""What a client is told when nobody serves its request, and why."""

from __future__ import annotations

from typing import NamedTuple

from fairway.traffic.release_pass import Refusal


class Refused(NamedTuple):
    """An answer of the gateway itself: status, stable code, text for people, header lines."""

    status: int
    code: str
    message: str
    lines: bytes = b""


_RETRY = b"retry-after: 1\r\n"
NO_RELEASE = Refused(503, "no_release", "no release is serving", _RETRY)

_REFUSED = {
    Refusal.PASS_MISSING: (403, "naming a release takes a pass: fairway gateway pass <release>", b""),
    Refusal.PASS_INVALID: (403, "the pass is not this gateway's, not for this release, or not for this route", b""),
    Refusal.PASS_EXPIRED: (403, "the pass has expired", b""),
    Refusal.RELEASE_UNKNOWN: (404, "the route has no release of that name", b""),
    Refusal.RELEASE_NOT_SERVING: (503, "the release is not ready, or kept from traffic", _RETRY),
}


def refused(why: Refusal | None) -> Refused:
    """The answer for a request that nobody serves; ``None``: there is no arm at all."""
    if why is None:
        return NO_RELEASE
    status, message, lines = _REFUSED[why]
    return Refused(status, why.value, message, lines)
