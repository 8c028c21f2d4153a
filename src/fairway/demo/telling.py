"""What every chapter of the demo shares: a project, its ``fairway up``, live traffic, expectations that are checked."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairway.bootstrap import Workspace, open_workspace
from fairway.demo.commands import (
    Done,
    environment,
    execute,
    fairway,
    free_ports,
    git,
    interrupt,
    last_line,
)
from fairway.demo.conversations import Kind
from fairway.demo.policy import compress_policy, shorten_pipeline
from fairway.demo.timeline import Timeline
from fairway.demo.traffic import TrafficGenerator, affected_users
from fairway.errors import FairwayError, PermanentError
from fairway.rollout.port import JournalEntry
from fairway.scaffold import demo_changes
from fairway.state_dir import StateDir
from fairway.supervise.info import running

CONVERSATIONS_PER_SECOND = 25.0
SHORT_PACE = 12.0
"""Conversations begun a second where a few seconds of traffic have to be enough, beside the pipeline's own work."""

MAX_CONVERSATIONS = 60
"""At a time: a machine that cannot keep up gets fewer, instead of a queue that ends in timeouts."""

KINDS = {Kind.ORDER_STATUS: 0.3, Kind.PRODUCT: 0.15, Kind.REFUND: 0.15, Kind.EXCHANGE: 0.3, Kind.CHAT: 0.1}
"""What customers want; exchanges are what v1.2.0 cannot do."""

UP_READY_SECONDS = 40.0
RUN_SECONDS = 240.0
"""After this a chapter has not gone as it should, whatever it waits for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """One thing the demo promises, and whether it was so."""

    name: str
    met: bool
    seen: str


@dataclass(slots=True, kw_only=True)
class Told:
    """What has happened so far."""

    expectations: list[Expectation] = field(default_factory=list)
    exposure: dict[str, Any] = field(default_factory=dict)
    switches: int = 0
    status: str = "setting up"

    def expect(self, name: str, met: bool, seen: str) -> None:
        """Note an expectation."""
        self.expectations.append(Expectation(name=name, met=met, seen=seen))


class Telling(ABC):
    """A chapter told with the commands a user would use; subclasses say what happens.

    Args:
        root: Where the project is made; must not exist or be empty.
        seed: Of the traffic.
        rate: Conversations begun a second; by default the chapter's own.
    """

    policy: str
    """The ``rollout`` section the chapter is told under."""

    pace = CONVERSATIONS_PER_SECOND
    short = False
    """Whether stages that it is not about are left out of the pipeline."""

    def __init__(self, root: Path, *, seed: int = 7, rate: float | None = None) -> None:
        self.root = root
        self.seed = seed
        self.rate = self.pace if rate is None else rate
        self.told = Told()
        self.timeline = Timeline(self._status)
        self._workspace: Workspace | None = None
        self._traffic: TrafficGenerator | None = None
        self._seen = 0

    async def tell(self, *, keep: bool = False) -> dict[str, Any]:
        """Run everything; returns the result as a JSON-able value.

        Raises:
            PermanentError: When a part did not come up at all, so that there is nothing to tell.
        """
        with self.timeline:
            await self._make_project()
            try:
                async with self._serving(keep=keep) as url:
                    await self._first_release(url)
                    await self._happen()
                    await self._end_of_traffic()
            finally:
                if self._workspace is not None:
                    self._workspace.close()
        return self._result(keep)

    @abstractmethod
    async def _happen(self) -> None:
        """What this chapter is about."""

    async def _make_project(self) -> None:
        self.timeline.chapter("An agent project")
        await execute(fairway("init", str(self.root), "--template", "plain"), cwd=self.root.parent, check=True)
        port, admin_port = free_ports(2)
        compress_policy(self.root, self.policy, port=port, admin_port=admin_port)
        if self.short:
            shorten_pipeline(self.root)
        await git(self.root, "add", "-A")
        await git(self.root, "commit", "-q", "-m", "Rollout policy of the demo: the same steps, minutes become seconds")
        await git(self.root, "tag", "v1.0.0")
        self.timeline.say(f"made {self.root}: a support agent with its prompt, models, tools, evals and tests")

    @contextlib.asynccontextmanager
    async def _serving(self, *, keep: bool) -> AsyncIterator[str]:
        """``fairway up`` for as long as the block; interrupted at its end unless it is to be kept."""
        log = (self.root / ".fairway" / "logs" / "up.log").absolute()
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *fairway("up"),
                cwd=self.root,
                env=environment(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            url = await self._until_up(process, log)
            self.timeline.say(f"fairway up: gateway at {url}, controller and model beside it")
            self._workspace = open_workspace(self.root)
            telling = asyncio.create_task(self._tell_events())
            try:
                yield url
            finally:
                telling.cancel()
                await asyncio.gather(telling, return_exceptions=True)
                await self._stop_traffic()
        except BaseException:
            keep = False
            raise
        finally:
            if not keep:
                await interrupt(process)

    async def _first_release(self, url: str) -> None:
        self.timeline.chapter("v1.0.0: the first release")
        run = await self._run("1.0.0")
        self._expect_passed("v1.0.0 passes the pipeline and serves", run, "1.0.0")
        self._traffic = TrafficGenerator(
            url,
            seed=self.seed,
            conversations_per_second=self.rate,
            max_in_flight=MAX_CONVERSATIONS,
            weights=KINDS,
        )
        self._traffic.start()
        self.timeline.say(f"traffic: {self.rate:g} conversations a second from several tenants, to the end")
        await asyncio.sleep(4.0)

    async def _end_of_traffic(self) -> None:
        self.timeline.chapter("What the users saw")
        await self._stop_traffic()
        assert self._traffic is not None
        self._traffic.note_rollback(_label("1.2.0"))
        stats = self._traffic.stats()
        self.told.expect(
            "no request failed because of a switch",
            stats.requests > 0 and stats.failed == 0,
            f"{stats.failed} of {stats.requests:,} requests failed over {self.told.switches} switches",
        )
        self.told.expect(
            "no conversation changed its release but those taken off v1.2.0",
            not stats.misrouted,
            f"{len(stats.misrouted)} moved, {len(stats.moved)} were taken back by the rollback",
        )
        for release, one in sorted(stats.by_release.items(), key=lambda pair: str(pair[0])):
            p95 = "" if one.p95_seconds is None else f", P95 {one.p95_seconds * 1000:.0f} ms"
            self.timeline.say(
                f"{release}: {one.requests:,} answers to {one.conversations:,} conversations,"
                f" {one.apologised} apologies{p95}"
            )
        audit = (await execute(fairway("audit", "verify", "-o", "json"), cwd=self.root)).code
        self.told.expect("the audit chain verifies", audit == 0, f"fairway audit verify: exit {audit}")

    # -- what chapters use ---------------------------------------------------------------------------------------------

    async def _commit(self, version: str) -> None:
        change = demo_changes(self.root, version)
        await git(self.root, "add", "-A")
        await git(self.root, "commit", "-q", "-m", change.message)
        await git(self.root, "tag", f"v{version}")
        self.timeline.say(f"git commit: {change.message}", "note")

    async def _run(self, version: str) -> Done:
        self.told.status = f"fairway run: v{version}"
        self.timeline.say(f"fairway run ({version})", "note")
        try:
            async with asyncio.timeout(RUN_SECONDS):
                done = await execute(fairway("run", "-o", "json"), cwd=self.root, hear=self._hear_stage)
        except TimeoutError:
            waiting = str((self._state().get("rollout") or {}).get("paused") or self.told.status)
            done = Done(arguments=("fairway", "run"), code=124, stdout="", stderr=f"gave up waiting: {waiting}")
        await asyncio.sleep(0.3)
        return done

    def _hear_stage(self, line: str) -> None:
        """Pass on the lines with which `fairway run` tells how a stage ended."""
        if line[:1] in "✓✗!" and line.strip():
            self.timeline.say(f"  {line}", "bad" if line[0] in "✗!" else "note")

    def _expect_passed(self, name: str, run: Done, version: str) -> None:
        stable = self._stable_version()
        failed = next(
            (f"{each['stage']}: {each['summary']}" for each in report_of(run).get("stages", ()) if _is_bad(each)), ""
        )
        seen = f"exit {run.code}, stable is {stable}" + (f"; {failed}" if failed else "")
        self.told.expect(name, run.code == 0 and stable == version, seen)
        if run.code != 0:
            raise PermanentError(f"{name}: {seen}", code="demo_stopped", hint=f"the project is in {self.root}")

    def _measure_exposure(
        self,
        events: list[JournalEntry],
        decision: JournalEntry,
        back: JournalEntry,
        *,
        begins: str = "candidate_ready",
    ) -> None:
        """Who met the bad release, for how long, and how fast it was over once it was decided.

        Args:
            events: Of its rollout.
            decision: To take it back.
            back: All gateways have confirmed that.
            begins: Reason code of the event that let users meet it.
        """
        assert self._traffic is not None
        self._traffic.note_rollback(_label("1.2.0"))
        bad = [record for record in self._traffic.records if record.release == _label("1.2.0")]
        last = max((record.at for record in bad), default=decision.at.timestamp())
        exposed = next((event.at for event in events if event.code == begins), decision.at)
        to_last = last - decision.at.timestamp()
        exposed_to = {record.conversation for record in bad}
        failed = affected_users(self._traffic.records, release=_label("1.2.0"))
        self.told.exposure = {
            "conversations": len(exposed_to),
            "failed_conversations": len(failed),
            "answers": len(bad),
            "bad_answers": sum(record.apologised for record in bad),
            "seconds_until_decision": round((decision.at - exposed).total_seconds(), 2),
            "seconds_decision_to_last_request": round(to_last, 3),
            "seconds_decision_to_confirmed": round((back.at - decision.at).total_seconds(), 3),
            "evidence": decision.reason,
        }
        self.told.expect(
            "traffic left v1.2.0 within a second of the decision",
            bool(bad) and to_last <= 1.0 and (back.at - decision.at).total_seconds() <= 1.0,
            f"its last request began {abs(to_last) * 1000:.0f} ms {'after' if to_last > 0 else 'before'} the decision;"
            f" every gateway confirmed after"
            f" {(back.at - decision.at).total_seconds() * 1000:.0f} ms",
        )
        self.timeline.say(
            f"exposed: {len(exposed_to)} conversations, {len(failed)} of them failed, in"
            f" {self.told.exposure['seconds_until_decision']:.0f}s",
            "bad",
        )

    def _note_switches(self, events: list[JournalEntry]) -> None:
        """When gateways were told to serve something else."""
        changes = {(event.state["changed_by"]["term"], event.state["changed_by"]["seq"]) for event in events}
        self.told.switches += len(changes)

    async def _until_up(self, process: asyncio.subprocess.Process, log: Path) -> str:
        state = StateDir(self.root / ".fairway")
        deadline = asyncio.get_running_loop().time() + UP_READY_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            info = running(state)
            if info is not None and info.serving():
                return info.url
            if process.returncode is not None:
                break
            await asyncio.sleep(0.1)
        tail = last_line(_text(log), "nothing was written")
        raise PermanentError(f"fairway up did not come up: {tail}", code="demo_up", hint=f"its log is {log}")

    async def _until_settled(self) -> None:
        """Wait for the end of the soak, so that the next chapter begins with one arm."""
        for _ in range(300):
            if self._phase() in ("done", "rolled_back", ""):
                return
            await asyncio.sleep(0.1)

    async def _tell_events(self) -> None:
        """Print each journaled decision as it happens."""
        assert self._workspace is not None
        quiet = {
            "needs_evidence",
            "waiting_for_gateways",
            "starting",
            "settled",
            "endpoints_changed",
            "in_force",
            "yardstick_moved",
        }
        while True:
            for event in self._events(self._seen):
                self._seen = event.fence.seq
                self.told.status = event.reason
                if event.code not in quiet:
                    mark = {"advance": "good", "finish": "good", "roll_back": "bad"}.get(event.kind, "")
                    self.timeline.say(f"  {event.kind}: {event.reason}", mark)
            await asyncio.sleep(0.1)

    async def _stop_traffic(self) -> None:
        if self._traffic is not None:
            await self._traffic.stop(finish_seconds=15.0)

    def _events(self, after: int) -> list[JournalEntry]:
        assert self._workspace is not None
        return list(self._workspace.ledger.events(self._workspace.route, after=after, limit=1000))

    def _head(self) -> int:
        assert self._workspace is not None
        return self._workspace.ledger.head(self._workspace.route).fence.seq

    def _state(self) -> Mapping[str, Any]:
        assert self._workspace is not None
        return self._workspace.ledger.head(self._workspace.route).state or {}

    def _stable_version(self) -> str:
        stable = self._state().get("stable") or {}
        return str(stable.get("version", "none"))

    def _phase(self) -> str:
        return str((self._state().get("rollout") or {}).get("phase", ""))

    def _status(self) -> str:
        traffic = ""
        if self._traffic is not None:
            stats = self._traffic.stats()
            shares = ", ".join(f"{release} {one.requests:,}" for release, one in stats.by_release.items())
            traffic = f"[{stats.requests:,} requests, {stats.failed} failed: {shares}] "
        return traffic + self.told.status

    def _result(self, keep: bool) -> dict[str, Any]:
        met = all(expectation.met for expectation in self.told.expectations)
        info = running(StateDir(self.root / ".fairway")) if keep else None
        return {
            "met": met,
            "seconds": round(self.timeline.seconds, 1),
            "project": str(self.root),
            "url": None if info is None else info.url,
            "expectations": [
                {"name": each.name, "met": each.met, "seen": each.seen} for each in self.told.expectations
            ],
            "exposure": self.told.exposure,
            "traffic": None if self._traffic is None else self._traffic.stats().wire(),
        }


def report_of(run: Done) -> Mapping[str, Any]:
    """A run's report; empty when it ended before it had one."""
    try:
        return run.json()
    except FairwayError:
        return {}


def _text(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")


def _is_bad(result: Mapping[str, Any]) -> bool:
    return result.get("status") in ("failed", "error", "cancelled")


def all_required_pass(event: JournalEntry) -> bool:
    """Whether each gate of the step that was left had passed where it must, and none had failed."""
    rollout = event.state["rollout"]
    steps = rollout["plan"]["steps"]
    left = steps[-1] if rollout["phase"] == "promoting" else steps[rollout["step"] - 1]
    verdicts = {finding["gate"]: finding["verdict"] for finding in event.decision["evidence"]}
    required = {gate["name"] for gate in left["gates"] if gate["must_pass"]}
    return bool(required) and "FAIL" not in verdicts.values() and all(verdicts.get(name) == "PASS" for name in required)


def _label(version: str) -> str:
    """How the gateway names a release in its answers."""
    return version
