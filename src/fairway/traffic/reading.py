"""What gateways read of answers that pass: stdlib alone, because the data plane imports it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is read of answers.

    Attributes:
        usage: Tokens that a model's API says at the end of its answer, where the agent says none in its outcome.
        stall_seconds: A stream of events in which nothing comes for longer has stalled.
    """

    usage: bool = True
    stall_seconds: float = 2.0

    def __post_init__(self) -> None:
        """Refuse what is no length of time.

        Raises:
            ValueError: Out of range.
        """
        if not (self.stall_seconds > 0 and math.isfinite(self.stall_seconds)):
            raise ValueError(f"{self.stall_seconds} is no time after which a stream has stalled")

    def to_wire(self) -> dict[str, Any]:
        """A JSON-able value; :meth:`from_wire` is its inverse."""
        return {"usage": self.usage, "stall_seconds": self.stall_seconds}

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Reading:
        """Read it.

        Raises:
            KeyError: When a key is missing.
            TypeError: When ``usage`` is neither true nor false.
            ValueError: On a value out of range.
        """
        if not isinstance(wire["usage"], bool):
            raise TypeError(f"{wire['usage']!r} is neither true nor false")
        return cls(usage=wire["usage"], stall_seconds=float(wire["stall_seconds"]))


DEFAULT_READING = Reading()
