"""What `fairway init` did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class InitResult:
    """What was made.

    Attributes:
        files: Paths relative to ``directory``, sorted.
        commit: Hash of the first commit, ``None`` when none was made.
        notes: What the person should know or do, one sentence each.
        next_steps: Commands to run next.
    """

    directory: Path
    template: str
    name: str
    files: tuple[str, ...]
    commit: str | None = None
    notes: tuple[str, ...] = ()
    next_steps: tuple[str, ...] = ()

    def wire(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "directory": str(self.directory),
            "template": self.template,
            "name": self.name,
            "files": list(self.files),
            "commit": self.commit,
            "notes": list(self.notes),
            "next": list(self.next_steps),
        }
