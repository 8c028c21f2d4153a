from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from fairway.errors import PermanentError, TransientError
from fairway.evals.subjects.command import CommandSubject
from fairway.evals.trials import Question
from fairway.evals.values import Reply


def asked(message: str = "Hi", **changes) -> Question:
    return Question(suite="s", case_id="c", turns=(message,), thread="t", **changes)


async def run(code: str, question: Question | None = None, **changes) -> Reply:
    async with CommandSubject([sys.executable, "-S", "-c", code], **changes) as subject:
        return await subject.ask(question or asked())


async def test_it_is_told_everything_as_json_and_what_it_writes_is_the_reply():
    code = "import json,sys; told=json.load(sys.stdin); print(json.dumps(told, sort_keys=True))"
    question = asked(variables={"x": 1}, index=2, replies=())
    assert (await run(code, question)).text == (
        '{"case": "c", "index": 2, "message": "Hi", "replies": [], "suite": "s", "thread": "t", "turns": ["Hi"], '
        '"variables": {"x": 1}}'
    )


async def test_an_object_says_more_than_text():
    told = (
        '{"text": "done", "tools": [{"name": "f", "arguments": {"x": 1}}], "tokens_in": 3, "tokens_out": 4, '
        '"cost": 0.01, "state": {"a": 1}, "context": ["p"], "model": "m", "status": "ok", "finish_reason": "stop"}'
    )
    reply = await run(f"print({told!r})")
    assert (reply.text, reply.tokens_in, reply.tokens_out, reply.cost_micros) == ("done", 3, 4, 10_000)
    assert (reply.state, reply.context, reply.model, reply.status) == ({"a": 1}, ("p",), "m", "ok")
    assert reply.tools is not None
    assert dict(reply.tools[0].arguments) == {"x": 1}
    assert reply.latency_seconds is not None


@pytest.mark.parametrize("text", ["plain words", '{"other": 1}', "{not json", '{"text": 3}'])
async def test_whatever_is_no_such_object_is_the_text_itself(text):
    assert (await run(f"print({text!r})")).text == text


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import sys; sys.stderr.write('first\\nno key\\x1b[31m\\n'); sys.exit(3)", "ended with 3: no key\ufffd[31m"),
        ("import os; os.kill(os.getpid(), 9)", "ended with -9"),
        ("import sys; sys.stdout.buffer.write(b'\\xff')", "not UTF-8"),
        ("import sys; sys.stdout.write('x' * 5_000_000)", "more than"),
    ],
)
async def test_a_command_that_fails_is_trouble_with_the_reason(code, why):
    with pytest.raises(PermanentError) as caught:
        await run(code)
    assert why in caught.value.message


async def test_a_command_that_is_not_there_is_trouble():
    async with CommandSubject(["/no/such/program"]) as subject:
        with pytest.raises(PermanentError, match="cannot be started"):
            await subject.ask(asked())


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("how", ["too late", "cancelled", "ended"])
async def test_nothing_it_started_outlives_it(tmp_path, how):
    pids = tmp_path / "pids"
    wait = "" if how == "ended" else "time.sleep(60)"
    code = (
        "import os,subprocess,sys,time\n"
        "child = subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n{wait}"
    )
    task = asyncio.create_task(run(code, timeout_seconds=1.0 if how == "too late" else 30))
    deadline = time.monotonic() + 10
    while not (pids.exists() and pids.read_text()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    if how == "cancelled":
        task.cancel()
    found = (await asyncio.gather(task, return_exceptions=True))[0]
    kinds = {"too late": TransientError, "cancelled": asyncio.CancelledError, "ended": Reply}
    assert isinstance(found, kinds[how])
    for pid in map(int, pids.read_text().split()):
        while not gone(pid):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)


async def test_a_command_that_does_not_read_what_it_is_told_is_heard_all_the_same():
    big = asked("x" * 1_000_000)
    assert (await run("print('ok')", big)).text == "ok"


async def test_it_runs_where_it_is_told_with_the_environment_it_is_given(tmp_path):
    reply = await run(
        "import os; print(os.getcwd(), os.environ.get('A'))",
        folder=tmp_path,
        environment={"A": "b", "PATH": os.environ["PATH"]},
    )
    assert reply.text == f"{tmp_path} b"
