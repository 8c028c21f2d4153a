"""The process that listens to live traffic, as `fairway up` starts it."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from fairway.clock import SystemClock
from fairway.errors import ProjectFileError
from fairway.project.load import load_project
from fairway.supervise.live_process import scorer_of, settings_of
from fairway.supervise.processes import LIVE, Processes
from fairway.traffic.sampling import SCORES, STATUS, LiveSample, pack

PROJECT = """\
version: 1
agent: {name: shop}
service: {command: "python app.py {port}"}
gateway:
  port: 0
  admin_port: 0
  capture: {share: 100%, redact: [{name: ORDER, pattern: 'A-[0-9]+'}]}
evals:
  online:
    assert: [{not-icontains: sorry}]
"""
COMMAND = (sys.executable, "-m", "fairway.supervise.live_process", "--project")


def sample(reply: str) -> bytes:
    facts = {
        "request": f"r-{reply}", "unit": "a" * 16, "release": "sha256:" + "a" * 64, "version": "1.0.0",
        "role": "stable",
        "at": 10.0, "t0": 10.0, "status": 200, "verdict": "ok", "reason": "", "seconds": 0.1, "outcome": "",
    }  # fmt: skip
    request = b'POST /chat HTTP/1.1\r\n\r\n{"message": "where is A-123?"}'
    return pack(LiveSample(facts, request, json.dumps({"response": reply}).encode()))


def status_of(root: Path) -> dict:
    path = root / ".fairway" / STATUS
    return json.loads(path.read_text()) if path.exists() else {"at": 0.0, "scored": 0}


def test_samples_are_redacted_scored_and_the_process_ends_when_it_is_told_to(tmp_path):
    (tmp_path / "fairway.yaml").write_text(PROJECT)
    project = load_project(tmp_path)
    capture = project.gateway.capture
    assert capture is not None
    with subprocess.Popen([*COMMAND, str(tmp_path)], stderr=subprocess.PIPE) as process:
        try:
            until = time.monotonic() + 20
            while not status_of(tmp_path)["at"]:
                assert time.monotonic() < until, process.poll()
                time.sleep(0.02)
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as gateway:
                for reply in ("fine", "sorry"):
                    gateway.sendto(sample(reply), str(settings_of(project, capture).socket))
            while status_of(tmp_path)["scored"] < 2:
                assert time.monotonic() < until
                time.sleep(0.02)
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()
    lines = (tmp_path / ".fairway" / SCORES / "1.jsonl").read_text().splitlines()
    assert [json.loads(line)["score"] for line in lines] == [1_000_000, 0]
    kept = "".join(path.read_text() for path in (tmp_path / ".fairway" / "live" / "turns").iterdir())
    assert "[ORDER_REDACTED]" in kept
    assert "A-123" not in kept


def test_up_runs_it_only_where_the_project_captures(tmp_path):
    (tmp_path / "fairway.yaml").write_text(PROJECT)

    def children() -> list[str]:
        processes = Processes(load_project(tmp_path), environment="production")
        try:
            return [spec.name for spec in processes.specs()]
        finally:
            processes.close()

    assert children() == [LIVE, "gateway", "controller"]
    (tmp_path / "fairway.yaml").write_text(PROJECT[: PROJECT.index("  capture")])
    assert LIVE not in children()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("not-icontains: sorry", "not-icontain: sorry"), "evals.online.assert[0]"),
        (("not-icontains: sorry", "python: 'x.py'"), "not done to live traffic"),
        (("not-icontains: sorry", "llm-rubric: friendly"), "needs a judge"),
        (("    assert: [{not-icontains: sorry}]", "    rubric: friendly"), "fairway.yaml:10:13: evals.online.rubric"),
        (("    assert: [{not-icontains: sorry}]", "    spend: 1.0"), "needs something to score by"),
        (("  capture: {share: 100%, redact: [{name: ORDER, pattern: 'A-[0-9]+'}]}\n", ""), "nothing is sampled"),
        (("share: 100%", "share: 0%"), "fairway.yaml:7:20: gateway.capture.share"),
        (("'A-[0-9]+'", "'A-['"), "no regular expression"),
        (("'A-[0-9]+'", "'A*'"), "found everywhere"),
    ],
)
async def test_what_could_never_give_a_score_is_refused_with_its_place(tmp_path, change, said):
    (tmp_path / "fairway.yaml").write_text(PROJECT.replace(*change))
    with pytest.raises(ProjectFileError, match=re.escape(said)):
        await opened(tmp_path)


async def opened(root: Path) -> None:
    async with AsyncExitStack() as stack:
        project = load_project(root)
        assert project.evals.online is not None
        await scorer_of(project, project.evals.online, stack, clock=SystemClock())
