"""Asking a source, as a port."""

from __future__ import annotations

from typing import Protocol

from fairway.sources.placeholders import Names
from fairway.sources.values import SourceAnswer, SourceGate


class Asker(Protocol):
    """Asks one gate's question about one arm."""

    async def ask(self, gate: SourceGate, names: Names, *, role: str) -> SourceAnswer:
        """The answer about the arm in ``role`` (``candidate``, ``stable``), within the gate's timeout; never raises."""
        ...
