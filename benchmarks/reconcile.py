"""One controller for many routes: what a pass over idle and over stepping ones costs, through the real engine.

Each route has its own target, gateway and telemetry in memory, and one ledger holds them all. Idle ones have a stable
release and nothing to do. Stepping ones are in the first step of the default canary, at 120 conversations a minute:
each pass brings a batch of telemetry, which is folded to a block, recorded, and read by every gate of the policy.
Several sizes, because the cost has to grow with the number of routes and no faster. CPU time, one core.
"""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import time
from dataclasses import dataclass, field

from benchmarks.bench import Bench, Promise
from fairway.controller.engine import RouteController
from fairway.controller.fleet import Fleet
from fairway.controller.measure import BlockMeasurer
from fairway.observe.blocks import Batch, Increment, bin_of
from fairway.observe.port import Pulled
from fairway.rollout.config import RolloutSection
from fairway.rollout.deciding import ReleaseFacts
from fairway.rollout.desired import RoutePolicy
from fairway.rollout.plan import compile_plan
from fairway.rollout.port import JournalEntry
from fairway.rollout.requests import Request, Verb
from fairway.rollout.values import ArmRef, Phase, RouteState
from fairway.rollout.wire import state_from_wire, state_to_wire
from fairway.testing.memory_ledger import MemoryLedger
from fairway.testing.memory_router import MemoryGateway, MemoryRouter
from fairway.testing.memory_target import Behaviour, MemoryTarget
from fairway.testing.virtual_clock import VirtualClock
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role
from fairway.units import AgentName, Digest, EnvironmentName, RouteId, UnitHash

PASS_SECONDS = 10.0
UNITS_A_BLOCK = 20
"""Conversations that begin in ten seconds: 120 a minute."""
MEASURED_PASSES = 12
SIZES = ((1250, 125), (5000, 500))
STABLE = ArmRef(release=Digest("sha256:" + "b" * 64), effective=Digest("sha256:" + "1" * 64), version="1.0.0")
CANDIDATE = ArmRef(release=Digest("sha256:" + "c" * 64), effective=Digest("sha256:" + "2" * 64), version="1.1.0")
POLICY = RoutePolicy(block_seconds=PASS_SECONDS)


@dataclass(slots=True, kw_only=True)
class Telemetry:
    """One worker of a route's gateway; where ``silent``, it only says that it lives."""

    clock: VirtualClock
    gateway: MemoryGateway
    silent: bool
    dice: random.Random
    batches: list[Batch] = field(default_factory=list)

    async def pull(self, route: RouteId, *, after: str | None) -> Pulled:
        """What came since."""
        read = int(after or 0)
        return Pulled(batches=tuple(self.batches[read:]), cursor=str(len(self.batches)))

    def flush(self) -> None:
        """Report the block that has just passed; made outside the measured time."""
        now = self.clock.now().timestamp()
        t0 = (now // PASS_SECONDS) * PASS_SECONDS - PASS_SECONDS
        table = self.gateway.table
        increments: tuple[Increment, ...] = ()
        if table is not None and not self.silent:
            split = table.split / 100_000
            parts = {Role.STABLE: round(UNITS_A_BLOCK * (1 - split)), Role.CANDIDATE: round(UNITS_A_BLOCK * split)}
            increments = tuple(
                self._increment(t0, arm.release, arm.role, parts[arm.role], table.regime, int(table.split))
                for arm in table.arms
                if parts.get(arm.role)
            )
        self.batches.append(
            Batch(
                gateway="g", boot="b", worker=0, seq=len(self.batches) + 1, at=now, block_seconds=PASS_SECONDS,
                timeout=60.0, increments=increments,
            )
        )  # fmt: skip

    def _increment(self, t0: float, release: Digest, role: Role, units: int, regime: str, split: int) -> Increment:
        active = tuple(UnitHash(f"{self.dice.getrandbits(64):016x}") for _ in range(units))
        latencies: dict[int, int] = {}
        for _ in active:
            place = bin_of(self.dice.lognormvariate(6.0, 0.5))
            latencies[place] = latencies.get(place, 0) + 1
        assert self.gateway.table is not None
        return Increment(
            t0=t0, release=release, role=role, fence=self.gateway.table.fence, assigned=units, served=units,
            finished=units, reported=units, by={"hash": units}, histograms={"latency_ms": latencies},
            marks={"active": active}, regime=regime, split=split,
        )  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Routes:
    """Many routes over one ledger."""

    clock: VirtualClock = field(default_factory=VirtualClock)
    ledger: MemoryLedger = field(init=False)
    controllers: list[RouteController] = field(default_factory=list)
    gateways: list[MemoryGateway] = field(default_factory=list)
    telemetry: list[Telemetry] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = MemoryLedger(clock=self.clock)

    def add(self, number: int, *, silent: bool) -> None:
        """One more route and its controller."""
        route = RouteId(agent=AgentName(f"agent-{number}"), environment=EnvironmentName("production"))
        gateway = MemoryGateway(name="g")
        telemetry = Telemetry(clock=self.clock, gateway=gateway, silent=silent, dice=random.Random(number))
        self.gateways.append(gateway)
        self.telemetry.append(telemetry)
        self.controllers.append(
            RouteController(
                route=route,
                ledger=self.ledger,
                target=MemoryTarget(self.clock, default=Behaviour(ready_after=1.0)),
                router=MemoryRouter(self.clock, [gateway]),
                measurer=BlockMeasurer(route=route, ledger=self.ledger, source=telemetry, clock=self.clock),
                facts_of=_facts,
                plan=compile_plan(RolloutSection(soak=0.0, warm=60.0)),
                policy=POLICY,
                clock=self.clock,
                holder="bench",
                lease_seconds=60.0,
            )
        )

    def ask(self, controller: RouteController, ref: ArmRef) -> None:
        """Start a release."""
        self.ledger.submit(
            Request(
                id=f"{controller.route.agent}-{ref.version}", route=controller.route, verb=Verb.START, actor="ada",
                at=self.clock.now(), args={"release": ref.release},
            )
        )  # fmt: skip

    def serve(self, controller: RouteController) -> None:
        """Journal that a release has long been stable."""
        lease = self.ledger.acquire_lease(controller.route, controller.holder, seconds=controller.lease_seconds)
        assert lease is not None
        entry = JournalEntry(
            route=controller.route, fence=Fence(term=lease.term, seq=1), at=self.clock.now(), kind="finish",
            code="done", reason="", actor="ada", decision={},
            state=state_to_wire(RouteState(route=controller.route, stable=STABLE)),
        )  # fmt: skip
        self.ledger.journal(entry, lease)

    def state(self, controller: RouteController) -> RouteState:
        """Of a route, as journaled."""
        wire = self.ledger.head(controller.route).state
        return RouteState(route=controller.route) if wire is None else state_from_wire(wire)

    async def settle(self, fleet: Fleet, seconds: float, step: float = 1.0) -> None:
        """Let so much virtual time pass, outside the measured time."""
        for _ in range(round(seconds / step)):
            await fleet.look_at_all()
            await self.clock.sleep(step)
            for gateway in self.gateways:
                gateway.settle(self.clock.monotonic())

    async def turn(self) -> None:
        """On to the next pass: telemetry of the last ten seconds arrives."""
        await self.clock.sleep(PASS_SECONDS)
        for gateway in self.gateways:
            gateway.settle(self.clock.monotonic())
        for telemetry in self.telemetry:
            telemetry.flush()


def _facts(request: Request, state: RouteState) -> ReleaseFacts | None:
    wanted = request.args["release"]
    return next((ReleaseFacts(arm=ref) for ref in (STABLE, CANDIDATE) if ref.release == wanted), None)


async def _routes(idle: int, stepping: int) -> Routes:
    """Routes that have served for a while; the last ``stepping`` of them are in their first step."""
    routes = Routes()
    for number in range(idle + stepping):
        routes.add(number, silent=number < idle)
    fleet = Fleet(controllers=routes.controllers, clock=routes.clock)
    for controller in routes.controllers:
        routes.serve(controller)
    await routes.settle(fleet, 4)
    for controller in routes.controllers[idle:]:
        routes.ask(controller, CANDIDATE)
    await routes.settle(Fleet(controllers=routes.controllers[idle:], clock=routes.clock), 6)
    await routes.turn()
    await fleet.look_at_all()
    return routes


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """CPU seconds of each pass."""

    idle: list[float]
    stepping: list[float]

    @property
    def worst(self) -> float:
        """Of a pass over both."""
        return max(one + other for one, other in zip(self.idle, self.stepping, strict=True))


async def _measure(idle: int, stepping: int) -> Passes:
    routes = await _routes(idle, stepping)
    still = Fleet(controllers=routes.controllers[:idle], clock=routes.clock)
    moving = Fleet(controllers=routes.controllers[idle:], clock=routes.clock)
    found = Passes(idle=[], stepping=[])
    gc.collect()
    gc.freeze()
    for _ in range(MEASURED_PASSES):
        await routes.turn()
        for fleet, times in ((still, found.idle), (moving, found.stepping)):
            begun = time.process_time()
            await fleet.look_at_all()
            times.append(time.process_time() - begun)
    gc.unfreeze()
    _check(routes, idle)
    return found


def _check(routes: Routes, idle: int) -> None:
    """The figures are worth nothing unless idle routes were idle and the others on their first step, with evidence."""
    for controller in routes.controllers[:idle]:
        assert routes.state(controller).rollout is None
        assert routes.gateways[0].table is not None
    for controller in routes.controllers[idle:]:
        rollout = routes.state(controller).rollout
        assert rollout is not None
        assert rollout.phase is Phase.STEPPING
        assert rollout.step_from is not None
        assert len(routes.ledger.blocks(controller.route)) >= MEASURED_PASSES


def run() -> Bench:
    """Two sizes, idle and stepping routes timed apart within each pass."""
    found = {size: asyncio.run(_measure(*size)) for size in SIZES}
    rows = []
    for (idle, stepping), passes in found.items():
        for what, count, times in (("idle", idle, passes.idle), ("stepping", stepping, passes.stepping)):
            middle = statistics.median(times)
            rows.append(
                {
                    "routes": f"{count:,} {what}",
                    "median of a pass": f"{middle:.2f} s",
                    "worst": f"{max(times):.2f} s",
                    "each route": f"{middle / count * 1e6:,.0f} µs",
                }
            )
    small, large = found[SIZES[0]], found[SIZES[1]]
    times_more = SIZES[1][0] / SIZES[0][0]
    growth = max(
        statistics.median(large.idle) / statistics.median(small.idle) / times_more,
        statistics.median(large.stepping) / statistics.median(small.stepping) / times_more,
    )
    return Bench(
        title="One controller, many routes",
        rows=rows,
        promises=[
            Promise(
                text="5,000 idle and 500 stepping rollouts within a pass of 10 s on one core",
                measured=f"{large.worst:.2f} s of CPU in the worst of {MEASURED_PASSES} passes",
                kept=large.worst < PASS_SECONDS,
            ),
            Promise(
                text="cost linear in both: four times the routes cost at most 1.5 times four times as much",
                measured=f"{growth:.2f} times",
                kept=growth < 1.5,
            ),
        ],
        notes=["ledger, target and gateway are in memory: what a database or a network adds is not in these figures"],
    )
