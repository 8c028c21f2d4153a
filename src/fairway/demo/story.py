"""The main job, told: four releases of one agent under live traffic, each checked against what should happen."""

from __future__ import annotations

import asyncio

from fairway.demo.commands import last_line, stage
from fairway.demo.policy import CANARY
from fairway.demo.regression import told_regression
from fairway.demo.telling import Telling, all_required_pass, report_of
from fairway.units import format_share


class Story(Telling):
    """A good release promoted step by step, one caught in live traffic, one before it."""

    policy = CANARY

    async def _happen(self) -> None:
        await self._better_release()
        await self._bad_release()
        await self._stopped_release()

    async def _better_release(self) -> None:
        self.timeline.chapter("v1.1.0: a better prompt")
        await self._commit("1.1.0")
        first = self._head()
        run = await self._run("1.1.0")
        self._expect_passed("v1.1.0 is promoted step by step on evidence", run, "1.1.0")
        events = self._events(first)
        shares = [event.decision["desired"]["split"] for event in events if event.kind == "advance"]
        steps = [share for share in shares if share]
        self.told.expect(
            "every step was taken in order: 5, 10, 30, 50, 100 %",
            steps == [5_000, 10_000, 30_000, 50_000] and any(event.code == "promoted" for event in events),
            " → ".join(format_share(share) for share in steps) + " → 100%",
        )
        decided = [event for event in events if event.code == "gates_passed"]
        self.told.expect(
            "each advance was decided by gates that passed",
            len(decided) == 4 and all(all_required_pass(event) for event in decided),
            f"{len(decided)} advances, each with a PASS of every gate it needed",
        )
        self._note_switches(events)
        await self._until_settled()

    async def _bad_release(self) -> None:
        self.timeline.chapter("v1.2.0: a prompt that passes the suite and fails in live traffic")
        await self._commit("1.2.0")
        first = self._head()
        run = await self._run("1.2.0")
        report = report_of(run)
        suite = stage(report, "prompt_regression").get("status")
        self.told.expect("v1.2.0 passes the offline suite", suite in ("passed", "cached"), f"prompt regression {suite}")
        events = self._events(first)
        decision = next((event for event in events if event.kind == "roll_back"), None)
        back = next((event for event in events if event.code == "rolled_back"), None)
        self.told.expect(
            "v1.2.0 is rolled back because a gate failed",
            run.code == 1 and decision is not None and decision.code == "gate_failed" and back is not None,
            decision.reason if decision else last_line(run.stderr, f"exit {run.code}"),
        )
        if decision is not None and back is not None:
            self._note_switches(events)
            await asyncio.sleep(1.5)
            self._measure_exposure(events, decision, back)
        self.told.expect(
            "all traffic is on v1.1.0 again", self._stable_version() == "1.1.0", f"stable is {self._stable_version()}"
        )

    async def _stopped_release(self) -> None:
        self.timeline.chapter("v1.3.0: a prompt that drops a rule the suite tests")
        await self._commit("1.3.0")
        first = self._head()
        run = await self._run("1.3.0")
        report = report_of(run)
        regression = stage(report, "prompt_regression")
        self.told.expect(
            "v1.3.0 is stopped by prompt regression",
            run.code == 1 and regression.get("status") == "failed",
            str(regression.get("summary", last_line(run.stderr, f"exit {run.code}"))),
        )
        lines = list(told_regression(regression, self.root / ".fairway" / "evals"))
        for line in lines:
            self.timeline.say(line, "note")
        self.told.expect(
            "the report names the case, the rule the prompt lost, and the lines that changed",
            any("Never promise a refund before" in line for line in lines) and any(": - " in line for line in lines),
            lines[0] if lines else "no report",
        )
        deployed = stage(report, "deploy_staging").get("status", "absent")
        started = [event for event in self._events(first) if event.kind == "start"]
        self.told.expect(
            "nothing of v1.3.0 was deployed", deployed == "skipped" and not started, f"deploy_staging {deployed}"
        )
