from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from fairway.errors import ProjectFileError
from fairway.pipeline.port import StageStatus
from fairway.stages import security_scan
from fairway.stages.security_scan import SecurityScan
from fairway.units import Verdict

SHELL = "import subprocess\n\n\ndef run(line):\n    subprocess.run(line, shell=True)\n"
KEY = "sk-" + "proj-" + "Zk4hT9wQx2LmN8vB5cRt7yUi"


def waiver(expires: str, owner: str = "owner: shop team") -> str:
    return (
        f"waivers:\n  - rule: B602\n    file: app.py\n    {owner}\n    reason: fixed input\n    expires: '{expires}'\n"
    )


async def test_a_clean_project_passes_with_evidence_and_a_report(bench):
    bench.commit()
    outcome = await bench.run(SecurityScan())
    (evidence,) = outcome.evidence
    assert outcome.status is StageStatus.PASSED
    assert (evidence.kind, evidence.verdict, evidence.expires) == ("security_scan", Verdict.PASS, None)
    report = json.loads(outcome.artifacts["security.json"].read_text())
    assert (report["status"], report["issues"], report["scanned"]) == ("PASS", [], 2)


async def test_a_finding_at_high_fails_and_names_the_place(bench):
    bench.write_at("app.py", SHELL)
    bench.commit()
    outcome = await bench.run(SecurityScan())
    errors = [finding for finding in outcome.findings if finding.severity == "error"]
    assert outcome.status is StageStatus.FAILED
    assert [(finding.rule, finding.file, finding.line) for finding in errors] == [("B602", "app.py", 5)]
    assert "policies/waivers.yaml" in (errors[0].hint or "")
    assert not outcome.details["blocked"]


async def test_a_committed_key_blocks_and_is_in_no_report(bench):
    bench.write_at("settings.py", f'KEY = "{KEY}"\n')
    bench.commit()
    outcome = await bench.run(SecurityScan())
    assert outcome.status is StageStatus.FAILED
    assert outcome.summary.startswith("BLOCKED: CRITICAL at settings.py:1")
    assert outcome.details["blocked"]
    assert KEY not in repr(outcome)
    assert KEY not in outcome.artifacts["security.json"].read_text()


async def test_tests_and_suites_are_no_part_of_the_release_and_are_not_scanned(bench):
    bench.write_at("tests/test_app.py", SHELL)
    bench.write_at("evals/suites/a.yaml", f"- {{id: a, input: '{KEY}', max_tokens: 9}}\n")
    bench.commit()
    assert (await bench.run(SecurityScan())).status is StageStatus.PASSED


async def test_a_waiver_lets_it_pass_until_it_expires_and_so_does_the_evidence(bench):
    until = datetime.now(UTC).date() + timedelta(days=30)
    bench.write_at("app.py", SHELL)
    bench.write_at("policies/waivers.yaml", waiver(until.isoformat()))
    bench.commit()
    outcome = await bench.run(SecurityScan())
    assert outcome.status is StageStatus.PASSED
    assert outcome.details["waived"] == 1
    expires = outcome.evidence[0].expires
    assert expires is not None
    assert expires.date() == until + timedelta(days=1)


@pytest.mark.parametrize("text", [waiver("2020-01-01"), waiver("2099-01-01", owner="# nobody")])
async def test_a_void_waiver_does_not_count_and_is_told(bench, text):
    bench.write_at("app.py", SHELL)
    bench.write_at("policies/waivers.yaml", text)
    bench.commit()
    outcome = await bench.run(SecurityScan())
    assert outcome.status is StageStatus.FAILED
    assert "waiver/void" in {finding.rule for finding in outcome.findings}


async def test_a_wrong_waivers_file_is_the_persons_to_mend(bench):
    bench.write_at("policies/waivers.yaml", "waivers:\n  - rule: B602\n    fil: app.py\n")
    bench.commit()
    with pytest.raises(ProjectFileError):
        await bench.run(SecurityScan())


async def test_a_missing_scanner_is_an_error_and_never_a_pass(bench, monkeypatch):
    async def scan_release(root, files, **options):
        return await real(root, files, bandit=("no-such-program-anywhere",), **options)

    real = security_scan.scan_release
    monkeypatch.setattr(security_scan, "scan_release", scan_release)
    bench.commit()
    outcome = await bench.run(SecurityScan())
    assert outcome.status is StageStatus.ERROR
    assert outcome.evidence[0].verdict is Verdict.ERROR
    assert "bandit: no-such-program-anywhere cannot be started" in outcome.summary


async def test_the_threshold_is_the_projects_to_choose(bench):
    text = (bench.root / "fairway.yaml").read_text()
    bench.write_at("fairway.yaml", text + "pipeline: {stages: {security_scan: {threshold: LOW}}}\n")
    bench.write_at("app.py", "assert True\n")
    bench.commit()
    assert (await bench.run(SecurityScan())).status is StageStatus.FAILED
    bench.write_at("fairway.yaml", text + "pipeline: {stages: {security_scan: {threshold: HIHG}}}\n")
    bench.commit()
    with pytest.raises(ProjectFileError, match="HIGH"):
        await bench.run(SecurityScan())
