"""How a command asks a controller for something: submit a request, wait for its answer, say what became of it."""

from __future__ import annotations

import getpass
import subprocess
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairway.errors import ConflictError, FairwayError, NotFoundError, RefusedError, TransientError
from fairway.rollout.requests import Answer, AnswerKind, Request, Verb

if TYPE_CHECKING:
    from fairway.bootstrap import Workspace

WAIT_SECONDS = 10.0
_CONFLICTS = frozenset(
    {"moved", "rollout_live", "already_rolling", "already_stable", "already_rolling_back", "aborted", "withdrawn"}
)
_MISSING = frozenset(
    {
        "unknown_release",
        "no_rollout",
        "no_previous",
        "no_hold",
        "not_blocked",
        "not_paused",
        "no_approval",
        "not_pending",
        "no_note_owed",
    }
)

_HINTS = {
    "rollout_live": "fairway rollout status shows it; fairway rollout abort ends it, "
    "and fairway deploy --supersede starts another in its place",
}
"""What to do about a refusal whose message may not say it."""


def actor_of(root: Path) -> str:
    """Who runs the command: git's ``user.email`` of the project, else the operating system's user."""
    try:
        done = subprocess.run(
            ["git", "config", "user.email"], cwd=root, capture_output=True, text=True, timeout=5, check=False
        )
        if done.returncode == 0 and done.stdout.strip():
            return done.stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        pass
    return getpass.getuser()


def ask(
    workspace: Workspace, verb: Verb, *, args: Mapping[str, Any] | None = None, reason: str = "", pinned: bool = False
) -> Answer:
    """Submit a verb for the serving route and wait for its answer.

    Args:
        workspace: The open project.
        verb: What is asked.
        args: Of the verb.
        reason: Why.
        pinned: Refuse when the route has moved on since it was read now, so that two clicks are one step.

    Raises:
        TransientError: ``no_controller`` when none is alive, ``no_answer`` when it is busy; the request stays recorded.
        RefusedError: Why the controller refused; NotFoundError and ConflictError where that says more.
    """
    request = Request(
        id=uuid.uuid4().hex,
        route=workspace.route,
        verb=verb,
        actor=actor_of(workspace.project.root),
        at=workspace.clock.now(),
        args=dict(args or {}),
        reason=reason,
        if_version=workspace.ledger.head(workspace.route).fence.seq if pinned else None,
    )
    workspace.ledger.submit(request)
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        answer = workspace.ledger.answer(request.id)
        if answer.kind is AnswerKind.APPLIED:
            return answer
        if answer.kind is AnswerKind.REFUSED:
            raise refusal(answer)
        if workspace.ledger.lease_of(workspace.route) is None:
            raise TransientError(
                "no controller is running; the request is recorded and will be applied when one is",
                code="no_controller",
                hint="start it in another terminal: fairway up",
            )
        time.sleep(0.05)
    raise TransientError(
        f"the controller has not answered within {WAIT_SECONDS:.0f}s; the request stays recorded",
        code="no_answer",
        hint="fairway rollout status shows what it waits for",
    )


def refusal(answer: Answer) -> FairwayError:
    """The error of a request that the controller refused: a conflict, something that is not there, or a law."""
    hint = _HINTS.get(answer.code)
    if answer.code in _CONFLICTS:
        return ConflictError(answer.message, code=answer.code, hint=hint)
    if answer.code in _MISSING:
        return NotFoundError(answer.message, code=answer.code, hint=hint)
    return RefusedError(answer.message, code=answer.code, hint=hint)
