"""The mock model over HTTP, asked by OpenAI's own client and by hand."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from click.testing import CliRunner

from fairway.cli.mock_llm import command
from fairway.errors import ProjectFileError
from fairway.llm.mock.http import HttpRequest
from fairway.llm.mock.scenario import parse_scenario
from fairway.llm.mock.server import MockModel, MockModelServer

SCENARIO = """\
version: 1
name: shop
models: [m-1, m-2]
rules:
  - name: answer
    when: {has_tool_result: true}
    reply: "It is ${result.status}: 'grüße' and a long enough text to come in several pieces."
  - name: look
    when: {user: 'order (?P<order>\\d+)'}
    tool_calls:
      - {name: lookup, arguments: {order_id: "${order}"}}
      - {name: note, arguments: {text: "looked at order ${order}, found nothing to complain about"}}
  - name: hello
    when: {user: hello}
    reply: Hello! How can I help you today, dear customer of ours?
  - name: down
    when: {user: down}
    fault: rate_limit
"""
TOOLS: Any = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("lookup", "note")]


@pytest.fixture
async def server() -> AsyncIterator[MockModelServer]:
    async with MockModelServer(parse_scenario(SCENARIO, file="x.yaml")) as running:
        yield running


@pytest.fixture
async def client(server: MockModelServer) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=server.url, api_key="none", max_retries=0, timeout=5) as made:
        yield made


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


async def switch(server: MockModelServer, *faults: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    return await raw(server, "POST", "/admin/faults", json.dumps({"faults": faults}).encode())


async def raw(server: MockModelServer, method: str, path: str, body: bytes = b"") -> tuple[int, dict[str, Any]]:
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    answer = await send(server, head.encode() + body)
    status, _, rest = answer.partition(b"\r\n")
    return int(status.split()[1]), json.loads(rest.partition(b"\r\n\r\n")[2])


async def send(server: MockModelServer, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(data)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return answer


async def test_a_plain_answer_with_usage(client: openai.AsyncOpenAI) -> None:
    completion = await client.chat.completions.create(model="m-1", messages=user("hello"))
    assert completion.choices[0].message.content == "Hello! How can I help you today, dear customer of ours?"
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 14
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + 14


async def test_tool_calls_and_their_results_make_a_whole_conversation(client: openai.AsyncOpenAI) -> None:
    messages: list[Any] = user("Where is order 7?")
    first = await client.chat.completions.create(model="m-1", messages=messages, tools=TOOLS)
    calls: Any = first.choices[0].message.tool_calls
    assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == [
        ("lookup", {"order_id": "7"}),
        ("note", {"text": "looked at order 7, found nothing to complain about"}),
    ]
    messages.append(first.choices[0].message.model_dump(exclude_none=True))
    messages += [{"role": "tool", "tool_call_id": call.id, "content": '{"status": "late"}'} for call in calls]
    second = await client.chat.completions.create(model="m-1", messages=messages, tools=TOOLS)
    assert str(second.choices[0].message.content).startswith("It is late: 'grüße'")


async def test_a_stream_of_text_with_usage_at_its_end(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="m-1", messages=user("hello"), stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    pieces = [choice.delta.content for chunk in chunks for choice in chunk.choices if choice.delta.content]
    assert len(pieces) > 2
    assert "".join(pieces) == "Hello! How can I help you today, dear customer of ours?"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 14


async def test_a_stream_of_tool_calls(client: openai.AsyncOpenAI) -> None:
    arguments = {0: "", 1: ""}
    names: dict[int, str] = {}
    async for chunk in await client.chat.completions.create(
        model="m-1", messages=user("order 7"), tools=TOOLS, stream=True
    ):
        assert chunk.usage is None
        for part in chunk.choices[0].delta.tool_calls or []:
            assert part.function is not None
            names[part.index] = names.get(part.index) or part.function.name or ""
            arguments[part.index] += part.function.arguments or ""
    assert names == {0: "lookup", 1: "note"}
    assert json.loads(arguments[1])["text"].startswith("looked at order 7")


async def test_the_models_are_listed(client: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == ["m-1", "m-2"]


async def test_errors_have_openais_form(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as limited:
        await client.chat.completions.create(model="m-1", messages=user("down"))
    assert limited.value.response.headers["retry-after"] == "1"
    assert limited.value.code == "rate_limit_exceeded"
    with pytest.raises(openai.BadRequestError, match="No rule of scenario 'shop' matches"):
        await client.chat.completions.create(model="m-1", messages=user("what?"))
    with pytest.raises(openai.BadRequestError, match="must be a response to a preceding"):
        await client.chat.completions.create(
            model="m-1", messages=[{"role": "tool", "tool_call_id": "1", "content": ""}]
        )


async def test_a_fault_is_switched_on_and_off_while_it_runs(
    server: MockModelServer, client: openai.AsyncOpenAI
) -> None:
    assert await switch(server, {"kind": "server_error"}) == (200, {"faults": ["server_error"]})
    with pytest.raises(openai.InternalServerError):
        await client.chat.completions.create(model="m-1", messages=user("hello"))
    assert await raw(server, "DELETE", "/admin/faults") == (200, {"faults": []})
    await client.chat.completions.create(model="m-1", messages=user("hello"))
    status, body = await switch(server, {"kind": "server_eror"})
    assert (status, "did you mean 'server_error'" in body["error"]["message"]) == (400, True)


async def test_a_client_that_retries_gets_past_a_short_rate_limit(server: MockModelServer) -> None:
    async with openai.AsyncOpenAI(base_url=server.url, api_key="none", max_retries=2) as client:
        await client.chat.completions.create(
            model="m-1", messages=user("hello")
        )  # what it loads takes longer than this
        await switch(server, {"kind": "rate_limit", "until": "500ms", "retry_after": "600ms"})
        await client.chat.completions.create(model="m-1", messages=user("hello"))
    assert dict(server.model.by_status) == {200: 3, 429: 1}  # the switch itself is one of the 200


async def test_a_truncated_stream_breaks_off_and_the_client_notices(
    server: MockModelServer, client: openai.AsyncOpenAI
) -> None:
    await switch(server, {"kind": "truncated_stream", "after_chunks": 2})
    stream = await client.chat.completions.create(model="m-1", messages=user("hello"), stream=True)
    got = []
    with pytest.raises(Exception, match=r"(?i)peer closed|incomplete|connection"):  # noqa: PT012 - what came before counts
        async for chunk in stream:
            got.append(chunk)
    assert len(got) == 2
    with pytest.raises(openai.APIConnectionError):
        await client.chat.completions.create(model="m-1", messages=user("hello"))


async def test_a_malformed_tool_call_reaches_the_client(server: MockModelServer, client: openai.AsyncOpenAI) -> None:
    await switch(server, {"kind": "malformed_tool_call"})
    said: Any = await client.chat.completions.create(model="m-1", messages=user("order 7"), tools=TOOLS)
    with pytest.raises(ValueError, match=r"."):
        json.loads(said.choices[0].message.tool_calls[0].function.arguments)


async def test_latency_is_waited_for(server: MockModelServer, client: openai.AsyncOpenAI) -> None:
    await switch(server, {"kind": "latency", "delay": {"median": "250ms"}})
    started = time.monotonic()
    await client.chat.completions.create(model="m-1", messages=user("hello"))
    assert 0.25 <= time.monotonic() - started < 2


async def test_unknown_paths_and_methods_are_said(server: MockModelServer) -> None:
    assert (await raw(server, "GET", "/v1/nothing"))[0] == 404
    assert (await raw(server, "GET", "/v1/chat/completions"))[0] == 405
    assert await raw(server, "GET", "/healthz") == (200, {"status": "ok", "scenario": "shop"})
    assert (await raw(server, "GET", "/admin/stats"))[1]["by_rule"] == {}


async def test_pipelined_requests_are_answered_in_order(server: MockModelServer) -> None:
    answer = await send(
        server,
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert answer.index(b'"scenario"') < answer.index(b'"m-1"')
    await switch(server, {"kind": "latency", "delay": {"median": "100ms"}})
    slow = json.dumps({"model": "m", "messages": user("hello")}).encode()
    answer = await send(
        server,
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(slow), slow)
        + b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    assert answer.index(b"How can I help") < answer.index(b'"m-1"')


@pytest.mark.parametrize(
    "data",
    [
        b"hello there\r\n\r\n",
        b"GET / HTTP/1.1\r\nBad Header\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Large: " + b"a" * 70_000 + b"\r\n\r\n",
    ],
    ids=["no-http", "no-header", "length", "large-head"],
)
async def test_a_malformed_request_is_answered_400_and_closed(server: MockModelServer, data: bytes) -> None:
    answer = await send(server, data)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["type"] == "invalid_request_error"


async def test_a_body_that_is_too_large_is_refused(server: MockModelServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    size = 9 * 1024 * 1024
    writer.write(f"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: {size}\r\n\r\n".encode())
    try:
        for _ in range(9):
            writer.write(b" " * 1024 * 1024)
            await writer.drain()
    except ConnectionError:
        pass  # it need not take all of it
    line = await asyncio.wait_for(reader.readline(), 5)
    writer.close()
    assert line.startswith(b"HTTP/1.1 413")


async def test_stopping_lets_a_running_answer_end() -> None:
    scenario = parse_scenario(SCENARIO.replace("models:", "latency: {median: 300ms}\nmodels:"), file="x.yaml")
    async with MockModelServer(scenario) as server:  # noqa: SIM117 - the client needs the server's address
        async with openai.AsyncOpenAI(base_url=server.url, api_key="none", max_retries=0) as client:
            asking = asyncio.create_task(client.chat.completions.create(model="m-1", messages=user("hello")))
            await asyncio.sleep(0.15)
            await server.stop()
            assert (await asking).choices[0].message.content


def test_windows_are_measured_from_the_start_or_from_when_they_were_switched_on() -> None:
    now = [100.0]
    text = SCENARIO + "faults: [{kind: rate_limit, until: 60s}]\n"
    model = MockModel(parse_scenario(text, file="x"), monotonic=lambda: now[0])
    assert [fault[1] for fault in model._faults()] == [0.0]
    now[0] = 161.0
    body = b'{"faults": [{"kind": "server_error"}]}'
    model.handle(HttpRequest(method="POST", path="/admin/faults", headers={}, body=body))
    now[0] = 164.0
    assert [(fault.kind, elapsed) for fault, elapsed in model._faults()] == [
        ("rate_limit", 64.0),
        ("server_error", 3.0),
    ]


def test_the_command_says_where_it_listens_and_stops_on_a_signal(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SCENARIO)
    process = subprocess.Popen(
        [sys.executable, "-m", "fairway", "mock-llm", "--scenario", "s.yaml", "-o", "json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        with openai.OpenAI(base_url=ready["url"], api_key="none") as client:
            assert client.chat.completions.create(model="m", messages=user("hello")).usage
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.communicate()


def test_a_port_that_is_taken_is_an_error_of_the_system(tmp_path: Path) -> None:
    import socket

    (tmp_path / "s.yaml").write_text(SCENARIO)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = subprocess.run(
            [sys.executable, "-m", "fairway", "mock-llm", "--scenario", "s.yaml", "--port", str(port)],
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=20,
        )  # fmt: skip
    assert result.returncode == 3
    assert "another process listens there" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_scenario_can_be_checked_without_serving(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SCENARIO)
    result = CliRunner().invoke(command, ["--scenario", str(tmp_path / "s.yaml"), "--check", "-o", "json"])
    assert json.loads(result.output) == {"scenario": "shop", "rules": 4, "directives": []}
    (tmp_path / "s.yaml").write_text(SCENARIO.replace("rules:", "ruls:"))
    result = CliRunner().invoke(command, ["--scenario", str(tmp_path / "s.yaml"), "--check"])
    assert isinstance(result.exception, ProjectFileError)
