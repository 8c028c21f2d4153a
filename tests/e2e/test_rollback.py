"""Going back, as a user does it: caught and recorded, rehearsed, of one component, by flag; under traffic."""

from __future__ import annotations

import asyncio
import json

import pytest

from fairway.bootstrap import open_workspace
from fairway.demo.commands import git
from fairway.recovery.record import find_procedure

SERVICE = """\
import http.server, json, os, pathlib, sys

from openfeature import api

from fairway.flags.openfeature import FairwayProvider, in_request

api.set_provider(FairwayProvider())
FLAGS = api.get_client()
BEHAVIOUR = pathlib.Path("policies/behaviour.txt").read_text().strip()
CODE = "first"


class Service(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(200, {"release": os.environ["FAIRWAY_RELEASE"], "effective": os.environ["FAIRWAY_EFFECTIVE"]})

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        bad = BEHAVIOUR == "fail"
        said = {"response": BEHAVIOUR, "code": CODE, "flag": self.headers.get("x-fairway-flag-refunds")}
        said["outside"] = FLAGS.get_boolean_value("refunds", False)
        with in_request(dict(self.headers)):
            said["inside"] = FLAGS.get_boolean_details("refunds", False).variant
        self.answer(500 if bad else 200, said, outcome="failed" if bad else "ok")

    def answer(self, status, value, outcome=None):
        body = json.dumps(value).encode()
        self.send_response(status)
        if outcome:
            self.send_header("fairway-outcome", f"status={outcome},tokens_in=1,iterations=1")
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Service).serve_forever()
"""
PROJECT = """\
version: 1
agent: {name: shop}
service:
  command: "python service.py {port}"
  health: /health
  ready: /ready
evals: {suites: []}
environments: {staging: {}, production: {approval: automatic}}
flags:
  refunds: {type: share}
rollback:
  notify: [python, tell.py]
sla: {minimum_requests: 10, success: 80%}
pipeline:
  stages:
    unit_test: {enabled: false, reason: no tests yet}
    prompt_regression: {enabled: false, reason: a service without prompts}
    smoke_test: {tries: 5, interval: 100ms}
"""
TELL = "import pathlib, sys\npathlib.Path('.fairway/told.json').write_text(sys.stdin.read())\n"


def flags(said):  # type: ignore[no-untyped-def]
    """What the header says of the flag, and the OpenFeature SDK within and outside the request."""
    return said["flag"], said["inside"], said["outside"]


async def until(look, *, seconds: float = 40.0):  # type: ignore[no-untyped-def]
    """What ``look`` gives, as soon as it gives something."""
    for _ in range(int(seconds * 2)):
        found = await look()
        if found:
            return found
        await asyncio.sleep(0.5)
    raise AssertionError("it never came")


@pytest.mark.slow
@pytest.mark.xdist_group("kill")
async def test_going_back_is_recorded_rehearsed_and_can_be_of_one_component(lab) -> None:  # type: ignore[no-untyped-def]
    lab.root.mkdir()
    await git(lab.root, "init", "-q", "-b", "main")
    (lab.root / "policies").mkdir()
    for name, text in {
        ".gitignore": ".fairway/\n",
        "fairway.yaml": PROJECT,
        "service.py": SERVICE,
        "tell.py": TELL,
        "policies/behaviour.txt": "polite\n",
    }.items():
        (lab.root / name).write_text(text)
    lab.write_policy()
    await lab.commit("v1.0.0")
    await lab.up()
    await lab.fairway("run")
    async with lab.traffic():
        # Code and policies change, both for good.
        (lab.root / "service.py").write_text(SERVICE.replace('"first"', '"second"'))
        (lab.root / "policies" / "behaviour.txt").write_text("brief\n")
        await lab.commit("v1.1.0")
        await lab.fairway("run")

        # Only a policy changes, for bad: caught, taken back, and the policy is suspected.
        (lab.root / "policies" / "behaviour.txt").write_text("fail\n")
        await lab.commit("v1.2.0")
        await lab.fairway("run", expect=1)

        async def rollbacked():  # type: ignore[no-untyped-def]
            workspace = open_workspace(lab.root)  # a process for each look would load the machine
            try:
                known = find_procedure(workspace, None)
            finally:
                workspace.close()
            return known is not None and known.marked

        await until(rollbacked)
        record = (await lab.fairway("rollback", "show", "-o", "json")).json()
        steps = {step["step"]: step for step in record["steps"]}
        assert set(steps) == {"detect", "locate", "choose", "roll_back", "notify", "verify", "mark"}
        assert (record["from"], record["to"], record["suspect"]) == ("1.2.0", "1.1.0", "policies")
        assert (record["situation"], record["recovery"]) == ("error_burst", "PASS")
        assert steps["choose"]["kind"] == "traffic"
        assert steps["locate"]["groups"][0]["code"] == "status_500"
        assert steps["notify"]["told"] is True
        told = json.loads((lab.root / ".fairway" / "told.json").read_text())
        assert (told["from"], told["to"], told["agent"]) == ("1.2.0", "1.1.0", "shop")
        report = (await lab.fairway("sla", "report", "--version", "1.2.0", "-o", "json")).json()
        assert report["status"] == "rollbacked"

        # What the gates found comes out the same from the blocks the real gateway reported.
        replayed = (await lab.fairway("audit", "replay", "--strict", "-o", "json")).json()
        assert (replayed["different"], replayed["gates"]["different"], replayed["gates"]["not_reread"]) == ([], [], {})
        assert replayed["gates"]["findings"] > 5

        # A flag, without a deploy.
        assert flags(await ask(lab, "c-1")) == ("off", "off", False)
        await lab.fairway("flag", "set", "refunds", "on", "--reason", "trial")

        async def is_on():  # type: ignore[no-untyped-def]
            return flags(await ask(lab, "c-1")) == ("on", "on", True)

        await until(is_on, seconds=25)
        await lab.fairway("rollback", "--flag", "refunds", "--reason", "refunds twice")

        async def is_off():  # type: ignore[no-untyped-def]
            return flags(await ask(lab, "c-1")) == ("off", "off", False)

        await until(is_off, seconds=25)

        # Rehearsed: everything but traffic; doctor knows.
        rehearsed = (await lab.fairway("rollback", "--rehearse", "-o", "json")).json()
        assert (rehearsed["verdict"], rehearsed["release_version"], rehearsed["attested_by"]) == (
            "PASS",
            "1.0.0",
            "arm",
        )
        assert "rehearsed" in (await lab.fairway("doctor", expect=None)).stdout
        assert (await ask(lab, "c-2"))["code"] == "second", "no traffic moved"

        # One component back: the code of 1.0.0 with the policies of 1.1.0, checked, and live at once.
        done = await lab.fairway("rollback", "--only", "code", "--reason", "the code is slow")
        assert "1.1.0-r1 goes to everybody in one step" in done.stderr

        async def mixed():  # type: ignore[no-untyped-def]
            said = await ask(lab, "c-new")
            return (said["code"], said["response"]) == ("first", "brief")

        await until(mixed)
        status = await lab.status()
        assert status["stable"]["version"] == "1.1.0-r1"

    refused = await lab.fairway("rollback", "close", record["incident"], "--note", "", expect=2)
    assert "root cause" in refused.stderr
    await lab.fairway("rollback", "close", record["incident"], "--note", "a policy that fails")
    closed = json.loads((await lab.fairway("rollback", "list", "-o", "json")).stdout)
    assert {"closed"} <= {row["status"] for row in closed}
    assert (await lab.fairway("audit", "verify")).code == 0


async def ask(lab, key: str):  # type: ignore[no-untyped-def]
    """One message through the gateway."""
    reader, writer = await asyncio.open_connection("127.0.0.1", lab.port)
    try:
        writer.write(
            f"POST /chat HTTP/1.1\r\nHost: shop\r\nX-Conversation-Id: {key}\r\nContent-Length: 2\r\n"
            "Connection: close\r\n\r\n{}".encode()
        )
        raw = await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()
    return json.loads(raw.partition(b"\r\n\r\n")[2])
