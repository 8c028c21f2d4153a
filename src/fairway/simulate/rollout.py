"""A whole rollout under modelled traffic in virtual time: snapshot, ``next_step``, desired, blocks, gates, and again.

No ledger, no event loop, no target: what they would carry - the state, the head of the journal, what gateways confirm -
is handed on here. Gateways confirm at once and arms are ready at once, so that what is seen is the policy's doing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from fairway.observe.fold import Block
from fairway.rollout.deciding import NOTHING_MEASURED, Decision, DecisionKind, Measured, ReleaseFacts, Snapshot
from fairway.rollout.next_step import next_step
from fairway.rollout.requests import Request, Verb
from fairway.rollout.stepping import YARDSTICK_MOVED
from fairway.rollout.values import (
    ENDED,
    ArmRef,
    Desired,
    Exposure,
    Phase,
    Plan,
    RolloutState,
    RouteState,
    Step,
    Strategy,
)
from fairway.rollout.verbs import live
from fairway.simulate.reading import BlockReader
from fairway.simulate.traffic import MODELLED_CANDIDATE, MODELLED_STABLE, ModelledTraffic
from fairway.simulate.values import ModelledValues
from fairway.targets.port import AttestedBy, InstanceState, ObservedArm, ObservedInstance
from fairway.traffic.fence import Fence
from fairway.traffic.port import RouterObserved
from fairway.traffic.table import Role
from fairway.units import WHOLE, AgentName, EnvironmentName, RouteId, UnitHash, Verdict
from fairway.verdict.values import MEAN_KINDS, AlarmAction

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
WARM_UP_BLOCKS = 12
"""Blocks stable serves alone before the candidate starts."""
LOOKS_A_BLOCK = 4
"""Looks after a block: several decisions may follow at once, such as a new step and its confirmation."""
ROUTE = RouteId(agent=AgentName("modelled"), environment=EnvironmentName("production"))
STABLE = ArmRef(release=MODELLED_STABLE, effective=MODELLED_STABLE, version="1.0.0")
CANDIDATE = ArmRef(release=MODELLED_CANDIDATE, effective=MODELLED_CANDIDATE, version="1.1.0")


class Ending(StrEnum):
    """How the rollout stood when the simulated time was over."""

    ROLLED_BACK = "rolled back"
    PROMOTED = "promoted"
    PAUSED = "paused"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One decision that changed something.

    Attributes:
        at: Seconds since the simulation began.
        code: Reason code, as in ``docs/reference/reasons.md``.
        stands: Phase and step of the rollout after it, such as ``stepping 0``; ``""`` before there is one.
    """

    at: float
    code: str
    stands: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What became of one rollout.

    Attributes:
        code: Reason code that rolled it back or paused it; ``""`` otherwise.
        gates: Names of the gates that had failed when it was rolled back, or of the triggers that fired.
        exposed_at: Seconds from the beginning until the candidate was first exposed; ``None``: never.
        ended_at: Seconds from the beginning until it was rolled back or promoted; ``None``: neither.
        step: Index of the last step.
        exposed: Distinct conversations and users that were on the candidate.
        active: Distinct ones active from the first exposure to the end of the simulated time, on either arm.
        events: In order.
    """

    ending: Ending
    code: str = ""
    gates: tuple[str, ...] = ()
    exposed_at: float | None = None
    ended_at: float | None = None
    step: int = 0
    exposed: int = 0
    active: int = 0
    events: tuple[Event, ...] = ()

    @property
    def stopped_after(self) -> float | None:
        """Seconds from the first exposure to the rollback; ``None`` when there was none."""
        if self.ending is not Ending.ROLLED_BACK or self.ended_at is None:
            return None
        return self.ended_at - (self.exposed_at or 0.0)


def _ready(ref: ArmRef, port: int) -> ObservedArm:
    instance = ObservedInstance(
        id=ref.version,
        endpoint=f"127.0.0.1:{port}",
        state=InstanceState.READY,
        attested_by=AttestedBy.ARM,
        reported=ref.release,
    )
    return ObservedArm(release_digest=ref.release, effective_digest=ref.effective, instances=(instance,))


_ARMS = (_ready(STABLE, 20_000), _ready(CANDIDATE, 20_001))


@dataclass(slots=True, kw_only=True)
class ModelledRun:
    """One rollout, block by block.

    Attributes:
        traffic: Both arms.
        plan: What is followed, as far as it exposes users; see :func:`exposing`.
        desired: What gateways serve now.
        blocks: Mature blocks since the beginning, the warm-up included.
    """

    traffic: ModelledTraffic
    plan: Plan
    desired: Desired = field(init=False)
    state: RouteState = field(init=False)
    events: list[Event] = field(default_factory=list)
    exposed: set[UnitHash] = field(default_factory=set)
    active: set[UnitHash] = field(default_factory=set)
    _reader: BlockReader = field(init=False)
    _values: ModelledValues | None = field(init=False)
    _head: Fence = Fence(term=1, seq=0)  # noqa: RUF009 - frozen
    _now: datetime = BEGIN
    _unripe: deque[Block] = field(default_factory=deque)
    _exposed_at: float | None = None
    _waits: Measured | None = None
    _against: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.plan = exposing(self.plan)
        self.traffic.began = BEGIN.timestamp()
        self.state = RouteState(route=ROUTE, stable=STABLE)
        asked = {gate.kind for step in self.plan.steps for gate in step.gates} & MEAN_KINDS
        self._values = ModelledValues(seed=self.traffic.seed) if asked else None  # both arms say the same
        self._reader = BlockReader(candidate=CANDIDATE.release, stable=STABLE.release, plan=self.plan)
        self._look()

    @property
    def blocks(self) -> list[Block]:
        """Mature blocks since the beginning, the warm-up included."""
        return self._reader.blocks

    @property
    def unripe(self) -> tuple[Block, ...]:
        """Blocks served and not mature yet."""
        return tuple(self._unripe)

    def start(self) -> None:
        """Stable serves alone for a while, then the rollout starts."""
        for _ in range(WARM_UP_BLOCKS):
            self.block()
        args = {"release": CANDIDATE.release}
        self._look(Request(id="modelled", route=ROUTE, verb=Verb.START, actor="simulate", at=self._now, args=args))
        for _ in range(LOOKS_A_BLOCK):
            self._look()

    @property
    def over(self) -> bool:
        """Whether the rollout was decided."""
        rollout = self.state.rollout
        return rollout is not None and rollout.phase in (*ENDED, Phase.SOAKING, Phase.ROLLING_BACK)

    def block(self) -> None:
        """One block of traffic under the table in force, then the looks."""
        block = self.serve()
        if self._exposed_at is not None:
            for release, arm in block.arms.items():
                self.active.update(arm.active)
                if release == CANDIDATE.release:
                    self.exposed.update(arm.active)
        self.look()

    def serve(self) -> Block:
        """One block of traffic under the table in force; mature ones are read, nothing is decided."""
        block = self.traffic.next_block(
            split=self.split, theta=self._theta(), limits=self.desired.thresholds, fence=max(1, self._head.seq)
        )
        block = block if self._values is None else self._values.of(block)
        self._now = BEGIN + timedelta(seconds=self.traffic.index * self.traffic.block_seconds)
        self._unripe.append(block)
        if len(self._unripe) > self.traffic.delay:
            self._reader.keep(self._unripe.popleft())
        return block

    def look(self) -> None:
        """Decide until nothing follows, as often as a controller would within the block at most."""
        for _ in range(LOOKS_A_BLOCK):
            if not self._look():
                return

    @property
    def split(self) -> float:
        """Candidate's share of new conversations."""
        if CANDIDATE.release in self.desired.masks or self.desired.exposure is not Exposure.HASH:
            return 0.0
        roles = {arm.spec.role for arm in self.desired.arms if arm.spec.release_digest == CANDIDATE.release}
        if Role.CANDIDATE in roles:
            return self.desired.split / WHOLE
        return 1.0 if Role.STABLE in roles else 0.0

    def step_of(self, rollout: RolloutState) -> Step | None:
        """The step a rollout is in; ``None`` outside of steps."""
        return rollout.plan.steps[rollout.step] if rollout.phase is Phase.STEPPING else None

    def course(self) -> Course:
        """What became of it so far."""
        rollout = self.state.rollout
        ended_at = self.events[-1].at if self.over and self.events else None
        return Course(
            ending=self._ending(),
            code="" if rollout is None else rollout.cause or self._pause_code(),
            gates=self._against,
            exposed_at=self._exposed_at,
            ended_at=ended_at,
            step=0 if rollout is None else rollout.step,
            exposed=len(self.exposed),
            active=len(self.active),
            events=tuple(self.events),
        )

    def _ending(self) -> Ending:
        rollout = self.state.rollout
        if rollout is None:
            return Ending.UNDECIDED
        if rollout.phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK):
            return Ending.ROLLED_BACK
        if rollout.phase in (Phase.PROMOTING, Phase.SOAKING, Phase.DONE):
            return Ending.PROMOTED
        return Ending.PAUSED if rollout.paused else Ending.UNDECIDED

    def _pause_code(self) -> str:
        rollout = self.state.rollout
        if rollout is None or not rollout.paused:
            return ""
        return next((event.code for event in reversed(self.events) if event.code in _PAUSES), "paused")

    def _theta(self) -> dict[Role, float] | None:
        return {Role(role): limit for role, limit in self.desired.theta.items()} or None

    def _look(self, *requests: Request) -> bool:
        """One look; whether anything changed."""
        rollout = live(self.state)
        measured = NOTHING_MEASURED if rollout is None else self._reader.measured(rollout, self._now.timestamp())
        if not requests and rollout is not None and self._still_waits(rollout, measured):
            return False
        if measured.theta is not None and (rollout is None or _has_moved(rollout.theta, measured.theta)):
            measured = replace(measured, yardsticks=self._reader.yardsticks(self._now.timestamp()))
        snapshot = self._snapshot(requests, measured)
        decision = next_step(snapshot)
        self.desired = decision.desired
        self._waits = measured if decision.code in _WAITS and decision.state == snapshot.state else None
        if not decision.answers and decision.state == snapshot.state:
            return False
        self._head = Fence(term=1, seq=self._head.seq + 1)
        self.state = decision.state
        rollout = decision.state.rollout
        stands = "" if rollout is None else f"{rollout.phase.value} {rollout.step}"
        elapsed = (self._now - BEGIN).total_seconds()
        self.events.append(Event(at=elapsed, code=decision.code, stands=stands))
        if self._exposed_at is None and self.split > 0:
            self._exposed_at = elapsed
        if decision.kind is DecisionKind.ROLL_BACK:
            self._against = tuple(_speaking_against(decision, measured))
        return True

    def _still_waits(self, rollout: RolloutState, measured: Measured) -> bool:
        """Whether ``next_step`` would say what it said: only time has passed, and it decides nothing yet.

        Time decides by the dwell, the cap and the yardstick; everything else is in what was found.
        """
        before = self._waits
        if before is None or rollout.phase is not Phase.STEPPING or measured.shared_cause or measured.alarms:
            return False
        if before.shared_cause or before.alarms:
            return False
        if any(now is not then for now, then in zip(measured.findings, before.findings, strict=True)):
            return False
        step = rollout.plan.steps[rollout.step]
        if (measured.mature_seconds >= step.dwell) is not (before.mature_seconds >= step.dwell):
            return False
        if measured.theta is not None and _has_moved(rollout.theta, measured.theta):
            return False
        return (self._now - rollout.phase_at).total_seconds() <= step.cap

    def _snapshot(self, requests: tuple[Request, ...], measured: Measured) -> Snapshot:
        return Snapshot(
            now=self._now,
            state=self.state,
            head=self._head,
            term=1,
            plan=self.plan,
            requests=requests,
            releases={CANDIDATE.release: ReleaseFacts(arm=CANDIDATE)} if requests else {},
            arms=_ARMS,
            router=RouterObserved(confirmed=self.state.changed_by, gateways=1),
            measured=measured,
            block_seconds=self.traffic.block_seconds,
        )


def _has_moved(known: float | None, seen: float) -> bool:
    """Whether gateways may get another yardstick: the others are looked at only then."""
    return known is None or max(known / seen, seen / known) > YARDSTICK_MOVED


_WAITS = frozenset({"needs_evidence", "paused"})
_PAUSES = ("shared_cause", "step_undecided", "instrument_error", "trigger_paused")


def _speaking_against(decision: Decision, measured: Measured) -> Iterator[str]:
    """Which gates, or else which triggers, a rollback named."""
    failed = [finding.gate for finding in decision.evidence if finding.verdict is Verdict.FAIL]
    if decision.code == "trigger_fired":
        yield from (f"trigger {alarm.name}" for alarm in measured.alarms if alarm.action is AlarmAction.ROLL_BACK)
    else:
        yield from failed


def exposing(plan: Plan) -> Plan:
    """The part of a plan that exposes users, as if every person asked had said yes and every instance were there.

    Steps that expose nobody by the hash (a smoke test, a mirror) and custom gates are left out: what they look at is
    not modelled.
    """
    steps = tuple(
        replace(step, approval=False, candidate_replicas=None, stable_replicas=None)
        for step in plan.steps
        if step.split and step.exposure is Exposure.HASH and step.mirroring is None and not step.probe
    )
    return replace(plan, strategy=Strategy.CANARY, steps=steps, approval=False, replicas=1, sources=())
