"""The smoke of the idle colour, asked of real processes of a real release: each outcome, and its evidence."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from fairway.clock import SystemClock
from fairway.controller.arm_files import ReleaseArmFiles
from fairway.errors import TransientError
from fairway.project.load import load_project
from fairway.release.required import Required
from fairway.release.store import FileContentStore
from fairway.release.trust import trusted_keys
from fairway.rollout.evidence import Smoked, SmokeOutcome
from fairway.stages.idle_smoke import IDLE_SMOKE, IdleSmoke
from fairway.stages.packaging import package
from fairway.state_dir import StateDir
from fairway.targets.local.instance import Timing
from fairway.targets.local.records import RecordFolder
from fairway.targets.local.target import LocalTarget, stop_left_behind
from fairway.targets.port import ArmSpec, ObservedArm
from fairway.testing.memory_ledger import MemoryLedger
from fairway.traffic.table import Role
from fairway.units import EnvironmentName, RouteId, Verdict

AGENT = """
import json, os, pathlib, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
said = {"release": os.environ["FAIRWAY_RELEASE"], "effective": os.environ["FAIRWAY_EFFECTIVE"]}
MOOD = pathlib.Path(os.environ["MOOD"])
class Handler(BaseHTTPRequestHandler):
    def answer(self, value, status=200):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def do_GET(self):
        sick = self.path == "/healthz" and MOOD.read_text() == "sick"
        self.answer(said, 500 if sick else 200)
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        mood = MOOD.read_text()
        if mood == "hangs" or (mood == "slow" and asked["message"] != "Hello"):
            time.sleep(5)
        wrong = mood == "wrong" and asked["message"] != "Hello"
        self.answer({"response": "no idea" if wrong else "Hello, your refund is on its way", "tools": []})
    def log_message(self, *args): pass
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
SUITE = """
suite: first
cases:
  - id: refund
    input: Where is my refund?
    expected_keywords: [refund]
    tags: [smoke]
  - id: long
    input: Tell me everything
    expected_keywords: [never said]
"""


def project_file(command: str, mood: Path, *, chat: bool) -> str:
    return f"""version: 1
agent: {{name: support, description: Answers.}}
service:
  command: {command}
  health: /healthz
  ready: /readiness
  binding: env
  environment: {{MOOD: "{mood}"}}
{"  chat: /chat" if chat else ""}
environments:
  production: {{approval: automatic, replicas: 2}}
"""


class Setting:
    """A released agent whose two instances run, and the smoke of it."""

    def __init__(self, folder: Path, *, suite: str = SUITE, chat: bool = True) -> None:
        self.mood = folder / "mood"
        self.mood.write_text("well")
        self.root = folder / "shop"
        self.root.mkdir()
        command = f"{sys.executable} -S agent.py {{port}}"
        (self.root / "fairway.yaml").write_text(project_file(command, self.mood, chat=chat))
        (self.root / "agent.py").write_text(AGENT)
        if suite:
            (self.root / "evals" / "suites").mkdir(parents=True)
            (self.root / "evals" / "suites" / "first.yaml").write_text(suite)
        self.git("init", "-q", "-b", "main")
        self.commit()
        project = load_project(self.root)
        self.ledger, store = MemoryLedger(), FileContentStore(project.state.blobs)
        clock = SystemClock()
        released = package(
            project, self.ledger, store, version="1.0.0", evidence_required=Required(kinds=()), now=clock.now()
        )
        self.manifest = released.manifest
        self.route = RouteId(agent=project.name, environment=EnvironmentName("production"))
        self.state = StateDir(folder / ".fairway")
        keys = project.state.keys
        files = ReleaseArmFiles(releases=self.ledger, store=store, trusted=lambda: trusted_keys(keys))
        timing = Timing(poll=0.02, ready_interval=0.05, stop_grace=1.0)
        self.target = LocalTarget(state=self.state, files=files, timing=timing)
        self.smoke = IdleSmoke(
            route=self.route, root=self.root, releases=self.ledger,
            records=RecordFolder(self.state.arms / "instances"), clock=clock, shortest=0.0,
        )  # fmt: skip

    def git(self, *words: str) -> None:
        identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
        subprocess.run(["git", *identity, *words], cwd=self.root, check=True, capture_output=True)

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "the shop")

    async def started(self) -> ObservedArm:
        effective = self.manifest.effective[self.route.environment]
        spec = ArmSpec(
            role=Role.CANDIDATE, release_digest=self.manifest.release_digest, effective_digest=effective, replicas=2
        )
        await self.target.ensure(self.route, spec)
        deadline = time.monotonic() + 15
        while not (arms := await self.target.observe(self.route)) or len(arms[0].ready()) < 2:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        return arms[0]

    async def asked(self, arm: ObservedArm, *, seconds: float = 10.0) -> Smoked:
        """What it finds; with the same on record, and nothing else."""
        before = len(self.ledger.list_evidence(self.manifest.release_digest))
        found = await self.smoke(arm, seconds=seconds)
        (evidence,) = self.ledger.list_evidence(self.manifest.release_digest)[before:]
        assert (evidence.kind, evidence.environment) == (IDLE_SMOKE, "production")
        assert (evidence.release, evidence.effective) == (found.release, found.effective)
        assert (evidence.figures["outcome"], evidence.figures["text"]) == (found.outcome.value, found.text)
        assert (evidence.verdict is Verdict.PASS) is (found.outcome is SmokeOutcome.PASSED)
        assert (evidence.instrument is not None) is (found.cases > 0)
        return found


async def running(made: Setting) -> AsyncIterator[tuple[Setting, ObservedArm]]:
    supervising = asyncio.create_task(made.target.run())
    try:
        yield made, await made.started()
    finally:
        supervising.cancel()
        await asyncio.gather(supervising, return_exceptions=True)
        await stop_left_behind(made.state, grace=0.0)


async def test_the_suite_of_the_released_commit_is_played_and_each_outcome_has_its_name(tmp_path: Path) -> None:
    async for made, arm in running(Setting(tmp_path)):
        # What is worked on now is not what was released.
        (made.root / "evals" / "suites" / "first.yaml").write_text(SUITE.replace("[refund]", "[something else]"))
        found = await made.asked(arm)
        assert (found.outcome, found.cases, found.text) == (SmokeOutcome.PASSED, 1, "1 of 1 smoke cases passed")

        made.mood.write_text("wrong")
        found = await made.asked(arm)
        assert found.outcome is SmokeOutcome.FAILED
        assert "first/refund" in found.text

        made.mood.write_text("sick")
        found = await made.asked(arm)
        assert found.outcome is SmokeOutcome.FAILED
        assert "/healthz answers 500" in found.text

        made.mood.write_text("hangs")
        found = await made.asked(arm, seconds=1.0)
        assert (found.outcome, found.cases) == (SmokeOutcome.FAILED, 0)
        assert "did not answer in time" in found.text

        made.mood.write_text("slow")
        found = await made.asked(arm, seconds=1.0)
        assert found.outcome in (SmokeOutcome.TIMEOUT, SmokeOutcome.ERROR)

        made.mood.write_text("well")
        gone = replace(arm, instances=(replace(arm.instances[0], id="gone-0"),))
        found = await made.asked(gone)
        assert found.outcome is SmokeOutcome.ERROR
        assert "not on record" in found.text

        (made.root / ".git").rename(made.root / "no-git")
        found = await made.asked(arm)
        assert found.outcome is SmokeOutcome.ERROR
        assert "cannot be run" in found.text


async def test_a_suite_that_cannot_be_read_is_an_error_and_not_the_releases_failure(tmp_path: Path) -> None:
    async for made, arm in running(Setting(tmp_path, suite=SUITE + "  - {id: refund, inputt: x}\n")):
        found = await made.asked(arm)
        assert found.outcome is SmokeOutcome.ERROR


async def test_a_project_that_declares_nothing_to_ask_says_so(tmp_path: Path) -> None:
    async for made, arm in running(Setting(tmp_path, suite="", chat=False)):
        found = await made.asked(arm)
        assert found.outcome is SmokeOutcome.NONE_DECLARED
        assert "no case is tagged smoke" in found.text


async def test_an_agent_without_smoke_cases_answers_one_message(tmp_path: Path) -> None:
    async for made, arm in running(Setting(tmp_path, suite=SUITE.replace("smoke", "e2e"))):
        found = await made.asked(arm)
        assert (found.outcome, found.cases) == (SmokeOutcome.PASSED, 0)
        assert "answered a message" in found.text


async def test_what_cannot_be_recorded_cannot_be_relied_on(tmp_path: Path) -> None:
    async for made, arm in running(Setting(tmp_path)):

        def refuse(_: object) -> None:
            raise TransientError("the ledger is busy", code="busy")

        made.ledger.add_evidence = refuse  # type: ignore[method-assign]
        found = await made.smoke(arm, seconds=10.0)
        assert found.outcome is SmokeOutcome.ERROR
        assert "could not be recorded" in found.text
