"""All scanners over the files of a release, at the same time."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from fairway.security.command import ToolError, run_tool
from fairway.security.findings import SecurityFinding, finding_from_json, in_order
from fairway.security.gate import ScanResult
from fairway.security.python_static import BANDIT, scan_python

WORKER = (sys.executable, "-E", "-P", "-X", "utf8", "-m", "fairway.security.worker")
_PYTHON_SUFFIXES = (".py", ".pyw")


async def scan_release(
    root: Path,
    files: Sequence[str],
    *,
    timeout_seconds: float = 120.0,
    worker: Sequence[str] = WORKER,
    bandit: Sequence[str] = BANDIT,
) -> ScanResult:
    """Scan the files of a release.

    Args:
        root: Folder that holds them.
        files: Their paths below it.
        timeout_seconds: Of each scanner.
        worker: How the scan for secrets and environment dumps is started.
        bandit: How bandit is started.

    Returns:
        Findings of every scanner that worked; one that is missing or broke is named in ``broken``.
    """
    python = [file for file in files if not (root / file).is_symlink() and _is_python(root / file)]
    own = asyncio.create_task(_own_scan(root, files, python, timeout_seconds, worker))
    static = asyncio.create_task(scan_python(root, python, timeout_seconds=timeout_seconds, command=bandit))
    try:
        await asyncio.wait([own, static])
    finally:
        for task in (own, static):
            task.cancel()
        await asyncio.gather(own, static, return_exceptions=True)
    findings: list[SecurityFinding] = []
    partly: list[str] = []
    broken: list[str] = []
    silenced = 0
    try:
        found, partly = own.result()
        findings += found
    except ToolError as error:
        broken.append(f"secret scan: {error}")
    try:
        found, silenced = static.result()
        findings += found
    except ToolError as error:
        broken.append(f"bandit: {error}")
    return ScanResult(
        findings=in_order(findings),
        scanned=len(files),
        partly=tuple(partly),
        broken=tuple(broken),
        silenced=silenced,
    )


def _is_python(path: Path) -> bool:
    """By its ending, or by the first line of a script."""
    if path.name.endswith(_PYTHON_SUFFIXES):
        return True
    if path.suffix or not path.is_file():
        return False
    with path.open("rb") as file:
        first = file.read(120).split(b"\n", 1)[0]
    return first.startswith(b"#!") and b"python" in first


async def _own_scan(
    root: Path, files: Sequence[str], python: Sequence[str], timeout_seconds: float, command: Sequence[str]
) -> tuple[list[SecurityFinding], list[str]]:
    job = json.dumps({"root": str(root), "files": list(files), "python": list(python)}).encode()
    ended = await run_tool(command, cwd=root, timeout_seconds=timeout_seconds, stdin=job)
    if ended.code != 0:
        raise ToolError(f"ended with {ended.code}: {ended.errors}")
    try:
        report = json.loads(ended.output)
        findings = [finding_from_json(entry) for entry in report["findings"]]
        return findings, [str(file) for file in report["partly"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ToolError("printed no report that can be read") from error
