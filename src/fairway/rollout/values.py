"""What a rollout is: plan, state and what is desired; version 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

from fairway.rollout.evidence import MirrorGate
from fairway.rollout.people import ONE_YES, BrokenGlass, Override, Quorum, Role
from fairway.rollout.requests import HoldKind
from fairway.sources.values import SourceGate
from fairway.targets.port import ArmSpec
from fairway.traffic.fence import ZERO_FENCE, Fence
from fairway.traffic.table import NO_SHARE
from fairway.units import Digest, Parts, RolloutId, RouteId
from fairway.verdict.values import AlarmPolicy, GateSpec

STATE_VERSION: Literal[1] = 1


class Strategy(StrEnum):
    """How traffic moves. ``direct`` is for a first release and for going back to one that was stable here."""

    CANARY = "canary"
    BLUE_GREEN = "blue-green"
    ROLLING = "rolling"
    SHADOW = "shadow"
    DIRECT = "direct"


class Colour(StrEnum):
    """The two places of a route; a new release always starts in the one that is idle."""

    BLUE = "blue"
    GREEN = "green"

    @property
    def other(self) -> Colour:
        """The other of the two."""
        return Colour.GREEN if self is Colour.BLUE else Colour.BLUE


class Exposure(StrEnum):
    """Who can reach the candidate."""

    HASH = "hash"
    RULES_ONLY = "rules-only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a plan.

    Attributes:
        split: Candidate's share, parts of 100,000.
        gates: Must not FAIL; those with ``must_pass`` must PASS before the next step.
        dwell: Seconds of *mature observed* traffic the step needs at least, not wall clock.
        cap: Wall-clock seconds after which a step that cannot decide pauses for a person.
        approval: Ask for an approval before leaving the step.
        name: What the step is, where its share does not say it: ``smoke``, ``mirror``, ``2 of 3 instances``.
        probe: The step's evidence is ``dwell`` seconds in which the controller's probes of every instance succeed.
        mirroring: The step's evidence is the comparison of mirrored requests; ``mirror`` says how many.
        candidate_replicas: Instances of the candidate in this step; ``None``: all.
        stable_replicas: Instances stable keeps once the split is in force; ``None``: all.
        back_on_error: A smoke that cannot be run goes back, instead of pausing for a person.
    """

    split: Parts
    gates: tuple[GateSpec, ...]
    dwell: float
    cap: float
    exposure: Exposure = Exposure.HASH
    mirror: Parts = NO_SHARE
    approval: bool = False
    name: str = ""
    probe: bool = False
    mirroring: MirrorGate | None = None
    candidate_replicas: int | None = None
    stable_replicas: int | None = None
    back_on_error: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What will be done, pinned by digest when the rollout starts.

    Attributes:
        steps: Shares below the whole, growing; empty for ``direct``.
        replicas: Instances of the candidate.
        approval: Whether people must approve before the first exposure.
        quorum: How many, of which roles, for how long; holds for approvals of steps as well.
        prepare_timeout: Seconds the candidate has to become ready.
        soak: Mature observed seconds at 100 % under ``soak_gates`` before the rollout is done.
        warm: Seconds the former stable is kept running after the promotion.
        instrument_budget: Seconds telemetry may be unreadable before the rollout pauses.
        policy_digest: Digest of the policy the plan was compiled from, and of the strategy chosen under ``auto``.
        why: Why ``auto`` chose the strategy; empty when the policy names it.
        warm_replicas: Instances of the former stable that stay warm once the soak is over; ``None``: all.
        mixed: Conversations may change release between requests: the policy accepts a router that is not sticky.
        alarms: What stops the rollout beside its gates; ``None``: nothing.
        sources: Custom gates, of every step in which users meet the candidate, and of the soak; guarantee: none.
        mix_expires: Seconds a mix of former parts may soak before it has to be verified; ``None``: for ever.
        mix_goes_back: One that is not by then is rolled back, instead of pausing for a person.
        loosens: Where it asks less than the policy of what was stable when it began, in words.
    """

    strategy: Strategy
    steps: tuple[Step, ...]
    policy_digest: Digest
    soak_gates: tuple[GateSpec, ...] = ()
    replicas: int = 1
    approval: bool = False
    quorum: Quorum = ONE_YES
    prepare_timeout: float = 60.0
    soak: float = 0.0
    warm: float = 1800.0
    instrument_budget: float = 60.0
    why: str = ""
    warm_replicas: int | None = None
    mixed: bool = False
    alarms: AlarmPolicy | None = None
    sources: tuple[SourceGate, ...] = ()
    mix_expires: float | None = None
    mix_goes_back: bool = False
    loosens: tuple[str, ...] = ()
    version: Literal[1] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRef:
    """A release as it serves (or would) in the route's environment.

    Attributes:
        unverified: A mix of former parts that has not served as a whole yet: see :mod:`fairway.rollout.mixes`.
    """

    release: Digest
    effective: Digest
    version: str
    replicas: int = 1
    unverified: bool = False


class Phase(StrEnum):
    """Where a rollout is."""

    PREPARING = "preparing"
    STEPPING = "stepping"
    PROMOTING = "promoting"
    SOAKING = "soaking"
    DONE = "done"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"


ENDED = frozenset({Phase.DONE, Phase.ROLLED_BACK})


class Scaling(StrEnum):
    """How far the instances of a step are: traffic moves only after them, and stable shrinks only after traffic."""

    STARTING = "starting"
    """The candidate's instances of this step are not ready yet; traffic stays as it was before the step."""
    EXPOSED = "exposed"
    """They are; the step's share goes to them."""
    SHRUNK = "shrunk"
    """Every gateway serves the share; stable needs only the instances the step leaves it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A person's pin; automation never overrides it. ``until``: ``None`` holds until released (not for a freeze)."""

    kind: HoldKind
    actor: str
    reason: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """Who said yes to what: counts only for exactly this release, effective digest, policy and step.

    Attributes:
        step: Index of the step it was given for; ``None``: for the first exposure.
        roles: What the approver was then.
        reason: What they said with it.
        used_by: The rollout that was exposed on it: it no longer expires, and counts for no other.
        loosens: Where the plan asked less than stable's, as it was told to who approved it.
    """

    actor: str
    at: datetime
    release: Digest
    effective: Digest
    policy_digest: Digest
    step: int | None = None
    roles: tuple[Role, ...] = ()
    reason: str = ""
    used_by: RolloutId | None = None
    loosens: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Warm:
    """A former stable kept running until ``until`` for conversations that began on it."""

    arm: ArmRef
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """The step whose traffic gateways serve while the next one is not in force yet: its gates go on judging.

    Attributes:
        step: Index into ``plan.steps``.
        since: Epoch seconds from which its blocks count.
        fence: Of the table it was in force with; ``None``: an earlier version began it.
    """

    step: int
    since: float
    fence: Fence | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutState:
    """One rollout.

    Attributes:
        stable: What served when it started; ``None`` for a first release.
        step: Index into ``plan.steps`` while stepping.
        phase_at: When the phase (or step) was entered.
        counted_from: Blocks that start at or after this (epoch seconds) count for the rollout; ``None`` until the
            first exposure is confirmed.
        step_from: The same for the current step; ``None`` until its split is in force.
        step_fence: Of the table in force then: blocks of an older table are not of the step, whatever clocks say.
        anew_from: The last ``step_from`` at which a person made evidence begin anew; ``None``: nobody did.
        served: While ``step_from`` is ``None``: the step that is still served, and judged; ``None``: none was.
        paused: Why automation waits for a person; empty when it does not. A paused rollout still rolls back.
        telemetry_lost_at: Since when telemetry could not be read; ``None`` when it can.
        cause: Code and sentence of what ended it or is ending it.
        theta: Stable's P95 in ms, carried in the route table: as the step began, or as last refreshed.
        theta_at: When it was refreshed within the step.
        yardsticks: Stable's other quantiles, refreshed with theta; by the name the route table has for them.
        overlooked: Alarms (and ``custom:<gate>``) in spite of which a person resumed; they do not pause again before
            they have ended.
        going_back: It returns to a former stable; the release it leaves is blocked once it is done.
        requested_by: Who started it.
        authors: Of the candidate: who may neither approve it nor promote it past an approval.
        salt: Of the bucket hash, where it is not the id: another attempt keeps that of the first.
        attempt: Which attempt this is, from 1.
        overrides: Where people moved it without its evidence, oldest first.
        scaling: How far the instances of the step are.
        left: The phase it was in when it began to go back; ``None``: it did not, or an earlier version went back.
    """

    id: RolloutId
    plan: Plan
    candidate: ArmRef
    stable: ArmRef | None
    phase: Phase
    phase_at: datetime
    started_at: datetime
    requested_by: str
    step: int = 0
    counted_from: float | None = None
    step_from: float | None = None
    paused: str = ""
    telemetry_lost_at: datetime | None = None
    theta: float | None = None
    theta_at: datetime | None = None
    going_back: bool = False
    authors: tuple[str, ...] = ()
    cause: str = ""
    cause_text: str = ""
    salt: str = ""
    attempt: int = 1
    overrides: tuple[Override, ...] = ()
    scaling: Scaling = Scaling.EXPOSED
    yardsticks: Mapping[str, float] = field(default_factory=dict)
    overlooked: tuple[str, ...] = ()
    step_fence: Fence | None = None
    served: Served | None = None
    anew_from: float | None = None
    left: Phase | None = None

    @property
    def bucket_salt(self) -> str:
        """What buckets are hashed with: the same users for each attempt."""
        return self.salt or self.id

    @property
    def live(self) -> bool:
        """Whether it has not ended."""
        return self.phase not in ENDED


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteState:
    """What is known and wanted of a route after its last event.

    Attributes:
        stable: The release all traffic goes to when no rollout says otherwise.
        history: Former stables, newest first: what a rollback goes back to.
        blocked: Releases that were rolled back; they do not start again until a person lifts it.
        warm: Former stables kept running, newest first.
        rollout: The live rollout, or the last one once it has ended.
        approvals: Given and not revoked.
        changed_by: Fence of the event that last changed what gateways serve.
        table: Digest of what gateways shall serve (arms, endpoints, split, masks, theta).
        code: Reason code of the last event, so that only a change of reason is journaled.
        hold: The oldest hold; a person has one at most, and may only let go of another's with the role to.
        holds_beside: Those of other people, oldest first.
        glass: Where people did what their roles do not allow, newest last.
        active: Colour of stable; changes whenever another release becomes stable.
    """

    route: RouteId
    stable: ArmRef | None = None
    history: tuple[ArmRef, ...] = ()
    blocked: tuple[Digest, ...] = ()
    warm: tuple[Warm, ...] = ()
    hold: Hold | None = None
    rollout: RolloutState | None = None
    approvals: tuple[Approval, ...] = ()
    changed_by: Fence = ZERO_FENCE
    table: str = ""
    code: str = ""
    glass: tuple[BrokenGlass, ...] = ()
    active: Colour = Colour.BLUE
    holds_beside: tuple[Hold, ...] = ()
    version: Literal[1] = STATE_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredArm:
    """One arm that shall run, and what it is called."""

    spec: ArmSpec
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What shall be true of a route now; everything else is reconciled away.

    Attributes:
        arms: Stable first. What is not here is drained once no gateway sends it anything any more.
        masks: Releases that get no traffic whatever a pin or a rule says.
        salt: Of the bucket hash: the rollout id.
        theta: Latency limits in ms by role, for the gateway's ``slow`` mark; empty: no marking.
        thresholds: Limits by metric and role, for its other marks.
        shadow_says: Copies go on only as long as each answer of the shadow says that it is one.
    """

    arms: tuple[DesiredArm, ...]
    split: Parts = NO_SHARE
    exposure: Exposure = Exposure.HASH
    mirror: Parts = NO_SHARE
    masks: tuple[Digest, ...] = ()
    salt: str = ""
    theta: Mapping[str, float] = field(default_factory=dict)
    thresholds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    shadow_says: bool = False
