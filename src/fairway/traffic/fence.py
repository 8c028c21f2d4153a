"""The fence of a route: who may still change it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Fence:
    """``(term, seq)``, compared lexicographically, never reset; belongs to the route.

    Attributes:
        term: Raised by one each time a controller acquires the route's lease.
        seq: The route's journal sequence number; raised by each event.
    """

    term: int
    seq: int

    def __str__(self) -> str:
        return f"{self.term}.{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Fence:
        """Read ``"3.17"``.

        Raises:
            ValueError: On anything but two non-negative integers with a dot between.
        """
        term, dot, seq = text.partition(".")
        if not (dot and term.isdecimal() and seq.isdecimal()):
            raise ValueError(f"{text!r} is not a fence (term.seq)")
        return cls(term=int(term), seq=int(seq))


ZERO_FENCE = Fence(term=0, seq=0)
