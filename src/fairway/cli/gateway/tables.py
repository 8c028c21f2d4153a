"""The last table of a gateway, as it is on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fairway.state_dir import StateDir
    from fairway.traffic.table import RouteTable


def last_table(state: StateDir, given: str | None = None) -> RouteTable:
    """The table in a file, or the last one the gateway kept.

    Raises:
        NotFoundError: When there is none.
        UserError: When it cannot be read.
    """
    from fairway.errors import NotFoundError, UserError
    from fairway.gateway.disk import read_json
    from fairway.traffic.table import RouteTable

    file = Path(given) if given else state.gateway / "table.json"
    try:
        wire = read_json(file)
        if wire is None:
            raise NotFoundError(f"there is no table at {file}", hint="start a gateway first, or give --table")
        return RouteTable.from_wire(wire)
    except (ValueError, AttributeError) as error:
        hint = "see: fairway schema route-table"
        raise UserError(f"{file}: {error}", code="table", hint=hint) from error
