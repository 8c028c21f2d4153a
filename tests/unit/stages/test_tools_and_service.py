from __future__ import annotations

import asyncio
import os
from pathlib import Path

import psutil
import pytest

from fairway.errors import UserError
from fairway.pipeline.port import StageStatus
from fairway.units import Verdict

SERVER = """
import http.server, json, os, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = {"/health": b"fine", "/ready": json.dumps({"release": RELEASE, "effective": EFFECTIVE}).encode()}
        found = body.get(self.path)
        self.send_response(200 if found else 404)
        self.end_headers()
        self.wfile.write(found or b"")

    def do_POST(self):
        said = json.loads(self.rfile.read(int(self.headers["content-length"])))
        answer = json.dumps({"response": REPLY.format(**said)}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args):
        print(*args, flush=True)

RELEASE, EFFECTIVE = os.environ["FAIRWAY_RELEASE"], os.environ["FAIRWAY_EFFECTIVE"]
REPLY = "you said {message}"
bundled = os.path.exists(os.environ["FAIRWAY_BUNDLE"] + "/effective.json")
print(os.getcwd(), os.environ["FAIRWAY_ENVIRONMENT"], bundled, flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
MODELS = "version: 1\nmodels: {main: {provider: openai, model: gpt-x-1}}\nroles: {orchestrator: main}\n"
CALLED = "command: python call.py, examples: [{tool: orders, arguments: {id: a}}]"
FAILED, OK = StageStatus.FAILED, StageStatus.PASSED


def files(**more: str) -> dict[str, str]:
    return {"server.py": SERVER, "models.yaml": MODELS, "tests/test_nothing.py": "", **more}


def with_chat(bench, settings: str = "") -> None:  # type: ignore[no-untyped-def]
    bench.commit(files(), settings=settings)
    text = (bench.root / "fairway.yaml").read_text().replace("  ready: /health", "  ready: /ready\n  chat: /chat")
    bench.write({"fairway.yaml": text})
    bench.git("commit", "-qam", "chat")


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


def lives(pid: int) -> bool:
    """Whether a process runs; one that nobody has collected yet does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def ends(pid: int) -> bool:
    """Whether it is gone within a moment: a kill takes effect a little after it is sent."""
    for _ in range(100):
        if not lives(pid):
            return True
        await asyncio.sleep(0.02)
    return False


async def test_a_deployed_service_is_smoked_and_talked_to_and_gone_after_the_run(bench) -> None:
    with_chat(bench)
    before = children()
    delivery = bench.delivery()
    deployed = await bench.run("deploy_staging", delivery=delivery)
    assert deployed.status is StageStatus.PASSED, deployed
    assert deployed.details["attested_by"] == "arm"
    assert deployed.details["release"] == delivery.bundle.digest
    smoked = await bench.run("smoke_test", delivery=delivery)
    assert smoked.status is StageStatus.PASSED, smoked
    assert smoked.evidence[0].effective == deployed.details["effective"]
    assert (await bench.run("e2e_test", delivery=delivery)).status is StageStatus.PASSED
    said = delivery.staging.log.read_text().splitlines()[0]
    assert said.endswith("/release staging True")
    assert not (delivery.staging.tree / "tests").exists()  # the instrument is no part of what is deployed
    await delivery.close()
    assert children() == before


CASE = "suite: first\ncases:\n  - {{id: echo, input: blue, expected_keywords: [{keyword}], tags: [{tag}]}}\n"


@pytest.mark.parametrize(
    ("keyword", "tag", "status", "told"),
    [
        ("blue", "smoke", OK, "1 of 1 smoke cases passed"),
        ("green", "smoke", FAILED, "first/echo"),
        ("green", "e2e", OK, "answered a message"),
    ],
)
async def test_cases_tagged_for_the_smoke_are_played_in_it(
    bench, keyword: str, tag: str, status: StageStatus, told: str
) -> None:
    with_chat(bench)
    bench.write({"evals/suites/first.yaml": CASE.format(keyword=keyword, tag=tag)})
    bench.git("add", "-A")
    bench.git("commit", "-qm", "cases")
    delivery = bench.delivery()
    await bench.run("deploy_staging", delivery=delivery)
    outcome = await bench.run("smoke_test", delivery=delivery)
    await delivery.close()
    assert outcome.status is status, outcome
    assert told in outcome.summary
    assert outcome.evidence[0].verdict is (Verdict.PASS if status is OK else Verdict.FAIL)


async def test_a_service_that_serves_something_else_is_not_ready(bench) -> None:
    other = SERVER.replace('os.environ["FAIRWAY_RELEASE"]', '"sha256:" + "0" * 64')
    bench.commit(files(**{"server.py": other}))
    text = (bench.root / "fairway.yaml").read_text().replace("ready: /health", "ready: /ready\n  ready_timeout: 1s")
    bench.write({"fairway.yaml": text})
    with pytest.raises(UserError) as caught:
        await bench.run("deploy_staging")
    assert caught.value.code == "service_never_ready"


async def test_a_service_that_becomes_another_release_fails_the_smoke_test(bench) -> None:
    change = "        globals()['RELEASE'] = 'sha256:' + '0' * 64\n"
    turning = SERVER.replace("        self.wfile.write(found", change + "        self.wfile.write(found")
    with_chat(bench)
    bench.write({"server.py": turning})
    delivery = bench.delivery()
    await bench.run("deploy_staging", delivery=delivery)
    outcome = await bench.run("smoke_test", delivery=delivery)
    await delivery.close()
    assert outcome.status is StageStatus.FAILED
    assert "it says it serves release 00000000" in outcome.summary


async def test_a_service_that_ends_at_once_is_told_with_its_last_words(bench) -> None:
    bench.commit(files(**{"server.py": "raise SystemExit('no database')"}))
    with pytest.raises(UserError) as caught:
        await bench.run("deploy_staging")
    assert caught.value.code == "service_exited"
    assert "no database" in (caught.value.hint or "")


async def test_cancelling_a_deployment_leaves_no_process(bench) -> None:
    bench.commit(files(**{"server.py": "import time; time.sleep(600)"}))
    before = children()
    delivery = bench.delivery()
    task = asyncio.create_task(bench.run("deploy_staging", delivery=delivery))
    while children() == before:
        await asyncio.sleep(0.05)
        assert not task.done(), task.result()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await delivery.close()
    assert children() == before


async def test_cancelling_a_command_leaves_no_process_not_even_a_grandchild(bench) -> None:
    command = "[sh, -c, 'sleep 600 & sleep 600 & wait']"
    bench.commit(settings=f"unit_test: {{command: {command}}}")
    before = children()
    task = asyncio.create_task(bench.run("unit_test"))
    while len(children() - before) < 3:
        await asyncio.sleep(0.02)
        assert not task.done(), task.result()
    started = children() - before
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert all([await ends(pid) for pid in started])


async def test_a_command_that_leaves_something_behind_does_not(bench, tmp_path: Path) -> None:
    bench.commit(settings=f"unit_test: {{command: [sh, -c, 'sleep 600 & echo $! > {tmp_path}/pid']}}")
    assert (await bench.run("unit_test")).status is StageStatus.PASSED
    assert await ends(int((tmp_path / "pid").read_text()))


async def test_a_deployed_service_that_dies_fails_the_smoke_test(bench) -> None:
    with_chat(bench)
    delivery = bench.delivery()
    await bench.run("deploy_staging", delivery=delivery)
    os.killpg(delivery.staging.served.process.identity.pid, 9)
    outcome = await bench.run("smoke_test", delivery=delivery)
    assert outcome.status is StageStatus.FAILED
    assert "the service ended" in outcome.summary
    assert outcome.evidence[0].verdict is Verdict.FAIL
    await delivery.close()


@pytest.mark.parametrize(
    ("requests", "status", "problem"),
    [
        pytest.param("[{path: /health, expect: {contains: fine}}]", StageStatus.PASSED, "", id="as expected"),
        pytest.param("[{path: /health, expect: {contains: [fine, great]}}]", StageStatus.FAILED, "'great'", id="text"),
        pytest.param("[{path: /nowhere}]", StageStatus.FAILED, "answers 404, expected 200", id="status"),
        pytest.param("[{path: /nowhere, expect: {status: 404}}]", StageStatus.PASSED, "", id="expected status"),
        pytest.param(
            "[{path: /x, method: POST, body: {message: hi}, expect: {contains: you said hi}}]",
            StageStatus.PASSED,
            "",
            id="post",
        ),
    ],
)
async def test_declared_requests_to_a_foreign_service(bench, requests: str, status: StageStatus, problem: str) -> None:
    bench.commit(files(), settings=f"e2e_test: {{requests: {requests}}}")
    delivery = bench.delivery()
    await bench.run("deploy_staging", delivery=delivery)
    outcome = await bench.run("e2e_test", delivery=delivery)
    await delivery.close()
    assert outcome.status is status, outcome
    assert problem in "".join(finding.message for finding in outcome.findings)


async def test_with_nothing_declared_the_end_to_end_test_is_skipped_and_says_why(bench) -> None:
    bench.commit(files())
    outcome = await bench.run("e2e_test")
    assert outcome.status is StageStatus.SKIPPED
    assert "no requests in pipeline.stages.e2e_test" in outcome.summary


async def test_without_a_deployment_neither_test_passes(bench) -> None:
    with_chat(bench)
    for stage in ("smoke_test", "e2e_test"):
        assert (await bench.run(stage)).status is StageStatus.ERROR


CALL = """
import json, os, sys
arguments = json.loads(sys.argv[-1])
print("log line")
print(json.dumps({"orders": {"status": "shipped", "id": arguments["id"]}}[os.environ["FAIRWAY_TOOL"]]))
"""
TOOLS = """
version: 1
tools:
  orders:
    risk: low
    arguments: {type: object, properties: {id: {type: string}}, required: [id]}
    result: {type: object, properties: {status: {enum: [shipped, open]}}, required: [status]}
    mock: {status: open}
"""


@pytest.mark.parametrize(
    ("tools", "settings", "status", "rule"),
    [
        pytest.param(TOOLS, "", OK, None, id="declarations agree"),
        pytest.param(TOOLS.replace("{status: open}", "{status: gone}"), "", FAILED, "tool/mock", id="mock"),
        pytest.param(TOOLS.replace("enum: [", "type: [1, "), "", FAILED, "tool/schema", id="no schema"),
        pytest.param(
            TOOLS.replace("{enum: [shipped, open]}", "{$ref: 'https://example.org/x'}"),
            "",
            FAILED,
            "tool/mock",
            id="elsewhere",
        ),
        pytest.param(TOOLS, "examples: [{tool: orders, arguments: {id: 7}}]", FAILED, "tool/arguments", id="arguments"),
        pytest.param(TOOLS, "examples: [{tool: order}]", FAILED, "tool/unknown", id="unknown tool"),
        pytest.param(TOOLS, CALLED, OK, None, id="call"),
        pytest.param(TOOLS.replace("shipped, ", ""), CALLED, FAILED, "tool/result", id="result"),
        pytest.param(TOOLS, CALLED.replace("python call.py", "'false'"), FAILED, "tool/call", id="broken call"),
    ],
)
async def test_tools_against_the_code(bench, tools: str, settings: str, status: StageStatus, rule: str | None) -> None:
    stage = f"tool_integration: {{{settings}}}" if settings else ""
    bench.commit({"tools.yaml": tools, "call.py": CALL}, settings=stage)
    outcome = await bench.run("tool_integration")
    assert outcome.status is status, outcome
    assert ([finding.rule for finding in outcome.findings] or [None])[0] == rule


@pytest.mark.parametrize("example", ["", "examples: [{tool: orders, arguments: {id: a}}]"])
async def test_a_schema_of_an_unknown_type_is_a_finding_at_its_line(bench, example: str) -> None:
    tools = "version: 1\ntools:\n  orders:\n    arguments:\n      type: objct\n"
    bench.commit({"tools.yaml": tools}, settings=f"tool_integration: {{{example}}}")
    outcome = await bench.run("tool_integration")
    assert outcome.status is StageStatus.FAILED, outcome
    assert outcome.summary == "1 disagreement in 1 tool"
    [finding] = outcome.findings
    assert (finding.rule, finding.file, finding.line, finding.column) == ("tool/schema", "tools.yaml", 5, 13)
    assert "'objct'" in finding.message


async def test_a_schema_that_cannot_be_applied_is_a_finding(bench) -> None:
    arguments = "{elsewhere: {type: objct}, properties: {id: {$ref: '#/elsewhere'}}}"
    tools = f"version: 1\ntools: {{orders: {{arguments: {arguments}}}}}\n"
    bench.commit({"tools.yaml": tools}, settings="tool_integration: {examples: [{tool: orders, arguments: {id: a}}]}")
    outcome = await bench.run("tool_integration")
    assert (outcome.status, [finding.rule for finding in outcome.findings]) == (FAILED, ["tool/arguments"])


async def test_a_schema_elsewhere_is_never_fetched(bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr("urllib.request.urlopen", lambda *arguments, **_: asked.append(arguments))
    bench.commit({"tools.yaml": TOOLS.replace("{enum: [shipped, open]}", "{$ref: 'https://example.org/x'}")})
    outcome = await bench.run("tool_integration")
    assert "refers to 'https://example.org/x'" in outcome.findings[0].message
    assert asked == []


async def test_without_tools_the_stage_is_skipped_and_says_so(bench) -> None:
    bench.commit()
    outcome = await bench.run("tool_integration")
    assert (outcome.status, outcome.summary) == (StageStatus.SKIPPED, "no tools declared")


async def test_a_stage_of_ones_own_is_its_exit_code_and_finds_its_folder_and_release(bench) -> None:
    say = 'test -d \\"$FAIRWAY_WORKDIR\\" && echo checked $FAIRWAY_RELEASE'
    bench.commit({"README": "x"}, settings=f'my_check: {{command: [sh, -c, "{say}"]}}')
    outcome = await bench.run("my_check")
    assert outcome.status is StageStatus.PASSED
    assert outcome.summary == f"checked {bench.delivery().bundle.digest}"
    bench.commit(settings="my_check: {command: [sh, -c, 'echo bad; exit 2']}")
    outcome = await bench.run("my_check")
    assert (outcome.status, outcome.summary) == (StageStatus.FAILED, "exit code 2: bad")


async def test_a_secret_a_command_prints_is_in_no_log_and_no_report(bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_API_KEY", "sk-live-0123456789abcdef")
    bench.commit(settings="mine: {command: [sh, -c, 'echo key is $SHOP_API_KEY; exit 1']}")
    outcome = await bench.run("mine")
    assert outcome.summary == "exit code 1: key is [redacted]"
    for file in bench.folder.rglob("*"):
        assert not file.is_file() or b"0123456789abcdef" not in file.read_bytes(), file
