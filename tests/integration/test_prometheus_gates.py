"""Custom gates against a real Prometheus server that scrapes a real exposition, through the real engine."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest
import yaml

from fairway.clock import SystemClock
from fairway.controller.engine import RouteController
from fairway.controller.sources import SourceWatch, names_of
from fairway.gateway.metrics import MetricsBook
from fairway.ledger.replaying import replay_route
from fairway.observe.blocks import Batch, Increment, bin_of
from fairway.rollout.config import RolloutSection
from fairway.rollout.deciding import ReleaseFacts
from fairway.rollout.plan import compile_plan
from fairway.rollout.requests import Request, Verb
from fairway.rollout.values import ArmRef, Phase, RouteState
from fairway.rollout.verbs import live
from fairway.rollout.wire import snapshot_from_bytes, state_from_wire
from fairway.sources.asking import HttpAsker
from fairway.sources.values import Answered, OnFail, Question, SourceGate, SourceKind
from fairway.testing.memory_ledger import MemoryLedger
from fairway.testing.memory_router import MemoryGateway, MemoryRouter
from fairway.testing.memory_target import MemoryTarget
from fairway.testing.rollout_cases import CANDIDATE, ROUTE, STABLE, canary_plan, rollout_state
from fairway.testing.rollout_world import POLICY, JudgingMeasurer
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role
from fairway.units import Digest, Verdict

PROMETHEUS = shutil.which("prometheus")
DOCS = Path(__file__).parents[2] / "docs" / "gates.md"

pytestmark = pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not installed")


@dataclass
class Exporter:
    """What is scraped: the gateway's own exposition, and figures an agent could have of itself."""

    book: MetricsBook = field(default_factory=MetricsBook)
    figures: dict = field(default_factory=lambda: {f'agent_queue{{release="{STABLE.version}"}}': 1})
    seconds: float = 0.0

    def text(self):
        self.seconds += 1.0
        for role, ref in ((Role.STABLE, STABLE), (Role.CANDIDATE, CANDIDATE)):
            self._serve(role, ref)
        lines = [f"{name} {value}" for name, value in self.figures.items()]
        cpu = f'process_cpu_seconds_total{{release="{CANDIDATE.version}"}} {self.seconds * 0.01}'
        return self.book.render(str(ROUTE), []) + "\n".join([*lines, cpu]) + "\n"

    def _serve(self, role, ref):
        done = Increment(
            t0=0.0,
            release=ref.release,
            role=role,
            fence=Fence(term=1, seq=1),
            assigned=100,
            finished=100,
            failed=2,
            histograms={"latency_ms": {bin_of(20.0): 100}},
            sums={"tokens_out": 5000},
        )
        batch = Batch(
            gateway="g", boot="b", worker=0, seq=1, at=0.0, block_seconds=10.0, timeout=5.0, increments=(done,)
        )
        self.book.add(batch, {STABLE.release: STABLE.version, CANDIDATE.release: CANDIDATE.version})

    async def serve(self, reader, writer):
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                body = self.text().encode()
                head = (
                    f"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {len(body)}\r\n\r\n"
                )
                writer.write(head.encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the server or the test has ended
        finally:
            writer.close()


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(folder, target):
    """A Prometheus server of its own on loopback, ended by its id."""
    port = _free_port()
    scrape = {
        "job_name": "fairway",
        "scrape_interval": "200ms",
        "scrape_timeout": "200ms",
        "static_configs": [{"targets": [target]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": [scrape]}))
    log = (folder / "prometheus.log").open("wb")
    process = subprocess.Popen(
        [
            PROMETHEUS,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ],
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, "GOMAXPROCS": "1"},
    )
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.wait(10)
        log.close()


async def ready(url, process, folder):
    deadline = time.monotonic() + 30
    async with httpx.AsyncClient() as client:
        while time.monotonic() < deadline:
            assert process.poll() is None, (folder / "prometheus.log").read_text()
            try:
                if (await client.get(f"{url}/-/ready")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)
    raise TimeoutError((folder / "prometheus.log").read_text())


@pytest.fixture
async def scraped(tmp_path):
    exporter = Exporter()
    server = await asyncio.start_server(exporter.serve, "127.0.0.1", 0)
    target = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with running(tmp_path, target) as (url, process):
        await ready(url, process, tmp_path)
        yield exporter, url, process
    server.close()


@dataclass
class Measurer:
    """Statistical gates that pass at once, and the real reading of custom gates."""

    judging: JudgingMeasurer
    watch: SourceWatch

    def forget(self):
        self.watch.forget()

    async def measure(self, state):
        return replace(await self.judging.measure(state), sources=self.watch.look(live(state)))


class Rollout:
    """One real engine over arms and gateways in memory, in real time."""

    def __init__(self, *gates, soak=0.0):
        self.clock = SystemClock()
        self.ledger = MemoryLedger(clock=self.clock)
        self.gateway = MemoryGateway(name="g", delay=0.0)
        plan = canary_plan(20_000, 50_000, sources=gates, soak=soak)
        plan = replace(plan, steps=tuple(replace(step, dwell=0.3) for step in plan.steps))
        self.controller = RouteController(
            route=ROUTE,
            ledger=self.ledger,
            target=MemoryTarget(self.clock),
            router=MemoryRouter(self.clock, [self.gateway]),
            measurer=Measurer(
                judging=JudgingMeasurer(clock=self.clock, decides_after=0.1),
                watch=SourceWatch(route=ROUTE, asker=HttpAsker(environ={}), clock=self.clock),
            ),
            facts_of=self._facts,
            plan=plan,
            policy=replace(POLICY, block_seconds=0.2),
            clock=self.clock,
            holder="test",
        )
        self.slowest = 0.0

    def _facts(self, request, state):
        refs: dict[Digest, ArmRef] = {ref.release: ref for ref in (STABLE, CANDIDATE)}
        return ReleaseFacts(arm=refs[Digest(request.args["release"])])

    def ask(self, verb, **args):
        name = f"{verb.value}-{len(self.events)}"
        self.ledger.submit(
            Request(id=name, route=ROUTE, verb=verb, actor="ada", at=self.clock.now(), args=args, reason="because")
        )

    @property
    def state(self):
        wire = self.ledger.head(ROUTE).state
        return RouteState(route=ROUTE) if wire is None else state_from_wire(wire)

    @property
    def events(self):
        return self.ledger.events(ROUTE, after=0, limit=1000)

    async def until(self, met, *, seconds=60.0):
        deadline = time.monotonic() + seconds
        while not met(self.state.rollout):
            assert time.monotonic() < deadline, (self.state.rollout, [event.reason for event in self.events][-3:])
            begun = time.monotonic()
            await self.controller.tick()
            self.slowest = max(self.slowest, time.monotonic() - begun)
            self.gateway.settle(self.clock.monotonic())
            await asyncio.sleep(0.02)

    async def start(self):
        self.ask(Verb.START, release=STABLE.release)
        await self.until(lambda rollout: rollout is not None and rollout.phase is Phase.DONE)
        self.ask(Verb.START, release=CANDIDATE.release)
        await self.until(lambda rollout: rollout.phase is Phase.STEPPING)


def queue(url, **changes):
    """At most ten waiting requests, for half a second."""
    gate = SourceGate(
        name="queue",
        question=Question(kind=SourceKind.PROMETHEUS, url=url, query='max(agent_queue{release="{{candidate}}"})'),
        at_most=10.0,
        holds_for=0.5,
        every=0.2,
        timeout=2.0,
        errors=3,
    )
    return replace(gate, **changes)


QUEUE = f'agent_queue{{release="{CANDIDATE.version}"}}'


@pytest.mark.slow
async def test_a_rollout_is_held_without_data_goes_on_with_it_and_goes_back_for_a_bad_figure(scraped):
    exporter, url, _ = scraped
    rollout = Rollout(queue(url, on_fail=OnFail.ROLL_BACK), soak=0.3)
    await rollout.start()
    await rollout.until(lambda found: found.phase is Phase.STEPPING and rollout.state.code == "custom_gate_waits")
    held = time.monotonic() + 1.0
    await rollout.until(lambda found: time.monotonic() > held)
    assert (rollout.state.rollout.step, rollout.state.code) == (0, "custom_gate_waits"), "no sample is no pass"
    exporter.figures[QUEUE] = 4
    await rollout.until(lambda found: found.step == 1)
    assert "queue passed (guarantee: none)" in next(e.reason for e in rollout.events if e.code == "gates_passed")
    exporter.figures[QUEUE] = 40
    await rollout.until(lambda found: found.phase is Phase.ROLLED_BACK)
    assert rollout.state.rollout.cause == "custom_gate_failed"
    assert "40, asked for at most 10" in rollout.state.rollout.cause_text
    _proved_by_the_record(rollout)


def _proved_by_the_record(rollout):
    """Each decision is taken again from what the ledger kept, and the answers it looked at are in it."""
    replayed = list(replay_route(rollout.ledger, ROUTE))
    assert [one for one in replayed if one.difference is not None or not one.replayed] == []
    advanced = next(event for event in rollout.events if event.code == "gates_passed")
    (reading,) = snapshot_from_bytes(rollout.ledger.snapshot(ROUTE, advanced.fence.seq)).measured.sources
    assert (reading.gate, reading.answer.value) == ("queue", 4.0)
    assert reading.at - reading.holds_since >= 0.5
    assert advanced.decision["sources"][0]["verdict"] == Verdict.PASS
    assert advanced.decision["sources"][0]["guarantee"] == "none"


@pytest.mark.slow
async def test_a_server_that_dies_pauses_the_rollout_and_never_sends_it_back_or_on(scraped):
    exporter, url, process = scraped
    exporter.figures[QUEUE] = 4
    rollout = Rollout(queue(url, on_fail=OnFail.ROLL_BACK, holds_for=60.0))
    await rollout.start()
    await rollout.until(lambda found: rollout.state.code == "custom_gate_waits")
    process.kill()
    await rollout.until(lambda found: bool(found.paused))
    found = rollout.state.rollout
    assert (found.phase, found.step, rollout.state.code) == (Phase.STEPPING, 0, "custom_gate_unreadable")
    assert "it cannot be reached" in found.paused


@pytest.mark.slow
async def test_a_server_that_hangs_delays_no_tick_and_its_silence_holds_the_rollout():
    connected = []

    async def hang(reader, writer):
        connected.append(writer)

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    rollout = Rollout(queue(url, timeout=30.0, most_of_stable=1.1, at_most=None))
    await rollout.start()
    rollout.slowest = 0.0
    held = time.monotonic() + 1.5
    await rollout.until(lambda found: time.monotonic() > held)
    assert (rollout.state.rollout.step, rollout.state.code) == (0, "custom_gate_waits")
    assert rollout.slowest < 1.0
    assert connected
    rollout.controller.measurer.forget()
    for writer in connected:
        writer.close()
    server.close()


@pytest.mark.slow
async def test_what_prometheus_itself_answers_to_bad_questions_is_named(scraped):
    _, url, _ = scraped
    names = names_of(ROUTE, rollout_state(Phase.STEPPING))
    asker = HttpAsker(environ={})
    expected = {
        "agent_absent": Answered.EMPTY,
        "vector(0) / 0": Answered.NOT_A_NUMBER,
        "1 / vector(0)": Answered.INFINITE,
        "scalar(vector(3))": Answered.VALUE,
        "'text'": Answered.WRONG_TYPE,
        "up[1m]": Answered.WRONG_TYPE,
        "sum(": Answered.REFUSED,
        "vector(1) or label_replace(vector(2), 'a', 'b', '', '')": Answered.SEVERAL,
    }
    found = {}
    for query in expected:
        gate = queue(url, question=Question(kind=SourceKind.PROMETHEUS, url=url, query=query))
        found[query] = (await asker.ask(gate, names, role="candidate")).outcome
    assert found == expected


@pytest.mark.slow
async def test_every_query_of_the_documentation_gives_a_figure_from_the_gateways_own_metrics(scraped):
    _, url, _ = scraped
    block = next(part for part in DOCS.read_text().split("```yaml\n") if "custom:" in part).split("```")[0]
    plan = compile_plan(RolloutSection.model_validate(yaml.safe_load(block)["rollout"]))
    asked = [gate for gate in plan.sources if gate.question.kind is SourceKind.PROMETHEUS]
    assert len(asked) >= 3
    names = names_of(ROUTE, rollout_state(Phase.STEPPING))
    asker = HttpAsker(environ={})
    for gate in asked:
        here = replace(gate, question=replace(gate.question, url=url))
        for role in ("candidate", "stable") if gate.compares else ("candidate",):
            assert await _soon(asker, here, names, role), (gate.name, role)


async def _soon(asker, gate, names, role):
    """Whether the query gives a figure once there are two scrapes to make a rate of."""
    for _ in range(300):  # Prometheus begins to scrape five seconds after it has started
        answer = await asker.ask(gate, names, role=role)
        if answer.outcome is Answered.VALUE:
            return True
        await asyncio.sleep(0.1)
    return False
