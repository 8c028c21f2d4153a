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
from fairway.rollout.refusals import INSTEAD
from fairway.rollout.requests import Answer, AnswerKind, Request, Verb

if TYPE_CHECKING:
    from fairway.bootstrap import Workspace

WAIT_SECONDS = 10.0
_CONFLICTS = frozenset(
    {
        "moved",
        "rollout_live",
        "already_rolling",
        "already_stable",
        "already_rolling_back",
        "just_rolled_back",
        "aborted",
        "withdrawn",
    }
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
    workspace: Workspace,
    verb: Verb,
    *,
    args: Mapping[str, Any] | None = None,
    reason: str = "",
    if_version: int | None = None,
    break_glass: bool = False,
) -> Answer:
    """Submit a verb for the serving route and wait for its answer.

    Args:
        workspace: The open project.
        verb: What is asked.
        args: Of the verb.
        reason: Why.
        if_version: Refuse unless the route's last event is this one, so that two clicks are one step.
        break_glass: Do it also without the role for it, on record.

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
        args={**(args or {}), **({"break_glass": True} if break_glass else {})},
        reason=reason,
        if_version=if_version,
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
                f"no controller is running; request {request.id[:8]} is recorded and will be answered when one is",
                code="no_controller",
                hint="start it in another terminal: fairway up; "
                f"or take it back: fairway rollout withdraw {request.id[:8]}",
            )
        time.sleep(0.05)
    raise TransientError(
        f"the controller has not answered within {WAIT_SECONDS:.0f}s; request {request.id[:8]} stays recorded",
        code="no_answer",
        hint=f"fairway rollout status shows what it waits for; fairway rollout withdraw {request.id[:8]} takes it back",
    )


def refusal(answer: Answer) -> FairwayError:
    """The error of a request that the controller refused: a conflict, something that is not there, or a law."""
    hint = INSTEAD.get(answer.code)
    if answer.code in _CONFLICTS:
        return ConflictError(answer.message, code=answer.code, hint=hint)
    if answer.code in _MISSING:
        return NotFoundError(answer.message, code=answer.code, hint=hint)
    return RefusedError(answer.message, code=answer.code, hint=hint)
