"""What an endpoint's answers to the gateway's own questions make of it, and of the table. Pure.

The table is served without the endpoints that do not do well, so that all that holds of an arm without a ready instance
holds here too: stable serves, and what was assigned to the arm has failed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from fairway.gateway.endpoints.verifying import from_another
from fairway.traffic.endpoints import Health
from fairway.traffic.table import Arm, Role, RouteTable
from fairway.units import Digest

_OK = 200
_digest = re.compile(r"sha256:[0-9a-f]{64}").fullmatch

Place = tuple[Digest, str]
"""A release and one of its endpoints."""


class Fitness(StrEnum):
    """What an endpoint counts as."""

    FIT = "healthy"
    UNFIT = "unhealthy"
    WRONG = "wrong_release"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What came of one question.

    Attributes:
        status: HTTP status; 0: no answer, in time or at all.
        said: Value of the header that names the release, if any.
        body: Of the answer, its beginning.
        detail: Why there is no answer; empty when there is one.
    """

    status: int = 0
    said: bytes | None = None
    body: bytes = b""
    detail: str = ""

    def serves(self, release: Digest) -> bool | None:
        """Whether it says that it serves this release; ``None``: it does not say which.

        A body counts when it is JSON whose ``release`` is a digest: other services use that name for other things.
        """
        if self.said is not None:
            return not from_another(self.said, release.encode())
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        named = found.get("release") if isinstance(found, dict) else None
        if not isinstance(named, str) or _digest(named) is None:
            return None
        return named == release


@dataclass(slots=True)
class Checked:
    """What is known of one endpoint: fit, until it was asked so often in vain that it is not.

    Attributes:
        fitness: What it counts as.
        row: Answers in a row that speak against that.
        verified: It says that it serves the release.
        detail: Of the last answer that was not good.
        named: It has said before that it serves the release.
    """

    fitness: Fitness = Fitness.FIT
    row: int = 0
    verified: bool = False
    detail: str = ""
    named: bool = False

    def take(self, answered: Answered, release: Digest, policy: Health) -> bool:
        """Take an answer in; whether the endpoint counts as something else now."""
        before = self.fitness
        serves = answered.serves(release) if answered.status == _OK else None
        if serves is False:
            self.fitness, self.row, self.verified = Fitness.WRONG, 0, False
            self.detail = "it serves another release"
            return before is not Fitness.WRONG
        good = answered.status == _OK
        self.named = self.named or bool(serves)
        if before is Fitness.WRONG and good and self.named and not serves:
            self.row = 0  # the silence of one that does say which release it is, is another's
            return False
        self.verified = bool(serves) or (self.verified and not good)
        self.detail = "" if good else answered.detail or f"it answered {answered.status}"
        self.row = 0 if good is (before is Fitness.FIT) else self.row + 1
        if self.row >= (policy.healthy if good else policy.unhealthy) or (before is Fitness.WRONG and serves):
            self.fitness, self.row = (Fitness.FIT if good else Fitness.UNFIT), 0
        return self.fitness is not before


def without_unfit(table: RouteTable, known: Mapping[Place, Fitness]) -> RouteTable:
    """The table without the endpoints that should get nothing.

    An endpoint that serves another release gets nothing in any case. When no endpoint of stable is fit there is nowhere
    else to go: then all arms are served as if nobody had asked, for the trouble is shared - or the question is wrong -
    and no reason to hold it against a candidate.

    Args:
        table: As the controller, or a file, has it.
        known: What each endpoint counts as; one that is not there is fit.
    """

    def which(arm: Arm, *unfit: Fitness) -> tuple[str, ...]:
        return tuple(
            endpoint for endpoint in arm.endpoints if known.get((arm.release, endpoint), Fitness.FIT) not in unfit
        )

    stable = table.arm(Role.STABLE)
    panic = stable is not None and not which(stable, Fitness.UNFIT, Fitness.WRONG)
    unfit = (Fitness.WRONG,) if panic else (Fitness.UNFIT, Fitness.WRONG)
    arms = tuple(replace(arm, endpoints=which(arm, *unfit)) for arm in table.arms)
    return table if arms == table.arms else replace(table, arms=arms)
