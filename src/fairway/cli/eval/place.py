"""Where an evaluation command works: in a project, or in a bare folder."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fairway.evals.history.folders import EvalHistory
from fairway.state_dir import StateDir

if TYPE_CHECKING:
    from fairway.evals.history.baseline import BaselineStore
    from fairway.project.load import Project

_PROJECT_FILE = "fairway.yaml"


@dataclass(eq=False)
class EvalPlace:
    """A project's, or a folder's, evaluations.

    Attributes:
        root: Of the project; outside one the current folder.
        in_project: Whether there is a ``fairway.yaml``.
    """

    root: Path
    in_project: bool

    @property
    def state(self) -> StateDir:
        """``.fairway/``."""
        return StateDir(self.root / ".fairway")

    @property
    def history(self) -> EvalHistory:
        """The runs kept here."""
        return EvalHistory(self.state.evals)

    @cached_property
    def agent(self) -> str:
        """Whose evaluations these are; outside a project the folder's name."""
        return self.project.agent.name if self.in_project else self.root.name

    @cached_property
    def project(self) -> Project:
        """The project, read when it is needed.

        Raises:
            NotFoundError: There is none.
            ProjectFileError: It is wrong.
        """
        from fairway.project.load import load_project

        return load_project(self.root)

    @cached_property
    def actor(self) -> str:
        """Who runs the command."""
        if not self.in_project:
            return getpass.getuser()
        from fairway.cli.verbs import actor_of

        return actor_of(self.root)

    @contextmanager
    def baselines(self) -> Iterator[BaselineStore]:
        """Where baselines are on record: the project's ledger, outside a project a file beside the runs."""
        if not self.in_project:
            from fairway.evals.history.baseline_file import BaselineFile

            yield BaselineFile(self.state.evals / "baselines.jsonl")
            return
        from fairway.ledger import open_ledger
        from fairway.stages.blessed import LedgerBaselines

        ledger = open_ledger(self.state.ledger)
        try:
            yield LedgerBaselines(ledger)
        finally:
            ledger.close()


def eval_place(project_dir: str | None) -> EvalPlace:
    """The nearest project at or above a folder, else the current folder.

    Raises:
        NotFoundError: ``no_project``: a project was named, and there is none.
    """
    start = Path(project_dir or ".").resolve()
    for folder in (start, *start.parents):
        if (folder / _PROJECT_FILE).is_file():
            return EvalPlace(root=folder, in_project=True)
    if project_dir is not None:
        from fairway.errors import NotFoundError

        raise NotFoundError(f"there is no {_PROJECT_FILE} in {start} or above", code="no_project", hint="fairway init")
    return EvalPlace(root=start, in_project=False)
