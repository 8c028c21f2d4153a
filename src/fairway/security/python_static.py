"""Static security of Python code by bandit, run apart on exactly the files of the release."""

from __future__ import annotations

import json
import posixpath
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fairway.security.command import ToolError, run_tool
from fairway.security.findings import SecurityFinding, Severity
from fairway.security.worker import not_parsed

BANDIT = (sys.executable, "-E", "-P", "-X", "utf8", "-m", "bandit")
"""``-P``: no module of the examined folder is imported in place of a real one (``-I`` would hide user installs)."""

_BATCH = 500
_FOUND_OR_NOT = (0, 1)
_SEVERITIES = {"LOW": Severity.LOW, "MEDIUM": Severity.MEDIUM, "HIGH": Severity.HIGH}
_PASSWORD_RULES = re.compile(r"^B10[567]$")
_NOSEC = re.compile(r"#\s*nosec\b:?\s*([^#]*)")
_TEST_ID = re.compile(r"^B[0-9]{3}$")
_COMMENT_IS_NONE = "; `# nosec` does not count in a release, a waiver does"
_QUOTED = re.compile(r"'.*'|\".*\"", re.DOTALL)


async def scan_python(
    root: Path, files: Sequence[str], *, timeout_seconds: float, command: Sequence[str] = BANDIT
) -> tuple[list[SecurityFinding], int]:
    """What bandit finds in files.

    Files are named one by one, so that neither a ``.bandit`` file nor an exclusion of the project hides one.

    Args:
        root: The examined content.
        files: Python code below it.
        timeout_seconds: Of each batch of files.
        command: How bandit is started.

    Returns:
        Findings, and how many places below HIGH a ``# nosec`` comment silences. It silences nothing at HIGH: a comment
        that anybody can write is no answer there, a waiver is.

    Raises:
        ToolError: bandit is missing, broke, or says what cannot be read.
    """
    findings: list[SecurityFinding] = []
    silenced = 0
    for start in range(0, len(files), _BATCH):
        batch = [f"./{file}" for file in files[start : start + _BATCH]]
        ended = await run_tool(
            [*command, "--format", "json", "--quiet", "--ignore-nosec", *batch],
            cwd=root,
            timeout_seconds=timeout_seconds,
        )
        if ended.code not in _FOUND_OR_NOT:
            raise ToolError(f"ended with {ended.code}: {ended.errors}")
        report = _report(ended.output, expected=len(batch))
        for finding, comment in _findings(report, root):
            if comment and finding.severity.rank < Severity.HIGH.rank:
                silenced += 1
            else:
                findings.append(replace(finding, message=finding.message + _COMMENT_IS_NONE) if comment else finding)
    return findings, silenced


def _report(output: bytes, *, expected: int) -> dict[str, Any]:
    try:
        report = json.loads(output)
        lists = [report["results"], report["errors"]]
        scanned = set(report["metrics"]) - {"_totals"}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ToolError("printed no report that can be read") from error
    if not all(isinstance(entries, list) for entries in lists) or len(scanned) + len(report["errors"]) < expected:
        raise ToolError(f"reported on {len(scanned)} of {expected} files")
    assert isinstance(report, dict)
    return report


def _findings(report: dict[str, Any], root: Path) -> Iterator[tuple[SecurityFinding, bool]]:
    """Findings, each with whether a comment in its lines is there to silence it."""
    try:
        for entry in report["errors"]:
            yield not_parsed(_relative(entry["filename"]), None), False
        for entry in report["results"]:
            finding = SecurityFinding(
                rule=str(entry["test_id"]),
                severity=_SEVERITIES.get(entry["issue_severity"], Severity.HIGH),
                file=_relative(entry["filename"]),
                line=int(entry["line_number"]),
                message=_message(entry),
                source="bandit",
            )
            yield finding, _is_silenced(entry, (root / finding.file).read_bytes().splitlines())
    except (KeyError, TypeError, ValueError) as error:
        raise ToolError("printed a finding that cannot be read") from error


def _is_silenced(entry: dict[str, Any], lines: Sequence[bytes]) -> bool:
    """Whether a line of a finding carries ``# nosec``, for everything or for this test."""
    names = {str(entry["test_id"]), str(entry.get("test_name", ""))}
    for number in {int(entry["line_number"]), *(int(line) for line in entry.get("line_range", ()))}:
        comment = _NOSEC.search(lines[number - 1].decode("utf-8", "replace")) if 0 < number <= len(lines) else None
        if comment is not None:
            named = set(re.findall(r"[\w-]+", comment.group(1) or ""))
            tests = {name for name in named if _TEST_ID.match(name)}
            if not tests or names & named:
                return True
    return False


def _relative(file: str) -> str:
    """Bandit puts ``./`` before what it is given, also before ``./``."""
    return posixpath.normpath(file)


def _message(entry: dict[str, Any]) -> str:
    """What is wrong, without the code. bandit quotes a hard-coded password in its text; we do not."""
    text = str(entry["issue_text"])
    if _PASSWORD_RULES.match(str(entry["test_id"])):
        text = _QUOTED.sub("(not shown)", text)
    confidence = str(entry.get("issue_confidence", "")).lower()
    return f"{text} (confidence {confidence})" if confidence else text
