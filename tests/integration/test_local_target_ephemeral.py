"""A service for the length of a block, with real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from fairway.errors import UserError
from fairway.targets.local.ephemeral import PREFIX, ServeSpec, serving
from fairway.targets.local.owned import reap_orphans
from fairway.targets.local.process import identify
from fairway.targets.local.service import LocalService, Placement
from fairway.targets.port import AttestedBy
from fairway.units import Digest, EnvironmentName

APP = """
import os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
EARLY
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        data = os.environ.get("COLOUR", "none").encode()
        self.send_response(200 if self.path == "/ready" else 404)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def log_message(self, *args): pass
print("pid", os.getpid(), flush=True)
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def make(folder: Path, *, early: str = "", **service: object) -> ServeSpec:
    (folder / "app.py").write_text(APP.replace("EARLY", early))
    placement = Placement(
        environment=EnvironmentName("staging"),
        release=Digest("sha256:" + "1" * 64),
        effective=Digest("sha256:" + "2" * 64),
        release_version="1.0.0",
        tree=folder,
        bundle=folder,
    )
    default = LocalService(command=(sys.executable, "-S", "app.py", "{port}"), ready_timeout=5.0)
    return ServeSpec(placement=placement, service=replace(default, **service), log=folder / "service.log")


def pids(spec: ServeSpec) -> list[int]:
    return [int(line.split()[1]) for line in spec.log.read_text().splitlines() if line.startswith("pid ")]


def read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read()


async def test_a_service_is_ready_inside_the_block_and_gone_after_it(tmp_path: Path) -> None:
    spec = replace(make(tmp_path), variables={"COLOUR": "green"})
    async with serving(spec) as served:
        assert served.attested_by is AttestedBy.SUPERVISOR
        assert await asyncio.to_thread(read, f"{served.url}/ready") == b"green"
        assert served.running()
    (pid,) = pids(spec)
    assert identify(pid) is None


async def test_a_failing_block_ends_the_service_too(tmp_path: Path) -> None:
    spec = make(tmp_path)
    with pytest.raises(RuntimeError, match="the test failed"):
        async with serving(spec):
            raise RuntimeError("the test failed")
    assert [identify(pid) for pid in pids(spec)] == [None]


async def test_a_cancelled_block_ends_the_service_though_it_ignores_sigterm(tmp_path: Path) -> None:
    early = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    spec = replace(make(tmp_path, early=early), stop_grace=0.3)
    ready = asyncio.Event()

    async def use() -> None:
        async with serving(spec):
            ready.set()
            await asyncio.sleep(60)

    using = asyncio.create_task(use())
    await ready.wait()
    using.cancel()
    with pytest.raises(asyncio.CancelledError):
        await using
    assert [identify(pid) for pid in pids(spec)] == [None]


async def test_cancelling_twice_does_not_wait_for_the_grace(tmp_path: Path) -> None:
    early = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    spec = replace(make(tmp_path, early=early), stop_grace=60.0)
    ready = asyncio.Event()

    async def use() -> None:
        async with serving(spec):
            ready.set()
            await asyncio.sleep(60)

    using = asyncio.create_task(use())
    await ready.wait()
    using.cancel()
    await asyncio.sleep(0.2)
    assert [identify(pid) is None for pid in pids(spec)] == [False]
    using.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(using, 5)
    assert [identify(pid) for pid in pids(spec)] == [None]


async def test_a_cancelled_start_leaves_nothing(tmp_path: Path) -> None:
    spec = make(tmp_path, early="import time; print('pid', os.getpid(), flush=True); time.sleep(60)")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.6), serving(spec):
            pytest.fail("it cannot be ready")
    assert [identify(pid) for pid in pids(spec)] == [None]


@pytest.mark.parametrize(
    ("early", "service", "code", "words"),
    [
        ("sys.exit('no table')", {}, "service_exited", "exited with code 1 before it was ready"),
        ("import time; time.sleep(60)", {"ready_timeout": 0.4}, "service_never_ready", "nothing listens on"),
        ("", {"ready": "/else", "ready_timeout": 0.4}, "service_never_ready", "GET /else answered 404"),
        ("", {"command": ("no-such-program",)}, "service_start", "No such file or directory: no-such-program"),
    ],
)
async def test_a_service_that_does_not_come_up_is_an_error_that_says_why(
    tmp_path: Path, early: str, service: dict[str, object], code: str, words: str
) -> None:
    with pytest.raises(UserError) as caught:
        async with serving(make(tmp_path, early=early, **service)):
            pytest.fail("it cannot be ready")
    assert caught.value.code == code
    assert words in caught.value.message
    if "no table" in early:
        assert "no table" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("early", "ready", "advice"),
    [
        (
            "import time; time.sleep(60)",
            "/ready",
            "service.command in fairway.yaml has to make it listen on {host}:{port}",
        ),
        ("", "/readines", "service.ready in fairway.yaml says /readines"),
    ],
)
async def test_a_service_that_does_not_come_up_names_the_key_to_change(
    tmp_path: Path, early: str, ready: str, advice: str
) -> None:
    with pytest.raises(UserError) as caught:
        async with serving(make(tmp_path, early=early, ready=ready, ready_timeout=0.4)):
            pytest.fail("it cannot be ready")
    assert str(caught.value.hint).startswith(advice)
    assert "log: " in str(caught.value.hint)


async def test_a_service_whose_port_is_always_taken_is_tried_three_times(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="says that its port is taken"):
        async with serving(make(tmp_path, early="sys.exit('Address already in use')")):
            pytest.fail("it cannot be ready")
    assert (tmp_path / "service.log").read_text().count("Address already in use") == 3


async def test_what_a_killed_owner_left_is_ended_by_the_next(tmp_path: Path) -> None:
    spec = make(tmp_path)
    owner = textwrap.dedent(f"""
        import asyncio, importlib.util
        spec = importlib.util.spec_from_file_location("t", {__file__!r})
        t = importlib.util.module_from_spec(spec); spec.loader.exec_module(t)
        async def main():
            async with t.serving(t.make(t.Path({str(tmp_path)!r}))):
                print("ready", flush=True)
                await asyncio.sleep(60)
        asyncio.run(main())
    """)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", owner, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 15) == b"ready\n"
    (orphan,) = pids(spec)
    reap_orphans(PREFIX)
    assert identify(orphan) is not None  # its owner lives
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    assert identify(orphan) is not None
    reap_orphans(PREFIX)
    deadline = time.monotonic() + 5
    while identify(orphan) is not None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
