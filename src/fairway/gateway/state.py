"""What a gateway keeps on disk: its name, its last table, and what it decided by itself."""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from fairway.errors import PermanentError
from fairway.gateway.disk import read_json, write_json
from fairway.state_dir import StateDir
from fairway.traffic.pin import load_pin_key
from fairway.traffic.table import RouteTable


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalDecisions:
    """What holds on this gateway whatever the table says.

    Attributes:
        pinned: Everything goes to one release, by a person's word.
        pinned_to: That release: the one that was stable when the person said so; ``None`` while there is no table yet.
        tripped: Release that passed the exposure limit, ``None`` when none did.
        tripped_to: Release that was stable then; what goes to stable goes there.
        masked: Releases that get no traffic, by a person's word, sorted.
        masked_to: Release that served as stable when the last of them was masked.
        attested: Releases that have reported outcomes, so that a missing one is unknown.
    """

    pinned: bool = False
    pinned_to: str | None = None
    tripped: str | None = None
    tripped_to: str | None = None
    masked: tuple[str, ...] = ()
    masked_to: str | None = None
    attested: tuple[str, ...] = ()

    @classmethod
    def from_wire(cls, known: object) -> LocalDecisions:
        """As they were written; none of what cannot be read."""
        if not isinstance(known, dict):
            return cls()
        releases = {
            name: value if isinstance(value := known.get(name), str) else None
            for name in ("pinned_to", "tripped", "tripped_to", "masked_to")
        }
        attested, masked = known.get("attested", ()), known.get("masked", ())
        return cls(
            pinned=known.get("pinned") is True,
            **releases,
            attested=tuple(str(item) for item in attested) if isinstance(attested, list | tuple) else (),
            masked=tuple(sorted(str(item) for item in masked)) if isinstance(masked, list | tuple) else (),
        )


class GatewayState:
    """The gateway's folder."""

    def __init__(self, state_dir: StateDir) -> None:
        """Make the folder, the gateway's id and the pin key when they are missing.

        Raises:
            OSError: When the folder cannot be written.
        """
        self.folder = state_dir.gateway
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.pin_key = state_dir.keys / "gateway-pin.key"
        load_pin_key(self.pin_key)
        self.memory = self.folder / "conversations.map"
        self.ring = self.folder / "ring"
        self.lock = self.folder / "lock"
        self.gateway_id = self._own_id()

    def _own_id(self) -> str:
        path = self.folder / "gateway.json"
        known = self._read(path)
        if isinstance(known, dict) and isinstance(known.get("id"), str):
            return str(known["id"])
        fresh = secrets.token_hex(4)
        write_json(path, {"id": fresh})
        return fresh

    def table(self) -> RouteTable | None:
        """The last table, ``None`` when there never was one.

        Raises:
            PermanentError: When the file cannot be read as a table.
        """
        path = self.folder / "table.json"
        try:
            wire = read_json(path)
            return None if wire is None else RouteTable.from_wire(wire)
        except (ValueError, AttributeError) as error:
            raise PermanentError(
                f"the gateway's last table ({path}) cannot be read: {error}",
                code="table_unreadable",
                hint="delete the file; the controller sends the table again",
            ) from error

    def keep_table(self, table: RouteTable) -> None:
        """Write the table.

        Raises:
            OSError: When the disk is full or not writable; the old one is untouched.
        """
        write_json(self.folder / "table.json", table.to_wire())

    def decisions(self) -> LocalDecisions:
        """What this gateway decided by itself before; none when that cannot be read."""
        return LocalDecisions.from_wire(self._read(self.folder / "decisions.json"))

    def keep_decisions(self, decisions: LocalDecisions) -> None:
        """Write them.

        Raises:
            OSError: As for a table.
        """
        write_json(self.folder / "decisions.json", asdict(decisions))

    @staticmethod
    def _read(path: Path) -> object:
        try:
            value: object = read_json(path)
        except ValueError:
            return None
        return value
