"""Shadow, told: copies of live requests show what a release would do, before any user meets it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

from fairway.demo.commands import Done, last_line, stage
from fairway.demo.policy import SHADOW
from fairway.demo.telling import SHORT_PACE, Telling, report_of
from fairway.observe.fold import Block
from fairway.rollout.evidence import MirrorPairs
from fairway.rollout.mirroring import pairs_of
from fairway.rollout.port import JournalEntry
from fairway.units import Digest

LOOK_SECONDS = 0.1


@dataclass(slots=True)
class ShadowSeen:
    """What was seen of a shadow while it ran.

    Attributes:
        mocked: Whether an arm of the release had every tool mocked.
        real_while_mirrored: Whether one had not, while gateways mirrored.
        mirrored: Whether gateways were told to mirror.
    """

    mocked: bool = False
    real_while_mirrored: bool = False
    mirrored: bool = False


class ShadowChapter(Telling):
    """A good release goes on from its shadow; a bad one ends there."""

    policy = SHADOW
    pace = SHORT_PACE
    short = True

    async def _happen(self) -> None:
        await self._good_shadow()
        await self._bad_shadow()

    async def _good_shadow(self) -> None:
        self.timeline.chapter("v1.1.0: first as a shadow, then for users")
        first = self._head()
        run, seen = await self._shadowed("1.1.0")
        self._expect_passed("v1.1.0 is promoted, from copies to all traffic", run, "1.1.0")
        await self._until_settled()
        events = self._events(first)
        self._expect_shadow("v1.1.0", seen)
        passed = _left_the_mirror(events)
        pairs = None if passed is None else self._pairs(events[0], passed)
        early = 0 if passed is None else self._answers("1.1.0", before=passed.at.timestamp())
        self.told.expect(
            "v1.1.0 met its first user only after its answers to copies had been compared",
            passed is not None and early == 0 and pairs is not None and pairs.compared > 0,
            f"{pairs.compared} pairs compared, the shadow alone failed in {pairs.shadow_failed}; {early} answers before"
            if pairs is not None
            else "the mirrored step was never passed",
        )
        self._note_switches(events)

    async def _bad_shadow(self) -> None:
        self.timeline.chapter("v1.2.0: a prompt that passes the suite and fails what users ask")
        first = self._head()
        run, seen = await self._shadowed("1.2.0")
        suite = stage(report_of(run), "prompt_regression").get("status")
        self.told.expect("v1.2.0 passes the offline suite", suite in ("passed", "cached"), f"prompt regression {suite}")
        events = self._events(first)
        self._expect_shadow("v1.2.0", seen)
        decision = next((event for event in events if event.kind == "roll_back"), None)
        self.told.expect(
            "v1.2.0 is taken back because its shadow failed",
            run.code == 1 and decision is not None and decision.code == "mirror_failed",
            decision.reason if decision else last_line(run.stderr, f"exit {run.code}"),
        )
        self._note_switches(events)
        await asyncio.sleep(1.0)
        answers = self._answers("1.2.0")
        self.told.expect("v1.2.0 never answered a user", answers == 0, f"{answers} of its answers reached a user")
        stable = self._stable_version()
        self.told.expect("all traffic stayed on v1.1.0", stable == "1.1.0", f"stable is {stable}")

    async def _shadowed(self, version: str) -> tuple[Done, ShadowSeen]:
        """Commit and run a release, and look at what is started for it meanwhile."""
        await self._commit(version)
        seen = ShadowSeen()
        watching = asyncio.create_task(self._watch(version, seen))
        try:
            return await self._run(version), seen
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _watch(self, version: str, seen: ShadowSeen) -> None:
        folder = self.root / ".fairway" / "arms"
        while True:
            if (self._state().get("rollout") or {}).get("phase") in ("preparing", "stepping"):
                mirrors = self._mirrors()
                seen.mirrored = seen.mirrored or mirrors
                for file in folder.glob("*/bundle/effective.json"):
                    _look(file, version, seen, mirrors=mirrors)
            await asyncio.sleep(LOOK_SECONDS)

    def _mirrors(self) -> bool:
        """Whether the last decision asks gateways to mirror."""
        assert self._workspace is not None
        last = self._events(max(0, self._head() - 1))
        return bool(last and last[-1].decision["desired"]["mirror"])

    def _pairs(self, began: JournalEntry, ended: JournalEntry) -> MirrorPairs | None:
        """What was compared between two events of a rollout."""
        assert self._workspace is not None
        wires = self._workspace.ledger.blocks(self._workspace.route, since=began.at.timestamp())
        blocks = [block for block in map(Block.from_wire, wires) if block.t0 < ended.at.timestamp()]
        return pairs_of(blocks, Digest(ended.state["rollout"]["candidate"]["release"]))

    def _expect_shadow(self, name: str, seen: ShadowSeen) -> None:
        good = seen.mirrored and seen.mocked and not seen.real_while_mirrored
        self.told.expect(
            f"the shadow of {name} got copies, with every tool mocked",
            good,
            "the only arm of it had all tools mocked while every new conversation was copied to it"
            if good
            else f"mirrored: {seen.mirrored}, mocked: {seen.mocked}, real beside it: {seen.real_while_mirrored}",
        )

    def _answers(self, release: str, *, before: float = float("inf")) -> int:
        """Answers users got from a release, to requests begun before an instant (epoch seconds)."""
        assert self._traffic is not None
        return sum(record.release == release and record.at < before for record in self._traffic.records)


def _look(file: Path, version: str, seen: ShadowSeen, *, mirrors: bool) -> None:
    """Note how an arm is configured; one that ends meanwhile takes its file along."""
    try:
        effective = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if effective["release_version"] != version:
        return
    if all(tool["mock"] for tool in effective["tools"].values()):
        seen.mocked = True
    elif mirrors:
        seen.real_while_mirrored = True


def _left_the_mirror(events: list[JournalEntry]) -> JournalEntry | None:
    """The event with which the evidence of the mirrored step was enough."""
    return next((event for event in events if event.code == "gates_passed"), None)
