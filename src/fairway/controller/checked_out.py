"""Which commit is checked out in the project's folder, and whether git is changing that just now."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fairway.bundle.git import descends, git_paths, head_commit, is_inside_repository

_Stamp = tuple[int, int, int]


class CheckedOut(Protocol):
    """What is asked of the version control of a project; every question may raise a ``FairwayError``."""

    def head(self) -> str:
        """The commit that is checked out; empty when there is none."""
        ...

    def descends(self, commit: str, of: str) -> bool:
        """Whether a commit is another one or came after it; ``False`` when that is not known."""
        ...

    def busy(self) -> bool:
        """Whether files are being checked out: they change before the commit does."""
        ...

    def moves(self) -> object:
        """Something that changes whenever another commit is checked out or made; costs next to nothing."""
        ...


@dataclass(slots=True)
class GitCheckedOut:
    """Git in a project's folder; a folder without it has no commits.

    Attributes:
        root: Folder of ``fairway.yaml``, which may be a subfolder of the repository.
    """

    root: Path
    _paths: tuple[Path, ...] = ()

    def head(self) -> str:
        """The commit that is checked out."""
        return head_commit(self.root)

    def descends(self, commit: str, of: str) -> bool:
        """Whether a commit is another one or came after it."""
        return commit == of or descends(self.root, commit, of)

    def busy(self) -> bool:
        """Whether git holds the lock of the index, as it does while it checks out."""
        found = self._own()
        return bool(found) and found[0].exists()

    def moves(self) -> _Stamp | None:
        """Stamp of the log of what was checked out."""
        found = self._own()
        try:
            stat = found[1].stat() if found else None
        except OSError:
            return None
        return None if stat is None else (stat.st_ino, stat.st_size, stat.st_mtime_ns)

    def _own(self) -> tuple[Path, ...]:
        if not self._paths and is_inside_repository(self.root):
            self._paths = git_paths(self.root, "index.lock", "logs/HEAD")
        return self._paths
