"""A run that is killed goes on without paying twice; with a counting endpoint, a real process and ``kill -9``."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from fairway.clock import SystemClock
from fairway.evals.running.journal import FILE, Journal, read_trials
from fairway.evals.running.options import RunOptions
from fairway.evals.running.runner import EvalRunner
from fairway.evals.subjects.open import open_subject
from fairway.evals.trials import Trial
from fairway.evals.values import Case, Suite
from fairway.testing.scripted_arm import ArmRequest, ScriptedArm, answer

CASES = 60
CHILD = """
import asyncio, sys
from pathlib import Path
from tests_resume import play
asyncio.run(play(sys.argv[1], Path(sys.argv[2])))
"""


def suites() -> tuple[Suite, ...]:
    cases = tuple(
        Case(id=f"c{number}", name="", turns=(f"first {number}", f"second {number}"), expected_keywords=("echo",))
        for number in range(CASES)
    )
    return (Suite(name="s", file="s.yaml", cases=cases),)


async def play(url: str, folder: Path) -> tuple[Trial, ...]:
    options = RunOptions(concurrency=8, run_id="the-run")
    with Journal(folder) as journal:
        async with open_subject(f"openai:m@{url}/v1") as subject:
            runner = EvalRunner([("candidate", subject)], suites(), options, clock=SystemClock(), journal=journal)
            return (await runner.run())["candidate"]


class Counting:
    """Answers what it is asked, and after ``stops_after`` answers nothing more; counts what it answered."""

    def __init__(self, stops_after: int | None = None) -> None:
        self.answered: list[str] = []
        self.stops_after = stops_after
        self.stopped = asyncio.Event()

    async def __call__(self, request: ArmRequest, writer: asyncio.StreamWriter) -> None:
        messages = [message["content"] for message in json.loads(request.body)["messages"]]
        if self.stops_after is not None and len(self.answered) >= self.stops_after:
            self.stopped.set()
            await asyncio.sleep(60)
        self.answered.append("|".join(messages))
        await asyncio.sleep(0.001)
        text = f"echo {messages[-1]}"
        body = {
            "choices": [{"message": {"content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 5, "completion_tokens": len(text)},
        }
        writer.write(answer(json.dumps(body).encode(), outcome=None))


async def killed_in_the_middle(folder: Path, *, stops_after: int) -> list[str]:
    """Start a run in a process of its own, and kill it once the endpoint has answered so often."""
    script = Counting(stops_after)
    before = (folder / FILE).read_bytes().count(b"\n") if folder.is_dir() else 0
    async with ScriptedArm(script) as server:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            CHILD.replace("tests_resume", Path(__file__).stem),
            f"http://{server.endpoint}",
            str(folder),
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        )
        await asyncio.wait_for(script.stopped.wait(), 30)
        # every answer has arrived once the journal holds it: the endpoint says no more
        deadline = asyncio.get_running_loop().time() + 10
        while (folder / FILE).read_bytes().count(b"\n") < before + stops_after:
            assert asyncio.get_running_loop().time() < deadline, "answers that were paid are not in the journal"
            await asyncio.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        assert await child.wait() == -signal.SIGKILL
    return script.answered


def without_times(trials: tuple[Trial, ...]) -> list[Trial]:
    return [
        replace(
            trial,
            duration_seconds=0.0,
            replies=tuple(replace(reply, latency_seconds=None) for reply in trial.replies),
        )
        for trial in trials
    ]


async def test_a_run_killed_twice_pays_for_nothing_twice_and_finds_what_an_unbroken_run_finds(tmp_path):
    unbroken = Counting()
    async with ScriptedArm(unbroken) as server:
        expected = await play(f"http://{server.endpoint}", tmp_path / "unbroken")
    assert len(unbroken.answered) == 2 * CASES

    broken = tmp_path / "broken"
    paid = await killed_in_the_middle(broken, stops_after=31)
    assert len(paid) == 31
    with (broken / FILE).open("ab") as file:
        file.write(b'{"trial":{"suite":"s","case_id":"c59","replies":[{"te')  # what a kill may tear off
    paid += await killed_in_the_middle(broken, stops_after=47)

    last = Counting()
    async with ScriptedArm(last) as server:
        found = await play(f"http://{server.endpoint}", broken)
    paid += last.answered
    assert sorted(paid) == sorted(unbroken.answered)
    assert without_times(found) == without_times(expected)
    kept = {trial.key: trial for trial in read_trials(broken)["candidate"]}
    assert kept == {trial.key: trial for trial in found}
