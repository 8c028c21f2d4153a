"""Stage results as JSON-able values, for the cache, the run's journal and the JSON report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairway.pipeline.port import Finding, StageResult, StageStatus
from fairway.release.wire import evidence_from_wire, evidence_to_wire

_FINDING_OPTIONAL = ("file", "line", "column", "hint")


def finding_to_wire(finding: Finding) -> dict[str, Any]:
    """A JSON-able finding; what is not known is left out."""
    wire: dict[str, Any] = {"severity": finding.severity, "rule": finding.rule, "message": finding.message}
    for name in _FINDING_OPTIONAL:
        if (value := getattr(finding, name)) is not None:
            wire[name] = value
    return wire


def result_to_wire(result: StageResult, *, folder: Path | None = None) -> dict[str, Any]:
    """A JSON-able result.

    Args:
        result: What to write.
        folder: Paths below it are written relative to it, so that the folder can move.
    """
    return {
        "stage": result.stage,
        "status": result.status.value,
        "duration_seconds": round(result.duration_seconds, 6),
        "summary": result.summary,
        "details": dict(result.details),
        "findings": [finding_to_wire(finding) for finding in result.findings],
        "artifacts": {name: _relative(path, folder) for name, path in result.artifacts.items()},
        "evidence": [evidence_to_wire(evidence) for evidence in result.evidence],
        "caused_by": result.caused_by,
        "log": _relative(result.log, folder) if result.log else None,
    }


def result_from_wire(wire: Mapping[str, Any], *, folder: Path | None = None) -> StageResult:
    """Read a result; relative paths are taken below ``folder``.

    Raises:
        ValueError, KeyError, TypeError, UserError: When it is malformed.
    """
    return StageResult(
        stage=str(wire["stage"]),
        status=StageStatus(wire["status"]),
        duration_seconds=float(wire["duration_seconds"]),
        summary=str(wire["summary"]),
        details=dict(wire["details"]),
        findings=tuple(Finding(**finding) for finding in wire["findings"]),
        artifacts={name: _absolute(path, folder) for name, path in wire["artifacts"].items()},
        evidence=tuple(evidence_from_wire(evidence) for evidence in wire["evidence"]),
        caused_by=wire["caused_by"],
        log=_absolute(wire["log"], folder) if wire["log"] else None,
    )


def _relative(path: Path, folder: Path | None) -> str:
    return str(path.relative_to(folder)) if folder is not None and path.is_relative_to(folder) else str(path)


def _absolute(path: str, folder: Path | None) -> Path:
    return folder / path if folder is not None else Path(path)
