"""When an endpoint is left out because of how it fared, for how long, and how it comes back. Pure.

Two findings, as in Envoy's outlier detection. *Broken* requests (refused, reset, not answered in time) count by
themselves, in a row. *Bad answers* (a status of 500 or above) are held against the arm's other endpoints: a release
that answers badly everywhere is the release's failure and for the gates to judge, not one endpoint's.

Envoy finds the second by standard deviations from the mean rate, which says nothing for fewer than five endpoints (of n
equal but one, that one is the root of n-1 of them away). Agents often have two or three, so this asks how likely it is
that as many of the bad answers came from this endpoint if they fell by chance: Fisher's exact test, one-sided.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import exp, lgamma

from fairway.traffic.endpoints import Ejection
from fairway.units import WHOLE

WINDOW_SECONDS = 10.0
"""Answers are compared within windows of so long, which begin with a failure."""

LEAST_ANSWERS = 5
"""Fewer answers of an endpoint in a window say nothing of it."""

CHANCE = 0.001
"""An endpoint is an outlier when chance alone gives it as many bad answers no more often than this."""


NEGLIGIBLE = 1e-9
"""A further term of the tail that is smaller than this share of the sum changes nothing."""


class Standing(StrEnum):
    """What an endpoint counts as in one worker."""

    IN = "in"
    OUT = "ejected"
    TRIAL = "trial"
    WRONG = "wrong_release"


class Why(StrEnum):
    """Why an endpoint was ejected."""

    BROKEN = "broken"
    OUTLIER = "outlier"
    TRIAL = "trial_failed"
    WRONG = "wrong_release"


@dataclass(slots=True)
class Record:
    """How an endpoint has fared.

    Attributes:
        standing: What it counts as.
        wrong: It answered for another release, and has not answered for the right one since.
        broken: Broken requests since the last whole answer.
        ended, bad: Requests of the present window that ended, and those of them that failed.
        since: When the window began, in seconds of a monotonic clock.
        times: Ejections that are not forgotten.
        until: When its ejection ends.
    """

    standing: Standing = Standing.IN
    wrong: bool = False
    broken: int = 0
    ended: int = 0
    bad: int = 0
    since: float = 0.0
    times: int = 0
    until: float = 0.0

    def note(self, now: float, *, bad: bool, broken: bool = False) -> None:
        """One request of it ended."""
        if now - self.since > WINDOW_SECONDS:
            self.since, self.ended, self.bad = now, 0, 0
        self.ended += 1
        self.bad += bad
        self.broken = self.broken + 1 if broken else 0

    def eject(self, policy: Ejection, now: float, standing: Standing = Standing.OUT) -> None:
        """Leave it out from now on, for longer than the last time."""
        if now - self.until > policy.longest:
            self.times = 0
        self.times += 1
        self.until = now + ejected_for(self.times, policy)
        self.standing = standing
        self.ended = self.bad = self.broken = 0

    def come_back(self, now: float) -> None:
        """It answered its trial: it serves as the others do."""
        self.standing = Standing.IN
        self.wrong = False
        self.until = now
        self.ended = self.bad = self.broken = 0


def ejected_for(times: int, policy: Ejection) -> float:
    """Seconds of the so-manieth ejection."""
    return min(policy.longest, policy.base * 2.0 ** min(times - 1, 32))


def room_for_one(endpoints: int, out: int, policy: Ejection) -> bool:
    """Whether one more of so many endpoints may be left out when so many are already."""
    if not policy.share:
        return False
    return out < min(max(1, endpoints * policy.share // WHOLE), endpoints - 1)


def finding(record: Record, others: list[Record], policy: Ejection, now: float) -> Why | None:
    """Why the endpoint should be ejected; ``None``: it should not."""
    if record.broken >= policy.after:
        return Why.BROKEN
    fresh = [other for other in others if now - other.since <= 2 * WINDOW_SECONDS]
    ended, bad = sum(other.ended for other in fresh), sum(other.bad for other in fresh)
    return Why.OUTLIER if is_outlier(record.bad, record.ended, bad, ended) else None


def is_outlier(bad: int, ended: int, others_bad: int, others_ended: int) -> bool:
    """Whether an endpoint has more bad answers than falls to it by chance.

    The probability, all margins given, that it has at least ``bad`` of the ``bad + others_bad`` (hypergeometric upper
    tail) is at most :data:`CHANCE`; and it fails at least twice as often as the others do.
    """
    if ended < LEAST_ANSWERS or not others_ended or not bad:
        return False
    if bad * others_ended < 2 * others_bad * ended:
        return False
    return chance_of(bad, ended, others_bad, others_ended) <= CHANCE


def chance_of(bad: int, ended: int, others_bad: int, others_ended: int) -> float:
    """Fisher's exact test, one-sided: the hypergeometric probability of ``bad`` or more."""
    drawn = bad + others_bad
    whole = _log_choose(ended + others_ended, drawn)
    chance = 0.0
    for count in range(max(bad, drawn - others_ended), min(drawn, ended) + 1):
        more = exp(_log_choose(ended, count) + _log_choose(others_ended, drawn - count) - whole)
        chance += more
        if more < chance * NEGLIGIBLE:
            break  # past the peak each is smaller than the one before
    return min(1.0, chance)


def _log_choose(whole: int, part: int) -> float:
    return lgamma(whole + 1) - lgamma(part + 1) - lgamma(whole - part + 1)
