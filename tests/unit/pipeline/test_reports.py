from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.pipeline.port import Finding, RunReport, StageResult, StageStatus
from fairway.pipeline.reports.json_report import report_to_wire
from fairway.pipeline.reports.junit import render_junit
from fairway.pipeline.reports.markdown import render_markdown
from fairway.pipeline.reports.terminal import render_terminal
from fairway.pipeline.wire import result_from_wire, result_to_wire


def stage(name: str, status: StageStatus, **changes: object) -> StageResult:
    values: dict[str, object] = {
        "stage": name,
        "status": status,
        "duration_seconds": 1.25,
        "summary": f"{name} says so",
    }
    return StageResult(**(values | changes))  # type: ignore[arg-type]


def report(*results: StageResult, **changes: object) -> RunReport:
    values: dict[str, object] = {
        "run_id": "20260102-030405-abcdef",
        "agent": "support",
        "release": "sha256:" + "1234567890abcdef" * 4,
        "release_version": "1.2.0",
        "started_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "duration_seconds": 12.5,
        "results": results,
        "prompts": {"system": {"version": "1.1.0", "sha256": "deadbeef" * 8}},
    }
    return RunReport(**(values | changes))  # type: ignore[arg-type]


ALL = report(
    stage("prepare", StageStatus.CACHED, duration_seconds=0.0),
    stage(
        "unit_test",
        StageStatus.FAILED,
        findings=(Finding(severity="error", rule="test", message="a < b | `c`", file="tests/test_a.py", line=7),),
        artifacts={"junit": Path("x/junit.xml")},
        details={"coverage": 71.5},
    ),
    stage("security_scan", StageStatus.ERROR, details={"error": "bandit is missing", "hint": "install it"}),
    stage("build_image", StageStatus.SKIPPED, caused_by="unit_test"),
    stage("e2e_test", StageStatus.CANCELLED),
    stage("cost_gate", StageStatus.PASSED),
)


def test_markdown_shows_each_stage_and_each_prompt_with_the_first_8_hex_of_its_digest() -> None:
    text = render_markdown(ALL)
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    assert "❌ failed" in rows["unit_test"]
    assert "`junit`" in rows["unit_test"]
    assert "1.2s" in rows["unit_test"]
    assert "cached" in rows["prepare"]
    assert rows["system"] == "| system | 1.1.0 | `deadbeef` |"
    assert "deadbeefd" not in text
    assert all(name in rows for name in ("security_scan", "build_image", "e2e_test", "cost_gate"))


def test_markdown_cells_cannot_break_the_table() -> None:
    text = render_markdown(report(stage("a", StageStatus.PASSED, summary="x | y\n| z <b>`q`")))
    row = next(line for line in text.splitlines() if line.startswith("| a |"))
    assert row.replace("\\|", "").count("|") == 6
    assert "<b>" not in row.replace("\\<b\\>", "")


def test_json_has_each_stage_with_what_the_contract_names() -> None:
    wire = json.loads(json.dumps(report_to_wire(ALL)))
    assert [s["stage"] for s in wire["stages"]][:2] == ["prepare", "unit_test"]
    unit = wire["stages"][1]
    assert unit["status"] == "failed"
    assert unit["duration_seconds"] == 1.25
    assert unit["details"] == {"coverage": 71.5}
    assert unit["artifacts"] == {"junit": "x/junit.xml"}
    assert unit["findings"][0]["line"] == 7
    assert wire["status"] == "cancelled"
    assert wire["stages"][3]["caused_by"] == "unit_test"


def test_junit_tells_a_failure_from_an_error() -> None:
    suite = ElementTree.fromstring(render_junit(ALL)).find("testsuite")
    assert suite is not None
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "6", "failures": "1", "errors": "2", "skipped": "1",
    }  # fmt: skip
    inside = {case.get("name"): [child.tag for child in case] for case in suite.iter("testcase")}
    assert inside == {
        "prepare": ["system-out"],
        "unit_test": ["failure"],
        "security_scan": ["error"],
        "build_image": ["skipped"],
        "e2e_test": ["error"],
        "cost_gate": ["system-out"],
    }
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.text == "tests/test_a.py:7: error: a < b | `c` [test]"


@given(st.text(), st.text(), st.text())
def test_junit_is_well_formed_whatever_a_stage_says(summary: str, message: str, agent: str) -> None:
    finding = Finding(severity="error", rule="r", message=message)
    text = render_junit(report(stage("a", StageStatus.FAILED, summary=summary, findings=(finding,)), agent=agent))
    root = ElementTree.fromstring(text.encode())
    assert root.find("testsuite/testcase/failure") is not None


@given(st.text(), st.text())
def test_a_terminal_line_stays_one_line_and_in_the_window(summary: str, note: str) -> None:
    text = render_terminal(report(stage("a", StageStatus.PASSED, summary=summary), note=note), columns=60)
    rows = [line for line in text.splitlines() if line.startswith("✓")]
    assert len(rows) == 1
    assert len(rows[0]) <= 60


def test_what_an_agent_says_cannot_steer_the_terminal() -> None:
    finding = Finding(severity="error", rule="r", message="\x1b]0;owned\x07")
    hostile = stage("a", StageStatus.FAILED, summary="\x1b[2Jx", findings=(finding,), details={"hint": "\x9b31m"})
    text = render_terminal(report(hostile, note="\x1bc"), columns=80)
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in text.replace("\n", ""))


def test_the_terminal_says_what_went_wrong_where_to_read_and_how_to_go_on() -> None:
    failed = stage(
        "unit_test", StageStatus.FAILED, summary="2 failed", log=Path("logs/unit_test.log"), details={"hint": "mend it"}
    )
    text = render_terminal(report(failed), columns=100)
    assert "unit_test: 2 failed" in text
    assert "  mend it" in text
    assert "  log: logs/unit_test.log" in text
    assert "fairway run --resume 20260102-030405-abcdef" in text
    assert "\x1b" not in text
    assert "\x1b[31;1m" in render_terminal(report(failed), columns=100, colour=True)


@pytest.mark.parametrize(
    ("statuses", "verdict", "code"),
    [
        ([StageStatus.PASSED, StageStatus.CACHED, StageStatus.SKIPPED], "passed", 0),
        ([StageStatus.FAILED, StageStatus.SKIPPED], "failed", 1),
        ([StageStatus.FAILED, StageStatus.ERROR], "failed", 1),
        ([StageStatus.ERROR, StageStatus.PASSED], "error", 3),
        ([StageStatus.PASSED, StageStatus.CANCELLED], "cancelled", 130),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else str(value),
)
def test_the_verdict_and_the_exit_code_are_the_worst_that_is_certain(
    statuses: list[StageStatus], verdict: str, code: int
) -> None:
    whole = report(*(stage(f"s{i}", status) for i, status in enumerate(statuses)))
    assert (whole.verdict, whole.exit_code) == (verdict, code)


def test_a_result_comes_back_from_its_wire_form() -> None:
    for result in ALL.results:
        wire = json.loads(json.dumps(result_to_wire(result)))
        assert result_from_wire(wire) == result
