"""The last table of a gateway, as it is on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fairway.state_dir import StateDir
    from fairway.traffic.table import RouteTable


def last_table(state: StateDir, given: str | None = None) -> RouteTable:
    """The table in a file that somebody wrote, or the last one the gateway kept.

    Raises:
        NotFoundError: When there is none.
        UserError: When it cannot be read.
    """
    from fairway.errors import NotFoundError, UserError
    from fairway.gateway.disk import read_json
    from fairway.project.table_file import read_table_file
    from fairway.traffic.table import RouteTable

    if given is not None:
        return read_table_file(Path(given))
    file = state.gateway / "table.json"
    try:
        wire = read_json(file)
        if wire is None:
            raise NotFoundError(f"there is no table at {file}", hint="start a gateway first, or give --table")
        return RouteTable.from_wire(wire)
    except (ValueError, AttributeError) as error:
        hint = "see: fairway schema route-table"
        raise UserError(f"{file}: {error}", code="table", hint=hint) from error
