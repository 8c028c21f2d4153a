"""What findings mean for a release: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fairway.security.findings import SecurityFinding, Severity
from fairway.security.waivers import Waiver, Waivers
from fairway.units import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanResult:
    """What the scanners found.

    Attributes:
        scanned: Files that were looked at.
        partly: Of them, files so large that only the shapes of secrets were looked for.
        broken: Scanners that are missing or broke, and how.
        silenced: Places below HIGH where a ``# nosec`` comment keeps bandit quiet.
    """

    findings: tuple[SecurityFinding, ...]
    scanned: int
    partly: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    silenced: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityVerdict:
    """The gate's verdict.

    Attributes:
        blocked: A finding that is CRITICAL and not waived: the release must not go out by any way.
        blocking: Findings at the threshold or above that are not waived.
        waived: Findings somebody answers for, with the waiver.
        rest: Findings below the threshold.
    """

    verdict: Verdict
    blocked: bool
    reason: str
    blocking: tuple[SecurityFinding, ...] = ()
    waived: tuple[tuple[SecurityFinding, Waiver], ...] = ()
    rest: tuple[SecurityFinding, ...] = ()


def judge_scan(scan: ScanResult, waivers: Waivers, *, threshold: Severity = Severity.HIGH) -> SecurityVerdict:
    """Decide whether a release may go on.

    FAIL on a finding at the threshold that is not waived - also when a scanner broke besides -, ERROR when a scanner is
    missing or broke, NO_DATA when there was nothing to scan, else PASS.
    """
    pairs = [(finding, waivers.covering(finding)) for finding in scan.findings]
    waived = tuple((finding, waiver) for finding, waiver in pairs if waiver is not None)
    open_ = [finding for finding, waiver in pairs if waiver is None]
    blocking = tuple(finding for finding in open_ if finding.severity.rank >= threshold.rank)
    blocked = any(finding.severity is Severity.CRITICAL for finding in open_)
    verdict, reason = _decide(scan, blocking, threshold)
    rest = tuple(finding for finding in open_ if finding.severity.rank < threshold.rank)
    return SecurityVerdict(verdict=verdict, blocked=blocked, reason=reason, blocking=blocking, waived=waived, rest=rest)


def _decide(scan: ScanResult, blocking: Sequence[SecurityFinding], threshold: Severity) -> tuple[Verdict, str]:
    if blocking:
        first = blocking[0]
        place = first.file if first.line is None else f"{first.file}:{first.line}"
        more = f" and {len(blocking) - 1} more" if len(blocking) > 1 else ""
        return Verdict.FAIL, f"{first.severity} at {place}: {first.message}{more}"
    if scan.broken:
        return Verdict.ERROR, f"the scan is not complete: {'; '.join(scan.broken)}"
    if not scan.scanned:
        return Verdict.NO_DATA, "there was no file to scan"
    return Verdict.PASS, f"{scan.scanned} files scanned, nothing at {threshold} or above"


def report_json(scan: ScanResult, found: SecurityVerdict, waivers: Waivers) -> dict[str, Any]:
    """The report as a file carries it; ``issues`` is what is open, as other scanners write it."""
    open_ = [*found.blocking, *found.rest]
    return {
        "version": 1,
        "verdict": found.verdict.value,
        "status": "BLOCKED" if found.blocked else found.verdict.value,
        "reason": found.reason,
        "counts": {severity.value: sum(f.severity is severity for f in open_) for severity in Severity},
        "scanned": scan.scanned,
        "partly_scanned": list(scan.partly),
        "broken": list(scan.broken),
        "silenced_by_nosec": scan.silenced,
        "issues": [finding.to_json() for finding in open_],
        "waived": [
            finding.to_json() | {"owner": waiver.owner, "reason": waiver.reason, "expires": waiver.expires.isoformat()}
            for finding, waiver in found.waived
        ],
        "void_waivers": list(waivers.void),
    }
