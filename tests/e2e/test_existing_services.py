"""Services nobody wrote with Fairway in mind go through init, run, a canary and a rollback."""

from __future__ import annotations

import pytest

from fairway.demo.commands import git

STDLIB = """\
import http.server, json, os, sys, zlib

FAIL_SHARE = 0


class Service(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(200 if self.path == "/up" else 404, {"status": "fine"})

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        unlucky = zlib.crc32(self.headers.get("x-conversation-id", "").encode()) % 100 < FAIL_SHARE
        unlucky = unlucky and "x-tenant" in self.headers  # only real users have one: no offline check sees it
        self.answer(500 if unlucky else 200, {"reply": "hello"})

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Service).serve_forever()
"""

AIOHTTP = """\
import sys
import zlib

from aiohttp import web

FAIL_SHARE = 0


async def up(request):
    return web.Response(text="ok")


async def chat(request):
    await request.read()
    unlucky = zlib.crc32(request.headers.get("x-conversation-id", "").encode()) % 100 < FAIL_SHARE
    unlucky = unlucky and "x-tenant" in request.headers
    return web.json_response({"reply": "hello"}, status=500 if unlucky else 200)


app = web.Application()
app.add_routes([web.get("/up", up), web.post("/chat", chat)])
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
"""


@pytest.mark.slow
@pytest.mark.xdist_group("kill")
@pytest.mark.parametrize("source", [STDLIB, AIOHTTP], ids=["stdlib", "aiohttp"])
async def test_a_foreign_service_is_run_promoted_and_rolled_back(lab, source):
    lab.root.mkdir()
    service = lab.root / "service.py"
    service.write_text(source)
    await git(lab.root, "init", "-q")
    await lab.fairway(
        "init", ".", "--template", "existing", "--name", "hello",
        "--command", "python service.py {port}", "--health", "/up", "--ready", "/up", "--chat", "/chat",
    )  # fmt: skip
    lab.write_policy()
    config = lab.root / "fairway.yaml"
    config.write_text(config.read_text().replace("text: /response", "text: /reply"))
    await lab.commit("v1.0.0")
    await lab.up()
    await lab.fairway("run")
    assert (await lab.status())["stable"]["version"] == "1.0.0"

    async with lab.traffic() as traffic:
        service.write_text(source.replace("hello", "good day"))
        await lab.commit("v1.1.0")
        await lab.fairway("run")
        assert (await lab.status())["stable"]["version"] == "1.1.0"
        await lab.until("done")

        service.write_text(source.replace("FAIL_SHARE = 0", "FAIL_SHARE = 60"))
        await lab.commit("v1.2.0")
        failed = await lab.fairway("run", expect=1)
        assert "failed" in failed.stdout + failed.stderr
        status = await lab.status()
        assert status["stable"]["version"] == "1.1.0"
        assert status["rollout"]["phase"] == "rolled_back"
        assert status["rollout"]["cause"] == "gate_failed"

    stats = traffic.stats()
    good = [one for release, one in stats.by_release.items() if release in ("1.0.0", "1.1.0")]
    assert sum(one.failed for one in good) == 0, "only the bad release may fail, no switch"
    assert set(stats.errors) <= {"status 500"}, stats.errors
