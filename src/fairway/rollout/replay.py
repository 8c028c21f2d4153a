"""Decide again from a recorded snapshot: the same decision, or the difference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairway.rollout.next_step import next_step
from fairway.rollout.wire import decision_to_wire, snapshot_from_bytes, state_to_wire


def replay(snapshot: bytes) -> Mapping[str, Any]:
    """The decision this code takes on a recorded snapshot.

    Returns:
        ``{"decision": …, "state": …}`` in wire form, to compare with the event's.

    Raises:
        PermanentError: When the snapshot cannot be read.
    """
    decision = next_step(snapshot_from_bytes(snapshot))
    return {"decision": decision_to_wire(decision), "state": state_to_wire(decision.state)}
