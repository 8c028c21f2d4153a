"""What a test run left behind, read strictly: JUnit XML and coverage.py's JSON."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from fairway.pipeline.port import Finding

_MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class TestCounts:
    """How many tests there were, and which did not pass."""

    __test__ = False  # not a test class, whatever its name says

    total: int
    failed: int
    errors: int
    skipped: int
    findings: tuple[Finding, ...] = ()

    @property
    def passed(self) -> int:
        """Tests that ran and passed."""
        return self.total - self.failed - self.errors - self.skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Shares in percent: of the whole, and of each module with something to cover."""

    total: float
    modules: Mapping[str, float]


def read_junit(file: Path) -> TestCounts | None:
    """Counts and findings of a JUnit file; ``None`` when it is not there or not readable."""
    try:
        if file.stat().st_size > _MAX_BYTES:
            return None
        root = ElementTree.parse(file).getroot()  # noqa: S314 - written by the project's own tests on this machine
    except (OSError, ElementTree.ParseError):
        return None
    cases = list(root.iter("testcase"))
    tags = [{child.tag for child in case} for case in cases]
    bad = [_finding(case) for case, inside in zip(cases, tags, strict=True) if inside & {"failure", "error"}]
    return TestCounts(
        total=len(cases),
        failed=sum("failure" in inside for inside in tags),
        errors=sum("error" in inside and "failure" not in inside for inside in tags),
        skipped=sum("skipped" in inside and not inside & {"failure", "error"} for inside in tags),
        findings=tuple(bad),
    )


def _finding(case: ElementTree.Element) -> Finding:
    name = "::".join(part for part in (case.get("classname"), case.get("name")) if part)
    problem = next(child for child in case if child.tag in ("failure", "error"))
    said = (problem.get("message") or problem.text or "").strip().splitlines()
    line = case.get("line")
    return Finding(
        severity="error",
        rule=f"test/{problem.tag}",
        message=f"{name}: {said[0]}" if said else name,
        file=case.get("file") or _file_of(case.get("classname")),
        line=int(line) + 1 if line and line.isdigit() else None,
    )


def _file_of(classname: str | None) -> str | None:
    """``tests.unit.test_a.TestB`` as ``tests/unit/test_a.py``."""
    if not classname:
        return None
    parts = classname.split(".")
    while parts and parts[-1][:1].isupper():
        parts.pop()
    return "/".join(parts) + ".py" if parts else None


def read_coverage(file: Path, *, omit: Sequence[str] = ()) -> Coverage | None:
    """Shares of a coverage.py JSON report; ``None`` when it is not there, not readable, or measured nothing.

    Args:
        file: The report.
        omit: Globs of modules that do not count; the total is then taken anew over the rest.
    """
    try:
        report = json.loads(file.read_bytes())
        files = {str(name): entry["summary"] for name, entry in report["files"].items()}
        kept = {name: summary for name, summary in files.items() if not any(fnmatch(name, glob) for glob in omit)}
        counted = {name: _counts(summary) for name, summary in kept.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    covered = sum(done for done, _ in counted.values())
    whole = sum(all_of for _, all_of in counted.values())
    if whole == 0:
        return None
    return Coverage(
        total=100 * covered / whole,
        modules={name: 100 * done / all_of for name, (done, all_of) in sorted(counted.items()) if all_of},
    )


def _counts(summary: Mapping[str, int]) -> tuple[int, int]:
    """Covered and all of what can be covered: lines, and branches where they were measured."""
    covered = int(summary["covered_lines"]) + int(summary.get("covered_branches", 0))
    return covered, int(summary["num_statements"]) + int(summary.get("num_branches", 0))
