"""The scan of files in a process of its own: a job on stdin, findings on stdout, both JSON.

Apart from the program that asks, because scanners keep global settings and take processor time, and so that a scan
can be ended at once. Started with ``-P``: nothing in the examined folder is ever imported.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fairway.security.environment_dumps import find_environment_dumps
from fairway.security.findings import SecurityFinding, Severity
from fairway.security.secrets import LARGEST_FILE, scan_secrets


def scan_job(root: Path, files: Sequence[str], python: Sequence[str]) -> dict[str, Any]:
    """Findings about files, as JSON.

    Args:
        root: The examined content.
        files: Looked through for secrets.
        python: Of them, Python code.
    """
    findings, partly = scan_secrets(root, files)
    for file in python:
        findings += _environment_dumps(root, file)
    return {"findings": [finding.to_json() for finding in findings], "partly": partly}


def _environment_dumps(root: Path, file: str) -> list[SecurityFinding]:
    path = root / file
    if path.is_symlink():
        return []
    if path.stat().st_size > LARGEST_FILE:
        return [_too_large(file)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an odd escape in the examined code is not this program's affair
            return find_environment_dumps(path.read_bytes().decode("utf-8-sig"), file)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = error.lineno if isinstance(error, SyntaxError) else None
        return [not_parsed(file, line)]


def _too_large(file: str) -> SecurityFinding:
    """Code nobody looked at is not safe either."""
    return SecurityFinding(
        rule="scan/too-large",
        severity=Severity.HIGH,
        file=file,
        line=None,
        message=f"is Python of more than {LARGEST_FILE >> 20} MiB, so it was not looked at for environment dumps",
        source="fairway",
    )


def not_parsed(file: str, line: int | None) -> SecurityFinding:
    """A file that could not be read as Python: not scanned is not safe."""
    return SecurityFinding(
        rule="scan/not-parsed",
        severity=Severity.HIGH,
        file=file,
        line=line,
        message="is not Python that this interpreter can parse, so it was not scanned",
        source="fairway",
    )


def main() -> int:
    """Read a job, write what was found."""
    job = json.load(sys.stdin)
    result = scan_job(Path(job["root"]), job["files"], job["python"])
    sys.stdout.write(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
