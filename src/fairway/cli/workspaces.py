"""How a command opens the project it is run in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fairway.bootstrap import Workspace


@contextmanager
def opened(project_dir: str | None) -> Iterator[Workspace]:
    """The project at or above a folder (by default the current one), with its ledger; closed at the end.

    Raises:
        FairwayError: As :func:`fairway.bootstrap.open_workspace`.
    """
    from fairway.bootstrap import open_workspace

    workspace = open_workspace(project_dir)
    try:
        yield workspace
    finally:
        workspace.close()
