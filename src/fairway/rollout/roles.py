"""Who may ask for what, where: one table of verb x kind of environment. Pure.

What makes traffic safer is open to everybody: nothing ever blocks an abort. What overrides evidence is for few.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from fairway.bundle.environment import EnvironmentKind
from fairway.rollout.people import EVERY_ROLE, People, Role
from fairway.rollout.requests import HoldKind, Request, Verb


class Right(StrEnum):
    """A row of the matrix: a verb, or the grave form of one."""

    START = "start"
    START_PAST = "start_past"
    SUPERSEDE = "supersede"
    PROMOTE = "promote"
    PROMOTE_FULL = "promote_full"
    SKIP = "skip"
    RETRY = "retry"
    PAUSE = "pause"
    RESUME = "resume"
    RESUME_PAST = "resume_past_alarm"
    ABORT = "abort"
    ROLLBACK = "rollback"
    HOLD = "hold"
    FREEZE = "freeze"
    RELEASE_HOLD = "release_hold"
    APPROVE = "approve"
    REVOKE = "revoke"
    LIFT_BLOCK = "lift_block"
    WITHDRAW = "withdraw"
    NOTE = "note"
    SET_FLAG = "set_flag"
    FLAG_OFF = "flag_off"
    DATABASE = "database"


_RELEASING = frozenset({Role.RELEASE_MANAGER, Role.ADMIN})
_OPERATING = frozenset({Role.OPERATOR, Role.RELEASE_MANAGER, Role.ADMIN})
_RUNNING = frozenset({Role.PLATFORM_ENGINEER, Role.OPERATOR, Role.RELEASE_MANAGER, Role.ADMIN})
_APPROVING = frozenset({Role.QA, Role.RELEASE_MANAGER, Role.ADMIN})
_WORKING = frozenset(EVERY_ROLE) - {Role.AUDITOR}
_ANYBODY = frozenset(EVERY_ROLE)

_AT_PRODUCTION: Mapping[Right, frozenset[Role]] = {
    Right.START: _RUNNING,
    Right.START_PAST: _RELEASING,
    Right.SUPERSEDE: _OPERATING,
    Right.PROMOTE: _RELEASING,
    Right.PROMOTE_FULL: _RELEASING,
    Right.SKIP: _RELEASING,
    Right.RETRY: _RELEASING,
    Right.PAUSE: _WORKING,
    Right.RESUME: _OPERATING,
    Right.RESUME_PAST: _RELEASING,
    Right.ABORT: _ANYBODY,
    Right.ROLLBACK: _RUNNING,
    Right.HOLD: _WORKING,
    Right.FREEZE: _OPERATING,
    Right.RELEASE_HOLD: _OPERATING,
    Right.APPROVE: _APPROVING,
    Right.REVOKE: _RELEASING,
    Right.LIFT_BLOCK: _RELEASING,
    Right.WITHDRAW: _OPERATING,
    Right.NOTE: _ANYBODY,
    Right.SET_FLAG: _RUNNING,
    Right.FLAG_OFF: _WORKING,
    Right.DATABASE: _OPERATING,
}
_AT_STAGING: Mapping[Right, frozenset[Role]] = {
    **dict.fromkeys(Right, _WORKING),
    Right.ABORT: _ANYBODY,
    Right.NOTE: _ANYBODY,
    Right.PROMOTE_FULL: _RUNNING | {Role.QA},
    Right.SKIP: _RUNNING | {Role.QA},
    Right.FREEZE: _RUNNING,
}
_AT_HOME: Mapping[Right, frozenset[Role]] = {
    **dict.fromkeys(Right, _WORKING),
    Right.ABORT: _ANYBODY,
    Right.NOTE: _ANYBODY,
}

MATRIX: Mapping[EnvironmentKind, Mapping[Right, frozenset[Role]]] = {
    EnvironmentKind.DEV: _AT_HOME,
    EnvironmentKind.TEST: _AT_HOME,
    EnvironmentKind.STAGING: _AT_STAGING,
    EnvironmentKind.PRODUCTION: _AT_PRODUCTION,
}
"""Which roles may use a right, by kind of environment. A person needs one of them."""

_OPEN_TO_ALL = frozenset({Right.ABORT, Right.NOTE})
"""Open also to people the project does not list."""


def right_of(request: Request, *, goes_back: bool = False, past_alarm: bool = False) -> Right:
    """The row of the matrix a request falls under.

    Args:
        request: What is asked.
        goes_back: A rollout is live that a rollback would end: then it is an abort, which nothing blocks.
        past_alarm: Something asks for a person that a resume would overrule.
    """
    match request.verb:
        case Verb.START if request.args.get("override"):
            return Right.START_PAST
        case Verb.START if request.args.get("supersede"):
            return Right.SUPERSEDE
        case Verb.PROMOTE if request.args.get("full"):
            return Right.PROMOTE_FULL
        case Verb.HOLD if request.args.get("kind") == HoldKind.FREEZE.value:
            return Right.FREEZE
        case Verb.ROLLBACK if goes_back:
            return Right.ABORT
        case Verb.RESUME if past_alarm:
            return Right.RESUME_PAST
    return Right(request.verb.value) if request.verb.value in _NAMES else Right.LIFT_BLOCK


_NAMES = frozenset(right.value for right in Right)


def why_not(actor: str, right: Right, *, people: People, kind: EnvironmentKind) -> str:
    """Why somebody's roles do not allow something here; empty when they do."""
    allowed = MATRIX[kind][right]
    if right in _OPEN_TO_ALL or not people.listed:
        return ""
    held = people.roles_of(actor)
    if allowed.intersection(held):
        return ""
    return f"{actor} {_held(held)}; {right.value.replace('_', ' ')} in {kind.value} is for {_named(allowed)}"


def _held(roles: tuple[Role, ...]) -> str:
    return f"is {' and '.join(role.value for role in roles)}" if roles else "has no role in this project"


def _named(roles: frozenset[Role]) -> str:
    return ", ".join(role.value for role in Role if role in roles)
