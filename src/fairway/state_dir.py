"""Where a project keeps what Fairway makes: ``.fairway/`` beside ``fairway.yaml``; never part of a bundle."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

_SOCKET_PATH_LIMIT = 100  # bytes; Linux allows 107, macOS 103


@dataclass(frozen=True, slots=True)
class StateDir:
    """The layout of ``.fairway/``; nothing is created by asking for a path."""

    root: Path

    @property
    def ledger(self) -> Path:
        """SQLite file of the ledger."""
        return self.root / "ledger.db"

    @property
    def blobs(self) -> Path:
        """Content store."""
        return self.root / "store"

    @property
    def keys(self) -> Path:
        """Private keys made on first use; mode 700."""
        return self.root / "keys"

    @property
    def logs(self) -> Path:
        """One log a process."""
        return self.root / "logs"

    @property
    def runs(self) -> Path:
        """One folder a pipeline run."""
        return self.root / "runs"

    @property
    def evals(self) -> Path:
        """One folder an evaluation."""
        return self.root / "evals"

    @property
    def cache(self) -> Path:
        """Stage cache; may be deleted at any time."""
        return self.root / "cache"

    @property
    def arms(self) -> Path:
        """Materialised releases and the state of the local target."""
        return self.root / "arms"

    @property
    def gateway(self) -> Path:
        """The gateway's last table and its ring of telemetry."""
        return self.root / "gateway"

    def flags(self, environment: str) -> Path:
        """The feature flags in force in an environment, for its arms."""
        return self.root / "run" / f"flags-{environment}.json"

    def socket(self, name: str) -> Path:
        """Path of a unix socket, ``run/<name>.sock``; in the temporary folder when that would be too long to bind."""
        path = self.root / "run" / f"{name}.sock"
        if len(str(path).encode()) <= _SOCKET_PATH_LIMIT:
            return path
        tag = hashlib.sha256(str(self.root).encode()).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"fairway-{tag}" / f"{name}.sock"

    def pid_file(self, name: str) -> Path:
        """Who runs: ``run/<name>.json``."""
        return self.root / "run" / f"{name}.json"
