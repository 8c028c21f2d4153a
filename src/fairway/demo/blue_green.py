"""Blue-green, told: the idle colour is brought up, probed and switched to at once; a bad one is switched back."""

from __future__ import annotations

import asyncio

from fairway.demo.commands import last_line, stage
from fairway.demo.policy import BLUE_GREEN
from fairway.demo.telling import SHORT_PACE, Telling, report_of

STARTED_BEFORE_SECONDS = 1.0
"""Requests that began within so long before a switch may have been answered by either colour."""


class BlueGreenChapter(Telling):
    """A switch without a failed request, and one that goes back."""

    policy = BLUE_GREEN
    pace = SHORT_PACE
    short = True

    async def _happen(self) -> None:
        await self._good_green()
        await self._bad_green()

    async def _good_green(self) -> None:
        self.timeline.chapter("v1.1.0: green is brought up, probed, and takes all traffic at once")
        await self._commit("1.1.0")
        first = self._head()
        run = await self._run("1.1.0")
        self._expect_passed("v1.1.0 is switched to and stays", run, "1.1.0")
        await self._until_settled()
        events = self._events(first)
        at = {event.code: event.at for event in events}
        told = all(code in at for code in ("candidate_ready", "gates_passed", "promoted"))
        probed = (at["gates_passed"] - at["candidate_ready"]).total_seconds() if told else 0.0
        self.told.expect(
            "green served nobody before its smoke was over",
            told and not self._answers_before("1.1.0", at["gates_passed"].timestamp()) and probed >= 3.0,
            f"every probe of green succeeded for {probed:.1f}s, in which no user met it" if told else "no smoke",
        )
        shares = {event.decision["desired"]["split"] for event in events}
        self.told.expect("users were never shared out between the colours", shares == {0}, "no split at any time")
        took = (at["promoted"] - at["gates_passed"]).total_seconds() if told else float("inf")
        self.told.expect(
            "the switch took less than a second", took <= 1.0, f"every gateway confirmed it after {took * 1000:.0f} ms"
        )
        self._note_switches(events)

    async def _bad_green(self) -> None:
        self.timeline.chapter("v1.2.0: green answers its probes, and fails its users")
        await self._commit("1.2.0")
        first = self._head()
        run = await self._run("1.2.0")
        self.told.expect(
            "the pipeline waited for what all traffic showed, and did not pass",
            run.code == 1 and stage(report_of(run), "production_deploy").get("status") == "failed",
            last_line(run.stderr, f"exit {run.code}"),
        )
        await self._until_settled()
        suite = stage(report_of(run), "prompt_regression").get("status")
        self.told.expect("v1.2.0 passes the offline suite", suite in ("passed", "cached"), f"prompt regression {suite}")
        events = self._events(first)
        switched = next((event for event in events if event.code == "promoted"), None)
        decision = next((event for event in events if event.kind == "roll_back"), None)
        back = next((event for event in events if event.code == "rolled_back"), None)
        self.told.expect(
            "v1.2.0 was switched to and failed under all traffic",
            switched is not None and decision is not None and decision.code == "soak_failed",
            decision.reason if decision else last_line(run.stderr, f"exit {run.code}"),
        )
        if decision is not None and back is not None:
            self._note_switches(events)
            await asyncio.sleep(1.5)
            self._measure_exposure(events, decision, back, begins="gates_passed")
        self.told.expect(
            "all traffic is on v1.1.0 again", self._stable_version() == "1.1.0", f"stable is {self._stable_version()}"
        )

    def _answers_before(self, release: str, instant: float) -> int:
        """Answers of a release to requests that began well before ``instant`` (epoch seconds)."""
        assert self._traffic is not None
        records = self._traffic.records
        return sum(record.release == release and record.at < instant - STARTED_BEFORE_SECONDS for record in records)
