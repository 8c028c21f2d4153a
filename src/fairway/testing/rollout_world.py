"""A route with its ledger, arms and gateways in memory, in virtual time: where a controller can be killed at will.

The world outlives the controller, as the real one does. Candidates behave as their release says: gates judge the good
one PASS and the bad one FAIL once it has been seen for long enough.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from fairway.controller.engine import RouteController
from fairway.controller.probing import ArmProber
from fairway.rollout.deciding import Measured, ReleaseFacts
from fairway.rollout.desired import RoutePolicy
from fairway.rollout.evidence import MirrorPairs, Smoked, SmokeOutcome
from fairway.rollout.judged import Judged, judged
from fairway.rollout.port import JournalEntry
from fairway.rollout.requests import Request, Verb
from fairway.rollout.values import ArmRef, Phase, Plan, RolloutState, RouteState
from fairway.rollout.verbs import live
from fairway.rollout.wire import state_from_wire
from fairway.targets.port import ObservedArm, ObservedInstance
from fairway.testing.interruptions import FaultInjector, Killed
from fairway.testing.memory_ledger import MemoryLedger
from fairway.testing.memory_router import MemoryGateway, MemoryRouter
from fairway.testing.memory_target import Behaviour, MemoryTarget
from fairway.testing.rollout_cases import CANDIDATE, NEXT, OLDEST, ROUTE, STABLE, canary_plan, finding
from fairway.testing.virtual_clock import VirtualClock
from fairway.traffic.table import Role, RouteTable
from fairway.units import Digest, Verdict
from fairway.verdict.values import GateFinding

POLICY = RoutePolicy(block_seconds=2.0)
RELEASES = {ref.release: ref for ref in (OLDEST, STABLE, CANDIDATE, NEXT)}
DECIDES_AFTER = 8.0
"""Seconds of a step after which its gates have decided."""


@dataclass(slots=True, kw_only=True)
class JudgingMeasurer:
    """Gates that judge by what is known of a release: good, bad, or blind."""

    clock: VirtualClock
    bad: set[Digest] = field(default_factory=set)
    blind: bool = False
    decides_after: float = DECIDES_AFTER

    def forget(self) -> None:
        """It remembers nothing."""

    async def measure(self, state: RouteState) -> Measured:
        """Undecided at first, then what the release deserves."""
        if self.blind:
            return Measured(error="the gateway does not answer")
        rollout = live(state)
        of = None if rollout is None else judged(rollout)
        if rollout is None or of is None:
            return Measured(theta=400.0)
        seconds = max(0.0, self.clock.now().timestamp() - of.since)
        return Measured(
            findings=self._findings(rollout, of, seconds),
            mature_seconds=seconds * 3,
            theta=400.0,
            pairs=self._pairs(rollout, of, seconds),
        )

    def _pairs(self, rollout: RolloutState, of: Judged, seconds: float) -> MirrorPairs | None:
        """Twenty pairs a second; the shadow of a bad release fails in a third of them."""
        if of.step is None or of.step.mirroring is None:
            return None
        compared = int(seconds * 20)
        failed = compared // 3 if rollout.candidate.release in self.bad else 0
        return MirrorPairs(compared=compared, shadow_failed=failed, diverged=compared // 10)

    def _findings(self, rollout: RolloutState, of: Judged, seconds: float) -> tuple[GateFinding, ...]:
        verdict = Verdict.INCONCLUSIVE
        if seconds >= self.decides_after:
            verdict = Verdict.FAIL if rollout.candidate.release in self.bad else Verdict.PASS
        return tuple(finding(gate, verdict) for gate in of.gates)


@dataclass(slots=True)
class RolloutWorld:
    """Everything but the controller.

    Args:
        seed: Of the schedule: delays, crashes, which requests come when.
        kills: Controllers killed at most.
        probability: Of a kill at each point.
        plan: What a rollout started in it follows.
    """

    seed: int
    kills: int = 0
    probability: float = 0.02
    plan: Plan = field(default_factory=canary_plan)
    random: random.Random = field(init=False)
    clock: VirtualClock = field(init=False)
    ledger: MemoryLedger = field(init=False)
    target: MemoryTarget = field(init=False)
    gateways: list[MemoryGateway] = field(init=False)
    measurer: JudgingMeasurer = field(init=False)
    injector: FaultInjector = field(init=False)
    controller: RouteController = field(init=False)
    controllers: int = 0
    fails_smoke: set[Digest] = field(default_factory=set)
    smokes: dict[Digest, SmokeOutcome] = field(default_factory=dict)
    smoked: list[Digest] = field(default_factory=list)
    taken_from_service: list[str] = field(default_factory=list)
    _stale: list[asyncio.Task[float]] = field(default_factory=list)
    _away: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)  # noqa: S311 - a schedule, not a secret
        self.clock = VirtualClock()
        self.ledger = MemoryLedger(clock=self.clock)
        self.target = MemoryTarget(self.clock, default=Behaviour(ready_after=1.0, drains_in=1.0))
        self.gateways = [MemoryGateway(name=f"g{n}", delay=self.random.uniform(0.01, 0.4)) for n in range(2)]
        self.measurer = JudgingMeasurer(clock=self.clock)
        self.injector = FaultInjector(self.seed, probability=self.probability, budget=self.kills)
        self.controller = self.new_controller()

    def new_controller(self, *, interrupted: bool = True) -> RouteController:
        """Another controller process over the same world, as a supervisor would start it."""
        self.controllers += 1
        wrap = self.injector.wrap if interrupted else lambda _role, port: port
        return RouteController(
            route=ROUTE,
            ledger=wrap("ledger", self.ledger),
            target=wrap("target", self.target),
            router=wrap("router", MemoryRouter(self.clock, self.gateways, mirror=True)),
            measurer=self.measurer,
            facts_of=self.facts_of,
            plan=self.plan,
            policy=POLICY,
            clock=self.clock,
            holder=f"controller-{self.controllers}",
            prober=ArmProber(ask=self._answer_probe, clock=self.clock, smoke=self._smoke),
        )

    async def _answer_probe(self, arm: ObservedArm, instance: ObservedInstance) -> str:
        """Every instance that is ready answers as it should, but those of a release that fails its smoke."""
        return "it answered 500" if arm.release_digest in self.fails_smoke else ""

    async def _smoke(self, arm: ObservedArm, *, seconds: float) -> Smoked:
        """A smoke suite that passes, unless it is told what to find."""
        self.smoked.append(arm.release_digest)
        outcome = self.smokes.get(arm.release_digest, SmokeOutcome.PASSED)
        release, effective = arm.release_digest, arm.effective_digest
        return Smoked(release=release, effective=effective, outcome=outcome, text=f"smoke {outcome.value}", cases=1)

    def facts_of(self, request: Request, state: RouteState) -> ReleaseFacts | None:
        """Every release is known and sound."""
        ref: ArmRef | None = RELEASES.get(Digest(str(request.args.get("release", ""))))
        return None if ref is None else ReleaseFacts(arm=replace(ref, replicas=self.plan.replicas))

    def ask(self, verb: Verb, *, reason: str = "because", **args: object) -> str:
        """A person's verb, recorded; returns its id."""
        request_id = f"{verb.value}-{self.random.getrandbits(48):012x}"
        self.ledger.submit(
            Request(id=request_id, route=ROUTE, verb=verb, actor="grace", at=self.clock.now(), args=args, reason=reason)
        )
        return request_id

    async def tick(self) -> None:
        """One tick of the controller; a killed one is replaced after its lease has had time to run out, or at once.

        One that rests is replaced as well, while it still believes to hold the route.
        """
        try:
            again = await (self._tick_or_rest() if self.injector.pauses else self.controller.tick_safely())
        except Killed:
            self.controller = self.new_controller()
            again = self.random.choice([0.0, 0.5, 3.0])
        await self.clock.sleep(min(max(again, 0.02), 0.25))
        for gateway in self.gateways:
            gateway.settle(self.clock.monotonic())
        self._watch()

    async def _tick_or_rest(self) -> float:
        before = self.injector.resting
        ticking = asyncio.create_task(self.controller.tick_safely())
        while not ticking.done() and self.injector.resting == before:  # noqa: ASYNC110 - one turn at a time
            await asyncio.sleep(0)
        if ticking.done():
            return ticking.result()
        self._stale.append(ticking)
        self.controller = self.new_controller()
        return 0.0

    async def wake_stale(self) -> None:
        """Let every controller that rests finish what it was about to do, in a world that has moved on."""
        self.injector.go_on()
        await asyncio.gather(*self._stale, return_exceptions=True)
        self._stale.clear()

    def _watch(self) -> None:
        """Note instances that are told to end while a gateway still sends requests to them.

        Not of a gateway that was away: nobody waits for it, and it catches up when it is back.
        """
        self._away |= {gateway.name for gateway in self.gateways if not gateway.alive}
        draining = self.target.draining()
        if not draining:
            return
        for gateway in [one for one in self.gateways if one.name not in self._away]:
            table = gateway.table
            arms = () if table is None else table.arms
            served = {end for arm in arms for end in arm.endpoints}
            self.taken_from_service += [f"{gateway.name} still uses {end}" for end in sorted(served & draining)]

    async def run(self, seconds: float) -> None:
        """Tick for so much virtual time."""
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end:
            await self.tick()

    async def settle(self, *, seconds: float = 900.0) -> None:
        """Tick until everything is as desired and every request is answered, or so much virtual time has passed."""
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end:
            await self.run(5.0)
            if not self.ledger.pending(ROUTE) and not self.unsettled():
                return

    async def until(self, *phases: Phase, seconds: float = 600.0) -> None:
        """Tick until the rollout is in one of the phases.

        Raises:
            TimeoutError: When it is not in time.
        """
        end = self.clock.monotonic() + seconds
        while self.phase not in phases:
            if self.clock.monotonic() >= end:
                raise TimeoutError(f"{self.phase} after {seconds}s: {self.state}")
            await self.tick()

    @property
    def state(self) -> RouteState:
        """After the last journaled event."""
        wire: Mapping[str, object] | None = self.ledger.head(ROUTE).state
        return RouteState(route=ROUTE) if wire is None else state_from_wire(wire)

    @property
    def phase(self) -> Phase | None:
        """Of the rollout, or ``None`` before the first."""
        return None if self.state.rollout is None else self.state.rollout.phase

    @property
    def events(self) -> tuple[JournalEntry, ...]:
        """The whole journal."""
        return self.ledger.events(ROUTE, after=0, limit=1_000_000)

    def serve_first(self) -> None:
        """Ask for :data:`STABLE` as the first release."""
        self.ask(Verb.START, release=STABLE.release)

    def served(self) -> set[tuple[Digest | None, int, Digest | None]]:
        """What each gateway serves: stable, split, candidate."""
        return {_summary(gateway.table) for gateway in self.gateways}

    def broken_laws(self) -> list[str]:
        """What in the history of gateways and journal no law allows; empty when all is well."""
        return [
            *self._undecided_tables(), *self._skipped_steps(), *self._exposed_shadows(), *self.taken_from_service,
        ]  # fmt: skip

    def _exposed_shadows(self) -> list[str]:
        """Tables in which a shadow could answer somebody, or share its instances with what does (law 2)."""
        problems = []
        for gateway in self.gateways:
            for table in gateway.history:
                shadow = table.arm(Role.SHADOW)
                if shadow is None:
                    continue
                if table.split or table.arm(Role.CANDIDATE) is not None:
                    problems.append(f"{table.fence} has a shadow beside {table.split} of traffic")
                answering = {endpoint for arm in table.arms if arm is not shadow for endpoint in arm.endpoints}
                if answering & set(shadow.endpoints):
                    problems.append(f"{table.fence} mirrors to an instance that answers people")
        return problems

    def _undecided_tables(self) -> list[str]:
        """Tables whose fence no event decided, or that say something else than the event did (laws 3 and 6)."""
        decided = {
            (event.state["changed_by"]["term"], event.state["changed_by"]["seq"]): event
            for event in reversed(self.events)
        }
        problems = []
        for gateway in self.gateways:
            for before, after in zip(gateway.history, gateway.history[1:], strict=False):
                if after.fence <= before.fence:
                    problems.append(f"{gateway.name} went from {before.fence} to {after.fence}")
            for table in gateway.history:
                event = decided.get((table.fence.term, table.fence.seq))
                if event is None:
                    problems.append(f"{gateway.name} serves {table.fence}, which nobody decided")
                elif event.decision["desired"]["split"] != table.split:
                    problems.append(
                        f"{table.fence} serves {table.split}, decided was {event.decision['desired']['split']}"
                    )
        return problems

    def _skipped_steps(self) -> list[str]:
        """Steps taken twice or left out without a person's word (laws 4 and 9)."""
        problems: list[str] = []
        last: dict[str, int] = {}
        for event in self.events:
            rollout = event.state.get("rollout")
            if not rollout or rollout["phase"] != "stepping":
                continue
            before = last.get(rollout["id"], -1)
            if rollout["step"] not in (before, before + 1):
                problems.append(f"{rollout['id']} went from step {before} to {rollout['step']}")
            last[rollout["id"]] = rollout["step"]
        return problems

    def unsettled(self) -> list[str]:
        """What is not as the last event desires it; empty once the world has converged (law 5)."""
        state = self.state
        problems: list[str] = []
        stable = None if state.stable is None else state.stable.release
        for gateway in self.gateways:
            if _summary(gateway.table) != (stable, 0, None):
                problems.append(f"{gateway.name} serves {_summary(gateway.table)}, desired is {stable}")
        wanted = {warm.arm.release: warm.arm.replicas for warm in state.warm}
        if state.stable is not None:
            wanted[state.stable.release] = state.stable.replicas
        running = self.target.running(ROUTE)
        if running != wanted:
            problems.append(f"running {sorted(running.items())}, desired {sorted(wanted.items())}")
        if state.rollout is not None and state.rollout.live:
            problems.append(f"the rollout is still {state.rollout.phase}")
        return problems


def _summary(table: RouteTable | None) -> tuple[Digest | None, int, Digest | None]:
    if table is None:
        return None, 0, None
    stable, candidate = table.arm(Role.STABLE), table.arm(Role.CANDIDATE)
    return (
        None if stable is None else stable.release,
        int(table.split),
        None if candidate is None or candidate.release in table.masks else candidate.release,
    )
