from __future__ import annotations

import asyncio
import threading
import time

import pytest

from fairway.errors import PermanentError, TransientError, UserError
from fairway.evals.subjects.function import CallableSubject, load_function
from fairway.evals.trials import Question
from fairway.evals.values import Reply


def asked(message: str = "Hi") -> Question:
    return Question(suite="s", case_id="c", turns=(message,), thread="t", variables={"x": 1})


async def call(function, **changes) -> Reply:
    async with CallableSubject(function, **changes) as subject:
        return await subject.ask(asked())


async def coroutine(message: str) -> str:
    await asyncio.sleep(0)
    return f"async {message}"


class Agent:
    async def __call__(self, message: str, told: dict) -> dict:
        return {"text": told["thread"], "tools": []}


async def test_functions_of_every_kind_are_called_with_what_they_take():
    assert (await call(lambda message: f"sync {message}")).text == "sync Hi"
    assert (await call(lambda message, told: told["variables"]["x"] and told["case"])).text == "c"
    assert (await call(lambda *both: str(len(both)))).text == "2"
    assert (await call(coroutine)).text == "async Hi"
    assert (await call(lambda message: coroutine(message))).text == "async Hi"
    reply = await call(Agent())
    assert (reply.text, reply.tools) == ("t", ())
    assert (await call(lambda message: Reply(text="r", tokens_in=3))).tokens_in == 3


def leave(message: str) -> str:
    raise SystemExit("bye")


def late(message: str) -> str:
    raise TimeoutError("its own")


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda message: 1 / 0, "ZeroDivisionError"),
        (leave, "SystemExit: bye"),
        (late, "TimeoutError: its own"),
        (lambda message: 3, "said int"),
        (lambda message: None, "said NoneType"),
        (lambda message: {"words": "x"}, "no text"),
    ],
)
async def test_a_function_that_raises_or_says_nothing_is_trouble_with_the_reason(function, why):
    with pytest.raises(PermanentError) as caught:
        await call(function)
    assert why in caught.value.message


@pytest.mark.parametrize(
    "what",
    [
        {"state": {1, 2}},
        {"state": float("nan")},
        {"tools": [{"name": "f", "arguments": {"x": float("inf")}}]},
        {"tools": [{"name": "f", "arguments": {"x": asyncio}}]},
    ],
)
async def test_what_no_file_could_hold_is_trouble_and_stops_no_run(what):
    with pytest.raises(PermanentError, match="no JSON"):
        await call(lambda message: {"text": "x", **what})


async def test_what_is_nested_deeper_than_a_file_of_a_run_can_hold_is_unknown_or_malformed():
    deep: object = 1
    for _ in range(150):
        deep = {"a": deep}
    reply = await call(lambda message: {"text": "x", "state": deep, "tools": [{"name": "f", "arguments": {"x": deep}}]})
    assert reply.state is None
    assert reply.tools is not None
    assert reply.tools[0].malformed == "arguments are nested too deeply"


async def test_a_function_that_takes_too_long_is_trouble_and_holds_nobody_up():
    stop = threading.Event()
    started = time.monotonic()
    with pytest.raises(TransientError):
        await call(lambda message: str(stop.wait(20)), timeout_seconds=0.05)
    assert time.monotonic() - started < 5
    stop.set()
    with pytest.raises(TransientError):
        await call(lambda message: asyncio.sleep(20), timeout_seconds=0.05)


async def test_functions_that_are_not_async_run_side_by_side():
    barrier = threading.Barrier(5, timeout=10)

    async with CallableSubject(lambda message: str(barrier.wait())) as subject:
        assert len({(await one).text for one in [asyncio.ensure_future(subject.ask(asked())) for _ in range(5)]}) == 5


def test_functions_are_found_in_files_and_modules(tmp_path, monkeypatch):
    (tmp_path / "agents_of_mine.py").write_text("class A:\n  def f(m): return 'method'\ndef g(m): return 'file'\n")
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    assert load_function("agents_of_mine.py:g", root=tmp_path)("x") == "file"
    assert load_function("agents_of_mine:A.f", root=tmp_path)("x") == "method"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "written"),
        ("json", "written"),
        ("json:no_such", "no function"),
        ("json:decoder", "no function"),
        ("no_such_module:f", "ModuleNotFoundError"),
        ("no_such.py:f", "no file"),
        ("broken.py:f", "SyntaxError"),
        ("leaving.py:f", "SystemExit"),
    ],
)
def test_what_cannot_be_called_is_said(tmp_path, monkeypatch, text, why):
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    (tmp_path / "broken.py").write_text("def f(:")
    (tmp_path / "leaving.py").write_text("raise SystemExit(1)")
    with pytest.raises(UserError) as caught:
        load_function(text, root=tmp_path)
    assert why in caught.value.message
