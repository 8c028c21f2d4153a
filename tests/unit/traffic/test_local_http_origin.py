"""A web page somebody looks at can reach loopback, and decides nothing there."""

from __future__ import annotations

import asyncio

import pytest

from fairway.traffic.local_http import LocalAnswer, LocalRequest, LocalServer


@pytest.mark.parametrize(
    ("lines", "status"),
    [("", b"200"), ("Origin: https://example.com\r\n", b"403"), ("origin: null\r\n", b"403")],
    ids=["the command line", "a page", "a page without a name"],
)
async def test_what_a_web_page_asks_never_reaches_the_admin_api(lines: str, status: bytes) -> None:
    asked: list[str] = []

    async def handle(request: LocalRequest) -> LocalAnswer:
        asked.append(request.path)
        return LocalAnswer.of({})

    server = LocalServer(handle)
    port = await server.listen_tcp("127.0.0.1", 0)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = '{"to": "stable"}'
        head = f"POST /v1/pin HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n{lines}"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        assert (await reader.readline()).split()[1] == status
        assert asked == (["/v1/pin"] if status == b"200" else [])
        writer.close()
    finally:
        await server.close()
