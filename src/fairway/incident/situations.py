"""What is done in which situation (SPEC J2): a table, and which situation a reason of the journal stands for. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from fairway.verdict.values import GateKind


class Situation(StrEnum):
    """What has gone wrong."""

    PROBE_FAILED = "probe_failed"
    """The release was deployed and does not answer its probes."""
    SLA_DROPPED = "sla_dropped"
    """It answers, and keeps its promise no more."""
    ERROR_BURST = "error_burst"
    """Its requests fail."""
    DEGRADED = "degraded"
    """Its requests end well, but are shown to be slower, dearer or worse than stable's."""
    START_FAILED = "start_failed"
    """It never came up."""
    RESOURCE_GROWTH = "resource_growth"
    """It eats what it runs on."""
    PERSON_ASKED = "person_asked"
    """Somebody saw something."""
    UNKNOWN = "unknown"


class Act(StrEnum):
    """What is done, in this order."""

    MASK = "mask"
    REROUTE = "reroute"
    PAUSE = "pause"
    ROLL_BACK = "roll_back"
    REVIEW = "review"


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What a situation asks for.

    Attributes:
        acts: In order.
        automatic: Whether automation does it; else a person decides.
        why: One sentence.
    """

    acts: tuple[Act, ...]
    automatic: bool
    why: str


RESPONSES: Mapping[Situation, Response] = {
    Situation.PROBE_FAILED: Response(
        acts=(Act.REROUTE, Act.ROLL_BACK), automatic=True, why="it does not answer: back at once"
    ),
    Situation.SLA_DROPPED: Response(
        acts=(Act.PAUSE, Act.REVIEW), automatic=False, why="it serves, but worse: nothing moves until a person looked"
    ),
    Situation.ERROR_BURST: Response(
        acts=(Act.MASK, Act.REROUTE, Act.ROLL_BACK),
        automatic=True,
        why="its requests fail: no new one reaches it, all go to stable",
    ),
    Situation.DEGRADED: Response(
        acts=(Act.REROUTE, Act.ROLL_BACK),
        automatic=True,
        why="it is worse than stable by more than the policy allows: back, conversations end where they are",
    ),
    Situation.START_FAILED: Response(
        acts=(Act.REROUTE, Act.ROLL_BACK), automatic=True, why="it never came up: stable keeps the traffic"
    ),
    Situation.RESOURCE_GROWTH: Response(
        acts=(Act.REROUTE, Act.ROLL_BACK), automatic=True, why="it will fall over: traffic leaves before it does"
    ),
    Situation.PERSON_ASKED: Response(
        acts=(Act.REROUTE, Act.ROLL_BACK), automatic=True, why="a person said so, and nothing blocks an abort"
    ),
    Situation.UNKNOWN: Response(
        acts=(Act.PAUSE, Act.REVIEW), automatic=False, why="nobody knows what this is: a person looks"
    ),
}
"""One response a situation; none is left out."""

_CODES: Mapping[str, Situation] = {
    "candidate_not_ready": Situation.START_FAILED,
    "prepare_timeout": Situation.START_FAILED,
    "release_refused": Situation.START_FAILED,
    "candidate_crashed": Situation.PROBE_FAILED,
    "probe_failed": Situation.PROBE_FAILED,
    "smoke_failed": Situation.PROBE_FAILED,
    "smoke_error": Situation.PROBE_FAILED,
    "custom_gate_failed": Situation.DEGRADED,
    "mix_unverified": Situation.DEGRADED,
    "shadow_unattested": Situation.PROBE_FAILED,
    "gate_failed": Situation.ERROR_BURST,
    "gateway_tripped": Situation.ERROR_BURST,
    "soak_failed": Situation.ERROR_BURST,
    "mirror_failed": Situation.ERROR_BURST,
    "trigger_fired": Situation.ERROR_BURST,
    "trigger_paused": Situation.SLA_DROPPED,
    "aborted": Situation.PERSON_ASKED,
    "superseded": Situation.PERSON_ASKED,
    "rollback_requested": Situation.PERSON_ASKED,
}
_WORDS: tuple[tuple[str, Situation], ...] = (
    ("crash", Situation.PROBE_FAILED),
    ("memory", Situation.RESOURCE_GROWTH),
    ("probe", Situation.PROBE_FAILED),
)
"""Words in the reason of a trigger that say more than its code does."""
_BY_GATES = frozenset({"gate_failed", "soak_failed"})
_THAT_FAIL = frozenset({GateKind.FAILURES, GateKind.SUCCESS, GateKind.UNKNOWN, GateKind.EXCESS_FAILURES})
"""Gates whose bad units are requests that fail, or whose end nobody knows."""


def situation_of(code: str, reason: str = "", *, gates: Collection[str] = ()) -> Situation:
    """Which situation a reason of the journal stands for; a code nobody knows is unknown, never harmless.

    Args:
        code: Of the event that began the rollback.
        reason: Its sentence; read only for triggers, which share one code.
        gates: Kinds of the gates that failed, where gates did; without any, requests are taken to fail.
    """
    found = _CODES.get(code, Situation.UNKNOWN)
    if code in _BY_GATES and gates and not _THAT_FAIL.intersection(gates):
        return Situation.DEGRADED
    if code == "trigger_fired" and reason.startswith("latency:"):
        return Situation.DEGRADED
    if code in ("trigger_fired", "trigger_paused"):
        name = reason.lower()
        return next((situation for word, situation in _WORDS if word in name), found)
    return found


def respond(situation: Situation) -> Response:
    """What the situation asks for."""
    return RESPONSES[situation]
