"""A roll over real processes of the local target: every endpoint a gateway has answers, from the first to the last."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fairway.clock import SystemClock
from fairway.controller.engine import RouteController
from fairway.rollout.deciding import Measured, ReleaseFacts
from fairway.rollout.desired import RoutePolicy
from fairway.rollout.requests import Request, Verb
from fairway.rollout.values import ArmRef, Phase, RouteState, Strategy
from fairway.rollout.wire import state_from_wire
from fairway.state_dir import StateDir
from fairway.targets.local.instance import Timing
from fairway.targets.local.probe import ProbeError, fetch
from fairway.targets.local.service import LocalService
from fairway.targets.local.target import LocalTarget, PreparedArm, stop_left_behind
from fairway.targets.port import ArmSpec
from fairway.testing.memory_ledger import MemoryLedger
from fairway.testing.memory_router import MemoryGateway, MemoryRouter
from fairway.testing.rollout_cases import CANDIDATE, ROUTE, STABLE, finding, plan_for
from fairway.units import Digest, Verdict

APP = """
import json, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
said = {"release": os.environ["FAIRWAY_RELEASE"], "effective": os.environ["FAIRWAY_EFFECTIVE"]}
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        data = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def log_message(self, *args): pass
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
RELEASES = {ref.release: replace(ref, replicas=3) for ref in (STABLE, CANDIDATE)}
PLAN = replace(plan_for(Strategy.ROLLING, replicas=3), soak=0.0, warm=0.0)


class Files:
    async def prepare(self, route: object, spec: ArmSpec, folder: Path) -> PreparedArm:
        (folder / "app.py").write_text(APP)
        service = LocalService(command=(sys.executable, "-S", "app.py", "{port}"), ready_timeout=20.0, drain=1.0)
        return PreparedArm(release_version="1.0.0", service=service, tree=folder, bundle=folder)


class Contented:
    """Every gate passes a moment after its step began."""

    def forget(self) -> None:
        """Nothing is remembered."""

    async def measure(self, state: RouteState) -> Measured:
        rollout = state.rollout
        if rollout is None or rollout.step_from is None or time.time() - rollout.step_from < 0.5:
            return Measured(theta=400.0)
        soaking = rollout.phase is Phase.SOAKING
        gates = rollout.plan.soak_gates if soaking else rollout.plan.steps[rollout.step].gates
        found = tuple(finding(gate, Verdict.PASS) for gate in gates)
        return Measured(findings=found, mature_seconds=1e6, theta=400.0)


def facts_of(request: Request, state: RouteState) -> ReleaseFacts | None:
    ref: ArmRef | None = RELEASES.get(Digest(str(request.args.get("release", ""))))
    return None if ref is None else ReleaseFacts(arm=ref)


async def answers(endpoint: str) -> bool:
    host, _, port = endpoint.partition(":")
    try:
        return (await fetch(host, int(port), "/", timeout=5.0)).status == 200
    except ProbeError:
        return False


@pytest.mark.slow
async def test_a_roll_of_real_instances_never_sends_anybody_to_one_that_has_ended(tmp_path: Path) -> None:
    state, clock, ledger = StateDir(tmp_path / ".fairway"), SystemClock(), MemoryLedger()
    target = LocalTarget(state=state, files=Files(), timing=Timing(poll=0.02, ready_interval=0.05, stop_grace=1.0))
    gateway = MemoryGateway(name="g", delay=0.3)
    controller = RouteController(
        route=ROUTE, ledger=ledger, target=target, router=MemoryRouter(clock, [gateway]), measurer=Contented(),
        facts_of=facts_of, plan=PLAN, policy=RoutePolicy(block_seconds=0.2), clock=clock, holder="test",
    )  # fmt: skip
    running = asyncio.create_task(target.run())
    least, most, splits = 99, 0, []
    try:
        for ref in (STABLE, CANDIDATE):
            args = {"release": ref.release}
            ledger.submit(Request(id=ref.version, route=ROUTE, verb=Verb.START, actor="ada", at=clock.now(), args=args))
            deadline = time.monotonic() + 60
            while True:
                assert time.monotonic() < deadline
                await controller.tick_safely()
                gateway.settle(clock.monotonic())
                served = [] if gateway.table is None else [end for arm in gateway.table.arms for end in arm.endpoints]
                assert all(await asyncio.gather(*(answers(end) for end in served)))
                if ref is CANDIDATE and gateway.table is not None:
                    least, splits = min(least, len(served)), [*splits, int(gateway.table.split)]
                    most = max(most, sum(len(arm.ready()) for arm in await target.observe(ROUTE)))
                wire = ledger.head(ROUTE).state
                now = None if wire is None else state_from_wire(wire)
                stands = None if now is None or now.stable is None or now.rollout is None else now
                if stands is not None and stands.stable.release == ref.release and not stands.rollout.live:
                    break
                await asyncio.sleep(0.02)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await stop_left_behind(state, grace=0.0)
    assert least == 3
    assert most == 4
    assert [split for split in dict.fromkeys(splits) if split] == [33_333, 66_666]
