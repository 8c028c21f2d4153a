"""Secrets, Python security and environment dumps in the files of the release."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

from fairway.bundle.files import SUBMODULE, SYMLINK
from fairway.pipeline.port import Finding, StageOutcome, StageStatus
from fairway.release.values import Evidence
from fairway.section import Duration
from fairway.security.findings import SecurityFinding, Severity
from fairway.security.gate import ScanResult, SecurityVerdict, judge_scan, report_json
from fairway.security.scan import scan_release
from fairway.security.waivers import WAIVERS_FILE, Waivers, earliest_expiry, read_waivers
from fairway.stages.config import StageSection
from fairway.stages.context import DeliveryContext
from fairway.units import Verdict

_MOST_FINDINGS = 100
_STATUS = {Verdict.PASS: StageStatus.PASSED, Verdict.FAIL: StageStatus.FAILED, Verdict.NO_DATA: StageStatus.FAILED}


class SecurityScanSection(StageSection):
    """The scan.

    Attributes:
        threshold: Findings of this severity or worse fail the stage, unless waived.
        timeout: Of each scanner.
    """

    threshold: Severity = Severity.HIGH
    timeout: Duration = 120.0


class SecurityScan:
    """Scans the release's files; a scanner that is missing or breaks is an error, never a pass."""

    id = "security_scan"
    title = "Security scan"
    after = ("prepare",)

    def cache_key(self, context: DeliveryContext) -> str | None:
        """The registry's."""
        return context.opening.node.key(context)

    async def run(self, context: DeliveryContext) -> StageOutcome:
        """Scan and decide."""
        settings = context.settings(SecurityScanSection)
        bundle = context.bundle
        content = bundle.read(WAIVERS_FILE) if bundle.find(WAIVERS_FILE) else b""
        waivers = read_waivers(content, today=context.clock.now().astimezone(UTC).date())
        tree = await context.tree(instrument=False)
        files = [file.path for file in bundle.release_files() if file.mode not in (SYMLINK, SUBMODULE)]
        context.progress(f"scanning {len(files)} files")
        scan = await scan_release(tree, files, timeout_seconds=settings.timeout)
        found = judge_scan(scan, waivers, threshold=settings.threshold)
        report = context.workdir / "security.json"
        report.write_text(json.dumps(report_json(scan, found, waivers), indent=2) + "\n", encoding="utf-8")
        figures = _figures(scan, found)
        return StageOutcome(
            status=_STATUS.get(found.verdict, StageStatus.ERROR),
            summary=f"BLOCKED: {found.reason}" if found.blocked else found.reason,
            details={**figures, "verdict": found.verdict.value, "broken": list(scan.broken)},
            findings=_findings(scan, found, waivers),
            evidence=(_evidence(context, found, figures),),
            artifacts={"security.json": report},
        )


def _figures(scan: ScanResult, found: SecurityVerdict) -> dict[str, object]:
    open_ = (*found.blocking, *found.rest)
    counts = {severity.value.lower(): sum(f.severity is severity for f in open_) for severity in Severity}
    return {
        **counts,
        "waived": len(found.waived),
        "scanned": scan.scanned,
        "partly_scanned": len(scan.partly),
        "silenced_by_nosec": scan.silenced,
        "blocked": found.blocked,
    }


def _evidence(context: DeliveryContext, found: SecurityVerdict, figures: dict[str, object]) -> Evidence:
    """Evidence that rests on waivers counts no longer than they do."""
    evidence = context.found(found.verdict, figures=figures)
    last = earliest_expiry([waiver for _, waiver in found.waived])
    if last is None:
        return evidence
    return replace(evidence, expires=datetime.combine(last + timedelta(days=1), time(), tzinfo=UTC))


def _findings(scan: ScanResult, found: SecurityVerdict, waivers: Waivers) -> tuple[Finding, ...]:
    listed = [_finding(finding, "error") for finding in found.blocking]
    listed += [_finding(f, "warning" if f.severity is Severity.MEDIUM else "note") for f in found.rest]
    # what does not count or was not looked at is said before the long tail of small things
    said = [Finding(severity="error", rule="scan/broken", message=problem) for problem in scan.broken]
    said += [Finding(severity="warning", rule="waiver/void", message=text) for text in waivers.void]
    said += [
        Finding(
            severity="note", rule="scan/partly", message="is so large that only keys are looked for in it", file=file
        )
        for file in scan.partly
    ]
    worst = len(found.blocking)
    return (*listed[:worst], *said, *listed[worst:])[: max(_MOST_FINDINGS, worst + len(said))]


def _finding(finding: SecurityFinding, severity: str) -> Finding:
    hint = None
    if severity == "error":
        hint = f"mend it, or let somebody answer for it in {WAIVERS_FILE}: rule {finding.rule}, owner, reason, expires"
    return Finding(
        severity=severity,
        rule=finding.rule,
        message=f"{finding.severity}: {finding.message}",
        file=finding.file,
        line=finding.line,
        hint=hint,
    )
