"""What a decision looks at, and what it is: frozen values, version 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

from fairway.bundle.environment import EnvironmentKind
from fairway.rollout.evidence import PLAIN_ABILITIES, Abilities, MirrorPairs, Probed
from fairway.rollout.people import NOBODY_LISTED, People
from fairway.rollout.requests import Answer, Request
from fairway.rollout.values import ArmRef, Desired, Plan, RouteState
from fairway.sources.values import SourceFinding, SourceReading
from fairway.targets.port import ObservedArm
from fairway.traffic.fence import Fence
from fairway.traffic.port import RouterObserved
from fairway.units import Digest
from fairway.verdict.values import Alarm, GateFinding

ENGINE_VERSION = "4"
"""Raised when ``next_step`` decides differently on the same snapshot; a replay names it."""
READING_VERSION = "3"
"""Raised when the gates find otherwise in the same blocks; a replay names it."""


class DecisionKind(StrEnum):
    """What was decided."""

    START = "start"
    ADVANCE = "advance"
    WAIT = "wait"
    PAUSE = "pause"
    ROLL_BACK = "roll_back"
    FINISH = "finish"
    OBEY = "obey"
    """A person's verb changed something else: hold, resume, approval, lifted block."""
    IDLE = "idle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is desired now, why, on which evidence, and when to look again.

    Attributes:
        code: Stable reason code, e.g. ``gate_failed``; listed in ``docs/reference/reasons.md``.
        reason: One sentence for people.
        state: The route's state after it.
        answers: Requests consumed.
        evidence: Gates as they stood.
        sources: Custom gates as they stood; guarantee: none.
        look_again_after: Seconds.
        actor: ``controller``, or who asked.
    """

    kind: DecisionKind
    code: str
    reason: str
    state: RouteState
    desired: Desired
    answers: tuple[Answer, ...] = ()
    evidence: tuple[GateFinding, ...] = ()
    look_again_after: float = 1.0
    actor: str = "controller"
    sources: tuple[SourceFinding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseFacts:
    """What the ledger knows of a release a request names.

    Attributes:
        refusal: Why it may not be deployed here (signature, evidence, state it writes that stable cannot read);
            empty when it may.
        authors: Authors of its commits and its publisher: who may not approve it.
        plan: What a rollout of it follows: its own policy; ``None``: the snapshot's plan.
        never_stable: Of a release a rollback names: its components that were in no release that was stable here;
            ``None``: not known.
        compared: There is a stable release, so that its policy has to be compared with this one's.
        stable_plan: What the policy of the stable release would make of this rollout; ``None``: not known.
        asks_less: Where it needs less evidence than the stable release did, in words.
        unknown: What nobody knows of stable, so that it is not known whether this may serve beside it; empty: nothing.
    """

    arm: ArmRef
    refusal: str = ""
    authors: tuple[str, ...] = ()
    plan: Plan | None = None
    never_stable: tuple[str, ...] | None = None
    compared: bool = False
    stable_plan: Plan | None = None
    asks_less: tuple[str, ...] = ()
    unknown: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlocksRead:
    """Which recorded blocks a measurement read, so that it can be made again.

    Attributes:
        at: When, epoch seconds.
        upto: Start of the newest block; 0 when none was there.
        count: How many, from the earliest on that could change anything.
        version: Of the code that read them.
    """

    at: float
    upto: float
    count: int
    version: str = READING_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the rollout's gates find in the mature blocks.

    Attributes:
        findings: Of the current step's gates (or the soak's), in the plan's order.
        mature_seconds: Mature observed seconds in the current step; gaps do not count.
        shared_cause: Why it looks like an outage of both arms; empty when it does not.
        theta: Stable's P95 in ms over the previous ten minutes; ``None`` when there is too little.
        yardsticks: Stable's other quantiles over the same time, by the name the route table has for them.
        error: Why telemetry cannot be read now; empty when it can.
        alarms: What stops the rollout beside its gates.
        pairs: Of a mirrored step; ``None``: no comparison has been read.
        read: From which blocks; ``None``: there was nothing to read for, or an earlier version measured.
        sources: What the sources of custom gates have answered since the step began.
    """

    findings: tuple[GateFinding, ...] = ()
    mature_seconds: float = 0.0
    shared_cause: str = ""
    theta: float | None = None
    error: str = ""
    alarms: tuple[Alarm, ...] = ()
    pairs: MirrorPairs | None = None
    yardsticks: Mapping[str, float] = field(default_factory=dict)
    read: BlocksRead | None = None
    sources: tuple[SourceReading, ...] = ()


NOTHING_MEASURED = Measured()
NOBODY = RouterObserved(confirmed=None, gateways=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything ``next_step`` looks at; kept as a blob with each event, so that the decision can be replayed.

    Attributes:
        plan: The plan a rollout started now would follow (compiled from the project's policy).
        releases: Facts about each release the pending requests name, by digest.
        head: Fence of the journal's last event.
        term: Of the lease under which the decision will be written.
        route_policy: Digest of the project's part of the route table (rules, keys, limits): another one, another table.
        refused: Why the target would not start a release (signature, altered blob), by digest.
        people: Who has which role.
        environment_kind: What roles allow depends on it.
        probed: What the controller's probes of the candidate found; ``None``: it was not asked.
        abilities: Of the router and the controller.
    """

    now: datetime
    state: RouteState
    head: Fence
    term: int
    plan: Plan
    requests: tuple[Request, ...] = ()
    releases: Mapping[Digest, ReleaseFacts] = field(default_factory=dict)
    arms: tuple[ObservedArm, ...] = ()
    router: RouterObserved = NOBODY
    refused: Mapping[Digest, str] = field(default_factory=dict)
    measured: Measured = NOTHING_MEASURED
    block_seconds: float = 10.0
    route_policy: str = ""
    people: People = NOBODY_LISTED
    environment_kind: EnvironmentKind = EnvironmentKind.PRODUCTION
    probed: Probed | None = None
    abilities: Abilities = PLAIN_ABILITIES
    engine_version: str = ENGINE_VERSION
    version: Literal[1] = 1
