from __future__ import annotations

from datetime import date

import pytest

from fairway.errors import ProjectFileError
from fairway.security.findings import SecurityFinding, Severity, in_order
from fairway.security.gate import ScanResult, judge_scan, report_json
from fairway.security.waivers import Waivers, earliest_expiry, read_waivers
from fairway.units import Verdict

TODAY = date(2026, 11, 20)


def finding(severity: Severity = Severity.HIGH, **changes) -> SecurityFinding:
    fields = {"rule": "B602", "file": "app/run.py", "line": 3, "message": "shell", "source": "bandit"}
    return SecurityFinding(severity=severity, **(fields | changes))


def waivers(text: str) -> Waivers:
    return read_waivers(text.encode(), today=TODAY)


def entry(**changes: str | None) -> str:
    fields = {
        "rule": "B602",
        "file": "app/*.py",
        "owner": "shop team",
        "reason": "fixed input",
        "expires": "'2026-11-20'",
    }
    kept = {name: value for name, value in (fields | changes).items() if value is not None}
    return "waivers:\n  - " + "\n    ".join(f"{name}: {value}" for name, value in kept.items()) + "\n"


def scan(*findings: SecurityFinding, **changes) -> ScanResult:
    return ScanResult(**({"findings": in_order(list(findings)), "scanned": 5} | changes))


def test_a_waiver_with_owner_reason_and_a_day_in_the_future_or_today_counts():
    found = judge_scan(scan(finding()), waivers(entry()))
    assert found.verdict is Verdict.PASS
    assert [waiver.owner for _, waiver in found.waived] == ["shop team"]
    assert earliest_expiry(waivers(entry()).active) == TODAY
    assert earliest_expiry([]) is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"owner": None}, "no owner"),
        ({"owner": "' '"}, "no owner"),
        ({"reason": None}, "no reason"),
        ({"expires": None}, "no expires"),
        ({"expires": "'2026-11-19'"}, "expired on 2026-11-19"),
    ],
)
def test_an_expired_or_ownerless_waiver_does_not_count_and_is_told(changes, why):
    read = waivers(entry(**changes))
    assert judge_scan(scan(finding()), read).verdict is Verdict.FAIL
    assert why in read.void[0]
    assert read.void[0].startswith("policies/waivers.yaml:2:")


@pytest.mark.parametrize("changes", [{"rule": "B60"}, {"rule": '"*"'}, {"rule": '"B*"'}, {"file": "other.py"}])
def test_a_waiver_of_something_else_does_not_count(changes):
    assert judge_scan(scan(finding()), waivers(entry(**changes))).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (entry(expires="'soon'"), "waivers[0].expires"),
        (entry(expires="'2026-02-30'"), "waivers[0].expires"),
        (entry(owners="x"), "waivers[0].owners"),
        (entry(rule=None), "waivers[0].rule"),
        ("- a\n", None),
        ("waivers: 3\n", "waivers"),
    ],
)
def test_a_wrong_file_names_the_place(text, key):
    with pytest.raises(ProjectFileError) as caught:
        waivers(text)
    assert caught.value.file == "policies/waivers.yaml"
    assert caught.value.key == key


def test_an_empty_file_waives_nothing():
    assert waivers("") == Waivers()


@pytest.mark.parametrize(
    ("result", "verdict", "blocked"),
    [
        pytest.param(scan(), Verdict.PASS, False, id="clean"),
        pytest.param(scan(finding(Severity.LOW), finding(Severity.MEDIUM)), Verdict.PASS, False, id="below-high"),
        pytest.param(scan(finding(Severity.HIGH)), Verdict.FAIL, False, id="high"),
        pytest.param(scan(finding(Severity.CRITICAL)), Verdict.FAIL, True, id="critical-blocks"),
        pytest.param(scan(broken=("bandit: missing",)), Verdict.ERROR, False, id="a-broken-scanner-is-no-pass"),
        pytest.param(
            scan(finding(), broken=("bandit: missing",)), Verdict.FAIL, False, id="what-was-found-stays-found"
        ),
        pytest.param(scan(scanned=0), Verdict.NO_DATA, False, id="nothing-scanned"),
        pytest.param(scan(scanned=0, broken=("x: y",)), Verdict.ERROR, False, id="nothing-scanned-because-broken"),
    ],
)
def test_the_gate_decides_as_the_table_says(result, verdict, blocked):
    found = judge_scan(result, Waivers())
    assert (found.verdict, found.blocked) == (verdict, blocked)
    assert found.reason


def test_findings_are_told_once_and_the_worst_first():
    low, critical = finding(Severity.LOW, file="a.py"), finding(Severity.CRITICAL, file="z.py")
    assert in_order([low, critical, low]) == (critical, low)


def test_the_report_says_what_is_open_and_what_is_waived():
    result = scan(finding(Severity.CRITICAL, rule="x"), finding(), partly=("big.bin",))
    read = waivers(entry())
    report = report_json(result, judge_scan(result, read), read)
    assert (report["status"], report["verdict"]) == ("BLOCKED", "FAIL")
    assert [issue["rule"] for issue in report["issues"]] == ["x"]
    assert [(issue["rule"], issue["owner"]) for issue in report["waived"]] == [("B602", "shop team")]
    assert report["counts"]["CRITICAL"] == 1
    assert report["partly_scanned"] == ["big.bin"]
