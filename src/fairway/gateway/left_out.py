"""Requests of conversations that a shadow does not follow: they take the short way, and each is counted all the same.

A slow shadow fills its room at once, and from then on nearly all conversations are such: what is done for each of
their requests is what a mirror costs its users. So nothing is: they are counted in cells of their own, whose requests
are known without being told apart one by one.
"""

from __future__ import annotations

from fairway.gateway.telemetry import Cell, Telemetry


class LeftOut:
    """Where requests of such conversations are counted that are left out for one reason, under one table."""

    __slots__ = ("_cells", "_name", "_telemetry")

    def __init__(self, telemetry: Telemetry, name: str) -> None:
        """``name``: of its cells, which no other's have."""
        self._telemetry = telemetry
        self._name = name
        self._cells: list[Cell] = []

    def cell(self, like: Cell) -> Cell:
        """The cell beside the one that counts all others of the block."""
        found = self._telemetry.apart(like, self._name)
        if found not in self._cells:
            self._cells.append(found)
        return found

    def counted(self) -> int:
        """How many took the short way since the last report; to be asked right before each."""
        self._cells = [cell for cell in self._cells if not cell.retired]
        return sum(cell.quick + cell.begun for cell in self._cells)
