"""How a gateway treats the endpoints of an arm: what it asks them by itself, and when it leaves one out for a while.

Values of the route table, written with the stdlib alone; what each stands for is in ``docs/gateway/arms.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What the gateway asks each endpoint by itself.

    Attributes:
        path: Asked with GET; 200 is healthy, and a release it names has to be the arm's.
        interval: Seconds from one question to the next.
        timeout: Seconds an answer may take.
        healthy, unhealthy: So many alike in a row change what an endpoint counts as.
    """

    path: str
    interval: float = 5.0
    timeout: float = 2.0
    healthy: int = 2
    unhealthy: int = 3

    def __post_init__(self) -> None:
        if not self.path.startswith("/") or any(not "!" <= char <= "~" for char in self.path):
            raise ValueError(f"health path {self.path!r} must begin with / and be visible ASCII")
        if self.interval <= 0 or self.timeout <= 0:
            raise ValueError("interval and timeout of health must be above 0")
        if self.healthy < 1 or self.unhealthy < 1:
            raise ValueError("healthy and unhealthy must be at least 1")

    def to_wire(self) -> dict[str, Any]:
        """A JSON-able value; :meth:`from_wire` is its inverse."""
        return asdict(self)

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Health:
        """Read it.

        Raises:
            ValueError, TypeError: When it is malformed.
        """
        return cls(**wire)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ejection:
    """When an endpoint gets no requests for a while because of how it fared. Each worker finds that by itself.

    Attributes:
        after: Broken requests in a row: refused, reset, or not answered in time.
        base: Seconds of the first ejection; each further one lasts twice as long as the one before.
        longest: Seconds at most; also how long an endpoint has to do well for its ejections to be forgotten.
        share: Of the arm's endpoints, in parts of 100,000, that may be out at once: never the last one, and one of two
            or three when this is above 0. 0 ejects none.
    """

    after: int = 3
    base: float = 5.0
    longest: float = 300.0
    share: int = 50_000

    def __post_init__(self) -> None:
        if self.after < 1:
            raise ValueError("ejection after must be at least 1")
        if not 0 < self.base <= self.longest:
            raise ValueError("ejection base must be above 0 and no more than longest")
        if not 0 <= self.share <= 100_000:
            raise ValueError(f"ejection share {self.share} must be between 0 and 100000")

    def to_wire(self) -> dict[str, Any]:
        """A JSON-able value; :meth:`from_wire` is its inverse."""
        return asdict(self)

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Ejection:
        """Read it.

        Raises:
            ValueError, TypeError: When it is malformed.
        """
        return cls(**wire)


DEFAULT_EJECTION = Ejection()
