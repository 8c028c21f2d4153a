"""How a command opens the project it is run in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fairway.bootstrap import Workspace


def refuse_without_right(workspace: Workspace, actor: str, right: str, environment: str) -> None:
    """Refuse what somebody's roles do not allow (``people.roles``); with nobody listed everybody may.

    Args:
        workspace: The open project.
        actor: Who asks.
        right: A row of :data:`fairway.rollout.roles.MATRIX`.
        environment: Where.

    Raises:
        RefusedError: ``role_missing``.
    """
    from fairway.errors import RefusedError
    from fairway.rollout.roles import Right, why_not

    project = workspace.project
    kind = project.environment(environment).kind
    refusal = why_not(actor, Right(right), people=project.people.to_people(), kind=kind)
    if refusal:
        raise RefusedError(refusal, code="role_missing", hint="people.roles in fairway.yaml says who may do what")


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
