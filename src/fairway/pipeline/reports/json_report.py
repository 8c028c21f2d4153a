"""The run for a program, version 1."""

from __future__ import annotations

from typing import Any

from fairway.pipeline.port import RunReport, StageResult
from fairway.pipeline.wire import finding_to_wire

REPORT_VERSION = 1


def report_to_wire(report: RunReport) -> dict[str, Any]:
    """A JSON-able value: the run, then ``stages`` with stage, status, duration_seconds, details, artifacts."""
    return {
        "version": REPORT_VERSION,
        "run_id": report.run_id,
        "agent": report.agent,
        "release": report.release,
        "release_version": report.release_version,
        "status": report.verdict,
        "started_at": report.started_at.isoformat(),
        "duration_seconds": round(report.duration_seconds, 3),
        "note": report.note,
        "prompts": {
            name: {"version": prompt.get("version", ""), "sha256": prompt.get("sha256", "")}
            for name, prompt in sorted(report.prompts.items())
        },
        "stages": [_stage(result) for result in report.results],
    }


def _stage(result: StageResult) -> dict[str, Any]:
    return {
        "stage": result.stage,
        "status": result.status.value,
        "duration_seconds": round(result.duration_seconds, 3),
        "summary": result.summary,
        "details": dict(result.details),
        "findings": [finding_to_wire(finding) for finding in result.findings],
        "artifacts": {name: str(path) for name, path in sorted(result.artifacts.items())},
        "caused_by": result.caused_by,
        "log": str(result.log) if result.log else None,
    }
