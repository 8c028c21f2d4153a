"""The controller's own questions, asked of real processes of the local target."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import replace
from pathlib import Path

from fairway.controller.probing import LocalQuestion
from fairway.state_dir import StateDir
from fairway.targets.local.instance import Timing
from fairway.targets.local.records import RecordFolder
from fairway.targets.local.service import LocalService
from fairway.targets.local.target import LocalTarget, PreparedArm, stop_left_behind
from fairway.targets.port import ArmSpec
from fairway.testing.rollout_cases import CANDIDATE, NEXT, ROUTE
from fairway.traffic.table import Role

APP = """
import json, os, pathlib, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
said = {"release": os.environ["FAIRWAY_RELEASE"], "effective": os.environ["FAIRWAY_EFFECTIVE"]}
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        data = json.dumps(said).encode()
        self.send_response(500 if pathlib.Path("broken").exists() else 200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def log_message(self, *args): pass
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class Files:
    async def prepare(self, route: object, spec: ArmSpec, folder: Path) -> PreparedArm:
        (folder / "app.py").write_text(APP)
        self.folder = folder
        service = LocalService(command=(sys.executable, "-S", "app.py", "{port}"), ready_timeout=10.0, drain=1.0)
        return PreparedArm(release_version="1.1.0", service=service, tree=folder, bundle=folder)


async def test_a_probe_reads_the_digest_back_and_sees_an_instance_that_no_longer_answers_well(tmp_path: Path) -> None:
    state, files = StateDir(tmp_path / ".fairway"), Files()
    target = LocalTarget(state=state, files=files, timing=Timing(poll=0.02, ready_interval=0.05, stop_grace=1.0))
    running = asyncio.create_task(target.run())
    try:
        spec = ArmSpec(
            role=Role.CANDIDATE, release_digest=CANDIDATE.release, effective_digest=CANDIDATE.effective, replicas=1
        )
        await target.ensure(ROUTE, spec)
        deadline = time.monotonic() + 10
        while not (arms := await target.observe(ROUTE)) or not arms[0].ready():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        arm, instance = arms[0], arms[0].instances[0]
        ask = LocalQuestion(records=RecordFolder(state.arms / "instances"))
        assert await ask(arm, instance) == ""
        assert "serves release" in await ask(replace(arm, release_digest=NEXT.release), instance)
        assert "serves configuration" in await ask(replace(arm, effective_digest=NEXT.effective), instance)
        assert "not on record" in await ask(arm, replace(instance, id="gone-0"))
        (files.folder / "broken").touch()
        assert "answered 500" in await ask(arm, instance)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await stop_left_behind(state, grace=0.0)
