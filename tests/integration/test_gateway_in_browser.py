"""A real browser through the gateway: its cookies, EventSource with reconnects, WebSocket, and a fetch it gives up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from playwright.async_api import Browser, Page, async_playwright

from fairway.testing.gateway_worker import Harness
from fairway.traffic.fence import Fence
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable
from fairway.units import AgentName, Digest, EnvironmentName, Parts, RouteId

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.skipif(
        CHROMIUM is None and not os.environ.get("FAIRWAY_REQUIRE_ALL"),
        reason="there is no Chromium: apt-get install chromium",
    ),
    pytest.mark.xdist_group("browser"),
]

OLD, NEW = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
BATCH = 4
"""Events an arm sends before it ends the stream, as a server that restarts does."""


@dataclass
class WebArm:
    """An agent as a web server of its own: a page, events that go on where the browser left, an echo over WebSocket."""

    name: str
    reconnects: list[str] = field(default_factory=list)
    given_up: asyncio.Event = field(default_factory=asyncio.Event)
    endpoint: str = ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[WebArm]:
        application = web.Application(client_max_size=10_000_000)
        application.router.add_get("/", self._page)
        application.router.add_get("/events", self._events)
        application.router.add_get("/ws", self._socket)
        application.router.add_get("/endless", self._endless)
        runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.5)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.endpoint = f"127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _page(self, _: web.Request) -> web.Response:
        return web.Response(
            text=f"<!doctype html><title>{self.name}</title><h1>{self.name}</h1>", content_type="text/html"
        )

    async def _events(self, request: web.Request) -> web.StreamResponse:
        last = request.headers.get("Last-Event-ID")
        if last is not None:
            self.reconnects.append(last)
        reply = web.StreamResponse(headers={"content-type": "text/event-stream", "cache-control": "no-cache"})
        await reply.prepare(request)
        await reply.write(b"retry: 50\n\n")
        begin = int(last) + 1 if last is not None else 0
        for number in range(begin, begin + BATCH):
            await reply.write(f"id: {number}\ndata: {self.name} {number}\n\n".encode())
            await asyncio.sleep(0.02)
        await reply.write(b": fairway-outcome status=ok\n")
        await reply.write_eof()
        return reply

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type == WSMsgType.TEXT:
                await socket.send_str(f"{self.name} {message.data}")
            elif message.type == WSMsgType.BINARY:
                await socket.send_bytes(message.data[::-1])
        return socket

    async def _endless(self, request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await reply.prepare(request)
        try:
            while True:
                await reply.write(b"data: more\n\n")
                await asyncio.sleep(0.01)
        finally:
            self.given_up.set()


def table(stable: str, candidate: str, *, split: int, seq: int) -> RouteTable:
    return RouteTable(
        route=RouteId(agent=AgentName("support"), environment=EnvironmentName("production")),
        fence=Fence(term=1, seq=seq),
        arms=(
            Arm(role=Role.STABLE, release=OLD, version="1.0.0", endpoints=(stable,)),
            Arm(role=Role.CANDIDATE, release=NEW, version="1.1.0", endpoints=(candidate,)),
        ),
        split=Parts(split),
        salt="r-1",
        keys=(KeyExtractor(kind=KeyKind.ISSUE_COOKIE, name="fw_unit"),),
        block_seconds=60.0,
    )


@dataclass
class Stage:
    """A gateway in front of two releases, and a browser that begins while everybody is on the old one."""

    harness: Harness
    browser: Browser
    old: WebArm
    new: WebArm

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.harness.port}"

    async def visit(self) -> Page:
        """A new visitor, with a cookie jar of their own."""
        context = await self.browser.new_context()
        page = await context.new_page()
        await page.goto(self.url)
        return page

    async def switch(self) -> None:
        """New visitors meet the new release from now on."""
        await self.harness.install(table(self.old.endpoint, self.new.endpoint, split=100_000, seq=2))


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    harness = Harness(tmp_path)
    async with contextlib.AsyncExitStack() as stack:
        old = await stack.enter_async_context(WebArm("old").running())
        new = await stack.enter_async_context(WebArm("new").running())
        await harness.start(table(old.endpoint, new.endpoint, split=0, seq=1))
        playwright = await stack.enter_async_context(async_playwright())
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield Stage(harness, browser, old, new)
        await browser.close()
        await harness.close()


async def until(page: Page, holds: str) -> None:
    """Wait until the expression is true in the page."""
    await page.wait_for_function(holds, timeout=15_000)


async def test_a_visitor_keeps_the_cookie_and_stays_while_new_ones_meet_the_new_release(stage: Stage) -> None:
    page = await stage.visit()
    assert await page.inner_text("h1") == "old"
    cookies: list[Any] = list(await page.context.cookies())
    assert {cookie["name"] for cookie in cookies} == {"fairway_pin", "fw_unit"}
    assert all(cookie["httpOnly"] and cookie["sameSite"] == "Lax" for cookie in cookies)
    await stage.switch()
    for _ in range(3):
        await page.reload()
        assert await page.inner_text("h1") == "old"
    assert await (await stage.visit()).inner_text("h1") == "new"


async def test_event_source_goes_on_where_it_was_through_reconnects_and_a_switch(stage: Stage) -> None:
    page = await stage.visit()
    await page.evaluate(
        """() => {
            window.came = [];
            const source = new EventSource('/events');
            source.onmessage = event => window.came.push([event.lastEventId, event.data]);
        }"""
    )
    await until(page, f"window.came.length >= {BATCH}")
    await stage.switch()
    await until(page, f"window.came.length >= {4 * BATCH}")
    came = await page.evaluate("window.came")
    assert came == [[str(number), f"old {number}"] for number in range(len(came))], "none lost, none twice, all of one"
    assert stage.old.reconnects[:3] == [str(BATCH - 1), str(2 * BATCH - 1), str(3 * BATCH - 1)]
    assert not stage.new.reconnects
    await page.context.close()


async def test_a_web_socket_lives_through_a_switch_and_its_visitor_comes_back_to_the_same_release(stage: Stage) -> None:
    open_one = """() => new Promise((resolve, reject) => {
        window.said = [];
        window.ended = null;
        window.socket = new WebSocket(location.origin.replace('http', 'ws') + '/ws');
        window.socket.binaryType = 'arraybuffer';
        window.socket.onmessage = event => window.said.push(event.data);
        window.socket.onclose = event => { window.ended = [event.code, event.wasClean]; };
        window.socket.onopen = resolve;
        window.socket.onerror = reject;
    })"""
    page = await stage.visit()
    await page.evaluate(open_one)
    await page.evaluate("for (let n = 0; n < 200; n++) window.socket.send('a' + n)")
    await until(page, "window.said.length === 200")
    await stage.switch()
    await page.evaluate("for (let n = 0; n < 200; n++) window.socket.send('b' + n)")
    await until(page, "window.said.length === 400")
    assert await page.evaluate("window.said") == [f"old {when}{n}" for when in "ab" for n in range(200)]
    right = await page.evaluate(
        """() => new Promise(resolve => {
            const sent = new Uint8Array(300000).map((_, index) => index % 251);
            window.socket.onmessage = event => {
                const back = new Uint8Array(event.data).reverse();
                resolve(back.length === sent.length && back.every((byte, index) => byte === sent[index]));
            };
            window.socket.send(sent);
        })"""
    )
    assert right
    await page.evaluate("window.socket.close(1000)")
    await until(page, "window.ended !== null")
    assert await page.evaluate("window.ended") == [1000, True]
    for visitor, release in ((page, "old"), (await stage.visit(), "new")):
        await visitor.evaluate(open_one)
        await visitor.evaluate("window.socket.send('again')")
        await until(visitor, "window.said.length === 1")
        assert await visitor.evaluate("window.said") == [f"{release} again"]
        await visitor.evaluate("window.socket.close()")
        await until(visitor, "window.ended !== null")
        await visitor.context.close()


async def test_a_fetch_that_the_browser_gives_up_is_given_up_at_the_arm(stage: Stage) -> None:
    page = await stage.visit()
    pieces = await page.evaluate(
        """async () => {
            const controller = new AbortController();
            const reply = await fetch('/endless', {signal: controller.signal});
            const reader = reply.body.getReader();
            let pieces = 0;
            while (pieces < 3) { await reader.read(); pieces++; }
            controller.abort();
            return pieces;
        }"""
    )
    assert pieces == 3
    async with asyncio.timeout(5):
        await stage.old.given_up.wait()
    counted = await stage.harness.counted()
    assert counted[Role.STABLE].sums["client_aborted"] == 1
    assert counted[Role.STABLE].failed == 0
