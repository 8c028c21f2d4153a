"""What the tests share: the shop, its tools, and a provider on loopback."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from support.bundle import load_tools
from support.shop import open_shop
from support.tools import Toolbox


@pytest.fixture
def shop() -> Iterator[sqlite3.Connection]:
    connection = open_shop()
    yield connection
    connection.close()


@pytest.fixture
def toolbox(shop: sqlite3.Connection) -> Toolbox:
    return Toolbox(load_tools({}), shop)


class _Provider(BaseHTTPRequestHandler):
    """Speaks as much of OpenAI's protocol as the tests need: looks up order 1001, then says what it found."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        has_result = request["messages"][-1]["role"] == "tool"
        if has_result:
            message: dict[str, Any] = {"role": "assistant", "content": "It was delivered."}
        else:
            function = {"name": "lookup_order", "arguments": '{"order_id": "1001"}'}
            message = {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": function}]}
        usage = {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107}
        if not request.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self._answer("application/json", json.dumps(_envelope([choice]) | {"usage": usage}))
            return
        deltas = [message | {"content": "It was "}, {"content": "delivered."}] if has_result else _in_parts(message)
        chunks = [_envelope([{"index": 0, "delta": delta}]) for delta in deltas]
        chunks.append(_envelope([]) | {"usage": usage})
        events = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
        self._answer("text/event-stream", events + "data: [DONE]\n\n")

    def _answer(self, kind: str, body: str) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


def _envelope(choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": "1", "object": "chat.completion", "created": 0, "model": "test", "choices": choices}


def _in_parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    call = message["tool_calls"][0]
    arguments = call["function"]["arguments"]
    first = {"index": 0, "id": call["id"], "type": "function", "function": {"name": "lookup_order", "arguments": ""}}
    pieces = (arguments[:5], arguments[5:])
    return [{"tool_calls": [first]}, *({"tool_calls": [{"index": 0, "function": {"arguments": p}}]} for p in pieces)]


@pytest.fixture(scope="session")
def provider_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Provider)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
