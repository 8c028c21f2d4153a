"""The part of the admin API that is about a shadow: the latest pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fairway.gateway.comparing import Finding
from fairway.gateway.pairs import KEPT
from fairway.traffic.local_http import LocalAnswer, LocalRequest
from fairway.units import format_share

if TYPE_CHECKING:
    from fairway.gateway.parent import Gateway


def pairs_answer(gateway: Gateway, request: LocalRequest) -> LocalAnswer:
    """``GET /v1/pairs?finding=changed,diverged&last=50``: what is mirrored, and the latest pairs.

    Answers 400 for a finding there is none of, and for a count that is no whole number.
    """
    asked = [word for word in request.query.get("finding", "").split(",") if word]
    if unknown := [word for word in asked if word not in set(Finding)]:
        every = ", ".join(finding.value for finding in Finding)
        return LocalAnswer.problem(400, "finding", f"no pair is {unknown[0]!r}: expected some of {every}")
    last = request.query.get("last", str(KEPT))
    if not (last.isascii() and last.isdecimal()):
        return LocalAnswer.problem(400, "last", f"{last!r} is no whole number")
    copies = [worker.stats.get("mirror", {}) for worker in gateway.workers.values()]
    return LocalAnswer.of(
        {
            "mirror": format_share(gateway.table.mirror) if gateway.table is not None else None,
            "copies": sum(one.get("in_flight", 0) for one in copies),
            "unnoted": gateway.pairs.unnoted,
            "pairs": gateway.pairs.latest([Finding(word) for word in asked], last=int(last)),
        }
    )
