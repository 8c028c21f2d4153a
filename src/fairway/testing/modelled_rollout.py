"""A whole rollout under modelled traffic, in virtual time, through the real engine and the real gates."""

from __future__ import annotations

from dataclasses import dataclass, field

from fairway.controller.engine import RouteController
from fairway.controller.measure import BlockMeasurer
from fairway.observe.fold import Block
from fairway.observe.port import Pulled
from fairway.rollout.deciding import ReleaseFacts
from fairway.rollout.desired import RoutePolicy
from fairway.rollout.requests import Request, Verb
from fairway.rollout.values import ENDED, ArmRef, Phase, Plan, RouteState
from fairway.rollout.wire import state_from_wire
from fairway.testing.memory_ledger import MemoryLedger
from fairway.testing.memory_router import MemoryGateway, MemoryRouter
from fairway.testing.memory_target import MemoryTarget
from fairway.testing.modelled_traffic import MODELLED_CANDIDATE, MODELLED_STABLE, ModelledTraffic
from fairway.testing.rollout_cases import ROUTE
from fairway.testing.virtual_clock import EPOCH, VirtualClock
from fairway.traffic.table import Role
from fairway.units import WHOLE, Digest

STABLE = ArmRef(release=MODELLED_STABLE, effective=MODELLED_STABLE, version="1.0.0")
CANDIDATE = ArmRef(release=MODELLED_CANDIDATE, effective=MODELLED_CANDIDATE, version="1.1.0")


@dataclass(slots=True, kw_only=True)
class _Silence:
    """A source with nothing in it: blocks come from the model."""

    async def pull(self, route: object, *, after: str | None) -> Pulled:
        """Nothing new."""
        return Pulled(batches=(), cursor="")


@dataclass(slots=True, kw_only=True)
class ModelledRollout:
    """One rollout of a candidate that behaves as the traffic model says.

    Attributes:
        traffic: Both arms; its ``block_seconds`` is the plan's clock.
        plan: What is followed.
    """

    traffic: ModelledTraffic
    plan: Plan
    clock: VirtualClock = field(init=False)
    ledger: MemoryLedger = field(init=False)
    gateway: MemoryGateway = field(init=False)
    measurer: BlockMeasurer = field(init=False)
    controller: RouteController = field(init=False)
    _unripe: list[Block] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.clock = VirtualClock(EPOCH)
        self.ledger = MemoryLedger(clock=self.clock)
        self.gateway = MemoryGateway(name="modelled", delay=0.0)
        self.measurer = BlockMeasurer(route=ROUTE, ledger=self.ledger, source=_Silence(), clock=self.clock)
        self.controller = RouteController(
            route=ROUTE,
            ledger=self.ledger,
            target=MemoryTarget(self.clock),
            router=MemoryRouter(self.clock, [self.gateway]),
            measurer=self.measurer,
            facts_of=self._facts,
            plan=self.plan,
            policy=RoutePolicy(block_seconds=self.traffic.block_seconds),
            clock=self.clock,
            holder="modelled",
            lease_seconds=6 * self.traffic.block_seconds,  # longer than the time between two ticks
        )
        self.traffic.began = EPOCH.timestamp()

    @property
    def state(self) -> RouteState:
        """After the last event."""
        wire = self.ledger.head(ROUTE).state
        return RouteState(route=ROUTE) if wire is None else state_from_wire(wire)

    async def run(self, *, blocks: int, warm_up: int = 12) -> Phase | None:
        """Serve stable, roll the candidate out, and look after each block, for so many blocks at most.

        Returns:
            The phase at the end: ``rolled_back`` and ``rolling_back`` are a verdict against the candidate.
        """
        await self._start(STABLE.release)
        for _ in range(warm_up):
            await self._block()
        await self._start(CANDIDATE.release)
        for _ in range(blocks):
            rollout = self.state.rollout
            if rollout is not None and rollout.phase in (*ENDED, Phase.SOAKING, Phase.ROLLING_BACK):
                break
            await self._block()
        rollout = self.state.rollout
        return None if rollout is None else rollout.phase

    async def _start(self, release: Digest) -> None:
        self.ledger.submit(
            Request(
                id=f"start-{release[-8:]}", route=ROUTE, verb=Verb.START, actor="ada", at=self.clock.now(),
                args={"release": release},
            )
        )  # fmt: skip
        for _ in range(8):
            await self._look()

    async def _look(self) -> None:
        await self.controller.tick()
        self.gateway.settle(self.clock.monotonic())

    async def _block(self) -> None:
        """One block of traffic under the table in force, then the controller's looks."""
        table = self.gateway.table
        assert table is not None
        theta = table.theta.get("latency_ms")
        candidate = table.arm(Role.CANDIDATE)
        split = table.split / WHOLE if candidate is not None and candidate.release not in table.masks else 0.0
        if self.state.rollout is not None and table.arms[0].release == CANDIDATE.release:
            split = 1.0
        limits = {name: {**by_role} for name, by_role in table.theta.items() if name != "latency_ms"}
        block = self.traffic.next_block(split=split, theta=theta, limits=limits, fence=table.fence.seq)
        self.clock.advance(max(0.0, block.t0 + block.seconds - self.clock.now().timestamp()))
        self._unripe.append(block)
        if len(self._unripe) > self.traffic.delay:
            self.measurer.keep((self._unripe.pop(0),))
        for _ in range(4):
            await self._look()

    def _facts(self, request: Request, state: RouteState) -> ReleaseFacts | None:
        known = {STABLE.release: STABLE, CANDIDATE.release: CANDIDATE}
        arm = known.get(Digest(str(request.args.get("release", ""))))
        return None if arm is None else ReleaseFacts(arm=arm)
