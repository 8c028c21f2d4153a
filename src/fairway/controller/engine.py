"""The loop of one route: gather, decide, journal, reconcile.

The controller holds nothing that matters: whatever it has not journaled it will decide again. Killed at any instant,
the next one reads the state of the last event and finishes what is missing.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from fairway.bundle.environment import EnvironmentKind
from fairway.clock import Clock
from fairway.controller.probing import Prober
from fairway.errors import ConflictError, FairwayError, RefusedError, TransientError
from fairway.rollout.deciding import Decision, DecisionKind, Measured, ReleaseFacts, Snapshot
from fairway.rollout.desired import RoutePolicy, active_holds, desired_of, policy_digest, table_of
from fairway.rollout.evidence import Abilities, Probed
from fairway.rollout.instances import step_now
from fairway.rollout.next_step import next_step
from fairway.rollout.people import NOBODY_LISTED, People
from fairway.rollout.port import JournalEntry, Lease, RolloutLedger
from fairway.rollout.reconcile import ApplyTable, DrainArm, EnsureArm, Operation, reconcile
from fairway.rollout.requests import Request, Verb
from fairway.rollout.values import Phase, Plan, RouteState
from fairway.rollout.wire import decision_to_wire, snapshot_to_bytes, state_from_wire, state_to_wire
from fairway.targets.port import ObservedArm, Target
from fairway.traffic.fence import Fence
from fairway.traffic.flags import TableFlag
from fairway.traffic.port import TrafficRouter
from fairway.units import Digest, RouteId

log = logging.getLogger("fairway.controller")

LEASE_SECONDS = 10.0
RENEW_SHARE = 1 / 3
"""A lease is renewed once this share of it is over: one write each few seconds, not each tick."""
STANDBY_SECONDS = 1.0
POLL_SECONDS = 0.25
"""A person's verb is seen at the latest after this; well under the second an abort may take."""


class Measurer(Protocol):
    """Telemetry of the route, folded for the rollout's gates."""

    async def measure(self, state: RouteState) -> Measured:
        """What the gates find now; a broken source is ``Measured.error``, never an exception, never zero."""
        ...

    def forget(self) -> None:
        """Drop what is held in memory: another controller may have written since."""
        ...


FactsOf = Callable[[Request, RouteState], ReleaseFacts | None]
"""Facts about the release a request names; ``None`` when there is no such release."""

PrepareFacts = Callable[[tuple[Request, ...], RouteState], Awaitable[frozenset[str]]]
"""Starts verifying what requests name, and says which of them are not read yet (ids)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """The journal's last event, as read under the lease."""

    fence: Fence
    state: RouteState


@dataclass(frozen=True, slots=True, kw_only=True)
class _Quiet:
    """A tick that found nothing to do; the same again is not decided again.

    Attributes:
        until: When time alone may change something: a hold or a warm arm ends; ``None``: never.
    """

    seen: Snapshot
    decision: Decision
    until: datetime | None

    @classmethod
    def of(cls, snapshot: Snapshot, decision: Decision) -> _Quiet:
        state = decision.state
        ends = [warm.until for warm in state.warm]
        ends += [hold.until for hold in active_holds(state, snapshot.now) if hold.until is not None]
        coming = [end for end in ends if end > snapshot.now]
        return cls(seen=snapshot, decision=decision, until=min(coming, default=None))

    def holds(self, now: Snapshot) -> bool:
        """Whether a snapshot says nothing new."""
        seen = self.seen
        return (
            now.state is seen.state
            and not now.requests
            and (self.until is None or now.now < self.until)
            and now.arms == seen.arms
            and now.router == seen.router
            and now.term == seen.term
            and now.route_policy == seen.route_policy
            and now.refused == seen.refused
            and now.measured == seen.measured
        )


@dataclass(slots=True, kw_only=True)
class RouteController:
    """The one writer of a route while it holds the lease.

    Attributes:
        holder: Unique per process.
        plan: What a rollout started now follows.
        policy: What the project says of the route table.
        show: Told of each tick, for people who watch.
        prepare_facts: Reads big releases beside the loop; requests about one still being read wait for a later tick.
        facts_of: Looks a release up and verifies it.
        prober: Asks an arm that has no traffic yet; ``None``: plans that need it are refused.
        flags_of: Feature flags in force, read at each tick; ``None``: those of ``policy``.
        people, environment_kind: Who may do what; see :mod:`fairway.rollout.roles`.
        people_of: Who has which role now, asked at each tick; ``None``: ``people`` for good.
        lease_seconds: How long the route stays its without a word; longer than the time between two ticks.
    """

    route: RouteId
    ledger: RolloutLedger
    target: Target
    router: TrafficRouter
    measurer: Measurer
    facts_of: FactsOf
    plan: Plan
    policy: RoutePolicy
    clock: Clock
    holder: str
    lease: Lease | None = None
    published: Fence | None = None
    refused: dict[Digest, str] = field(default_factory=dict)
    seen: tuple[ObservedArm, ...] = ()
    show: Callable[[Snapshot, Decision], None] | None = None
    prepare_facts: PrepareFacts | None = None
    prober: Prober | None = None
    flags_of: Callable[[], tuple[TableFlag, ...]] | None = None
    people: People = NOBODY_LISTED
    people_of: Callable[[], People] | None = None
    environment_kind: EnvironmentKind = EnvironmentKind.PRODUCTION
    lease_seconds: float = LEASE_SECONDS
    _policy_digest: str = field(init=False)
    _held_since: float = field(init=False, default=0.0)
    _known: _Known | None = field(init=False, default=None)
    _quiet: _Quiet | None = field(init=False, default=None)
    _led: int | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._policy_digest = policy_digest(self.policy)

    async def tick_safely(self) -> float:
        """One tick; a busy ledger or a lost lease costs a tick, never the loop."""
        try:
            return await self.tick()
        except ConflictError as error:
            log.info("%s: %s", self.route, error.message)
            self._forget()
            return STANDBY_SECONDS
        except TransientError as error:
            log.warning("%s: %s", self.route, error.message)
            self._known = None  # what was written, if anything, is not known
            return error.retry_after or STANDBY_SECONDS

    async def tick(self) -> float:
        """Gather, decide, journal, reconcile once.

        Returns:
            Seconds until it is worth looking again.

        Raises:
            ConflictError: The lease was lost or the journal moved; nothing was written.
            TransientError: The ledger could not be reached.
        """
        lease = self._hold_lease()
        if lease is None:
            return STANDBY_SECONDS
        if self._led != lease.term:
            lease = await self._lead(lease)
            if lease is None:
                return STANDBY_SECONDS
        snapshot = await self.gather(lease)
        if self._quiet is not None and self._quiet.holds(snapshot):
            if self.show is not None:
                self.show(snapshot, self._quiet.decision)
            return self._quiet.decision.look_again_after
        confirmed = snapshot.router.confirmed
        if confirmed is not None and confirmed > snapshot.state.changed_by and confirmed.term >= lease.term:
            log.warning("%s: gateways serve %s, which this ledger never decided; taking over", self.route, confirmed)
            lease = self._hold_lease(at_least=confirmed.term + 1)
            if lease is None:
                return STANDBY_SECONDS
            snapshot = await self.gather(lease)
        decision = next_step(snapshot)
        if decision.answers or decision.state != snapshot.state:
            self._journal(snapshot, decision, lease)
        if self.show is not None:
            self.show(snapshot, decision)
        operations = self._missing(snapshot, decision)
        for operation in operations:
            self._still_leads(lease)
            await self._start(operation, decision, snapshot.arms, Fence(term=lease.term, seq=snapshot.head.seq))
        idle = decision.kind is DecisionKind.IDLE and not operations and decision.state == snapshot.state
        self._quiet = _Quiet.of(snapshot, decision) if idle else None
        return decision.look_again_after

    def _hold_lease(self, *, at_least: int = 0) -> Lease | None:
        now = self.clock.monotonic()
        fresh = now - self._held_since < self.lease_seconds * RENEW_SHARE
        if self.lease is not None and fresh and not at_least:
            return self.lease
        lease = self.ledger.acquire_lease(self.route, self.holder, seconds=self.lease_seconds, at_least=at_least)
        self._held_since = now
        if lease is None or self.lease is None or lease.term != self.lease.term:
            self._forget()
        self.lease = lease
        return lease

    async def _lead(self, lease: Lease) -> Lease | None:
        """Tell the target that this controller leads now: whoever had the route before takes nothing out of service.

        A target that has heard of a newer term knows of a controller after this one, or of a ledger that was restored
        since: which of the two, the ledger says.

        Returns:
            The lease, of a higher term where the target asks for it; ``None`` when another controller has it.
        """
        try:
            newest = await self.target.follow(self.route, Fence(term=lease.term, seq=0))
            if newest.term > lease.term:
                log.warning("%s: its arms were led under %s; taking over", self.route, newest)
                again = self._hold_lease(at_least=newest.term + 1)
                if again is None:
                    return None
                lease = again
                await self.target.follow(self.route, Fence(term=lease.term, seq=0))
        except TransientError as error:
            log.warning("%s: the target does not answer: %s", self.route, error.message)
            return lease
        self._led = lease.term
        return lease

    def _still_leads(self, lease: Lease) -> None:
        """Renew the lease when it is time, before the world is changed: an operation may take longer than it.

        Raises:
            ConflictError: ``lease_lost`` when another controller has it by now.
        """
        held = self._hold_lease()
        if held is None or held.term != lease.term:
            raise ConflictError(f"another controller leads {self.route}", code="lease_lost")

    def _forget(self) -> None:
        self.lease = None
        self._led = None
        self.published = None
        self._known = None
        self._quiet = None
        self.measurer.forget()
        if self.prober is not None:
            self.prober.forget()

    async def gather(self, lease: Lease) -> Snapshot:
        """Everything the decision looks at."""
        self._read_flags()
        if self.people_of is not None:
            self.people = self.people_of()
        known = self._read_head()
        state = known.state
        requests = self.ledger.pending(self.route)
        if self.prepare_facts is not None:
            unread = await self.prepare_facts(requests, state)
            requests = tuple(request for request in requests if request.id not in unread)
        arms = await self._observe()
        return Snapshot(
            now=self.clock.now(),
            state=state,
            head=known.fence,
            term=lease.term,
            plan=self.plan,
            requests=requests,
            releases=self._facts(requests, state),
            arms=arms,
            router=await self.router.observe(self.route),
            refused=dict(self.refused),
            measured=await self.measurer.measure(state),
            block_seconds=self.policy.block_seconds,
            route_policy=self._policy_digest,
            people=self.people,
            environment_kind=self.environment_kind,
            probed=await self._probe(state, arms),
            abilities=self._abilities(),
        )

    def _read_head(self) -> _Known:
        """Where the route stands: as last read, because nobody else writes it while this controller has its lease."""
        if self._known is None:
            head = self.ledger.head(self.route)
            state = RouteState(route=self.route) if head.state is None else state_from_wire(head.state)
            self._known = _Known(fence=head.fence, state=state)
        return self._known

    def _abilities(self) -> Abilities:
        can = self.router.capabilities
        return Abilities(sticky=can.sticky, mirror=can.mirror, probe=self.prober is not None)

    async def _probe(self, state: RouteState, arms: tuple[ObservedArm, ...]) -> Probed | None:
        """Ask the candidate's instances while a step is judged by that; forget what they said when it is over."""
        rollout = state.rollout
        if self.prober is None or rollout is None:
            return None
        step = step_now(rollout)
        if rollout.phase is not Phase.STEPPING or step is None or not step.probe or rollout.step_from is None:
            return await self.prober.look(None, 0)
        candidate = rollout.candidate
        identity = (candidate.release, candidate.effective)
        arm = next((one for one in arms if (one.release_digest, one.effective_digest) == identity), None)
        return await self.prober.look(arm, candidate.replicas, seconds=step.dwell, since=rollout.phase_at)

    def _read_flags(self) -> None:
        """Take over feature flags people have set since: another policy, another table."""
        flags = self.policy.flags if self.flags_of is None else self.flags_of()
        if flags != self.policy.flags:
            self.policy = replace(self.policy, flags=flags)
            self._policy_digest = policy_digest(self.policy)

    async def _observe(self) -> tuple[ObservedArm, ...]:
        """The arms; as last seen when the target does not answer, so that traffic can still be moved back."""
        try:
            self.seen = await self.target.observe(self.route)
        except TransientError as error:
            log.warning("%s: the target does not answer: %s", self.route, error.message)
        return self.seen

    def _facts(self, requests: tuple[Request, ...], state: RouteState) -> Mapping[Digest, ReleaseFacts]:
        facts: dict[Digest, ReleaseFacts] = {}
        for request in requests:
            if request.verb not in (Verb.START, Verb.APPROVE, Verb.RETRY, Verb.ROLLBACK):
                continue
            found = self.facts_of(request, state)
            if found is not None:
                facts[Digest(str(request.args.get("release", "")))] = found
        return facts

    def _journal(self, snapshot: Snapshot, decision: Decision, lease: Lease) -> None:
        entry = JournalEntry(
            route=self.route,
            fence=Fence(term=lease.term, seq=snapshot.head.seq + 1),
            at=snapshot.now,
            kind=decision.kind.value,
            code=decision.code,
            reason=decision.reason,
            actor=decision.actor,
            state=state_to_wire(decision.state),
            decision=decision_to_wire(decision),
            snapshot=snapshot_to_bytes(snapshot),
            answers=decision.answers,
        )
        self._known = None  # read back what the ledger keeps of it
        self.ledger.journal(entry, lease)
        log.info("%s: %s %s: %s", self.route, entry.kind, entry.code, entry.reason)

    def _missing(self, snapshot: Snapshot, decision: Decision) -> tuple[Operation, ...]:
        return reconcile(
            state=decision.state,
            desired=decision.desired,
            observed=snapshot.arms,
            router=snapshot.router,
            published=self.published,
            route_policy=snapshot.route_policy,
        )

    async def _start(
        self, operation: Operation, decision: Decision, arms: tuple[ObservedArm, ...], under: Fence
    ) -> None:
        match operation:
            case EnsureArm(spec=spec):
                try:
                    await self.target.ensure(self.route, spec, fence=under)
                    self.refused.pop(spec.release_digest, None)
                except RefusedError as error:
                    self.refused[spec.release_digest] = error.message
                except FairwayError as error:
                    if error.code == "stale_fence":
                        raise
                    log.warning("%s: cannot start %s: %s", self.route, spec.release_digest, error.message)
                    if not isinstance(error, TransientError):
                        self.refused[spec.release_digest] = error.message
            case ApplyTable(fence=fence):
                desired = desired_of(decision.state, self.clock.now())
                await self.router.apply(table_of(decision.state, desired, arms, self.policy, fence))
                self.published = fence
            case DrainArm(release=release, effective=effective):
                await self.target.drain(self.route, release, effective, fence=under)
