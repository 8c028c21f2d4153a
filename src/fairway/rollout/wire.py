"""States, decisions and snapshots as canonical JSON, and back: strict, because a replay must not guess."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fairway.canonical import canonical_json
from fairway.errors import PermanentError
from fairway.rollout.deciding import Decision, Snapshot
from fairway.rollout.values import Plan, RouteState

_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {
    kind: TypeAdapter(kind) for kind in (RouteState, Decision, Snapshot, Plan)
}


def _dump(value: Any) -> Any:
    return _ADAPTERS[type(value)].dump_python(value, mode="json")


def _load(kind: type[Any], wire: Any, what: str) -> Any:
    try:
        return _ADAPTERS[kind].validate_python(wire, strict=False)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PermanentError(
            f"the ledger's {what} cannot be read at {where}: {first['msg']}",
            code="ledger_unreadable",
            hint="another version of Fairway wrote it; run that version, or check with `fairway audit verify`",
        ) from error


def state_to_wire(state: RouteState) -> dict[str, Any]:
    """JSON-able form of a route's state."""
    wire: dict[str, Any] = _dump(state)
    return wire


def state_from_wire(wire: Mapping[str, Any]) -> RouteState:
    """Read a state.

    Raises:
        PermanentError: When it is malformed or of another version.
    """
    state: RouteState = _load(RouteState, wire, "state")
    return state


def decision_to_wire(decision: Decision) -> dict[str, Any]:
    """JSON-able form of a decision; the state after it is kept beside it, not inside."""
    wire: dict[str, Any] = _dump(decision)
    wire.pop("state")
    return wire


def decision_from_wire(wire: Mapping[str, Any], state: RouteState) -> Decision:
    """Read a decision, with the state after it that is kept beside it.

    Raises:
        PermanentError: When it is malformed or of another version.
    """
    decision: Decision = _load(Decision, {**wire, "state": state_to_wire(state)}, "decision")
    return decision


def plan_to_wire(plan: Plan) -> dict[str, Any]:
    """JSON-able form of a plan."""
    wire: dict[str, Any] = _dump(plan)
    return wire


def snapshot_to_bytes(snapshot: Snapshot) -> bytes:
    """Canonical JSON of everything a decision looked at."""
    return canonical_json(_dump(snapshot))


def snapshot_from_bytes(content: bytes) -> Snapshot:
    """Read a snapshot.

    Raises:
        PermanentError: When it is malformed or of another version.
    """
    try:
        snapshot: Snapshot = _ADAPTERS[Snapshot].validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PermanentError(f"snapshot cannot be read at {where}: {first['msg']}", code="ledger_unreadable") from error
    return snapshot
