"""The template agent through the stages that judge prompts, security and cost, with the real service and mock model."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fairway.scaffold import demo_changes, make_project
from fairway.security.findings import Severity
from fairway.security.scan import scan_release


def git(root: Path, *arguments: str) -> str:
    name = ("-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *name, *arguments], cwd=root, check=True, capture_output=True, text=True).stdout


def run_stage(root: Path, stage: str) -> dict:
    folder = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": os.pathsep.join((folder, os.environ["PATH"]))}
    command = [sys.executable, "-m", "fairway", "run", "--only", stage, "-o", "json"]
    ended = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode in (0, 1), ended.stderr[-2000:]
    (result,) = [one for one in json.loads(ended.stdout)["stages"] if one["stage"] == stage]
    return result


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = make_project(tmp_path / "shop", commit=False).directory
    if not (root / ".git").exists():
        git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "first")
    git(root, "tag", "v1.0.0")
    return root


@pytest.mark.slow
def test_the_template_passes_and_a_prompt_that_drops_a_rule_is_stopped_with_the_rule_named(project: Path):
    good = run_stage(project, "prompt_regression")
    assert good["status"] == "passed", good
    assert good["details"]["pass_rate"] == 1.0
    assert good["details"]["tool_accuracy"] == 1.0
    demo_changes(project, "1.3.0")
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "refunds without friction")
    bad = run_stage(project, "prompt_regression")
    assert bad["status"] == "failed"
    assert bad["details"]["instrument"] == good["details"]["instrument"]
    hints = [finding["hint"] for finding in bad["findings"] if "refund" in finding["message"]]
    assert "the prompts lost the rule it protects: Never promise a refund before you have looked up the order." in hints


@pytest.mark.slow
def test_the_template_is_clean_and_within_its_budgets(project: Path):
    assert run_stage(project, "security_scan")["status"] == "passed"
    assert run_stage(project, "cost_gate")["status"] == "passed"


def test_the_template_is_scanned_in_3_seconds_and_nothing_is_found(project: Path):
    files = [name for name in git(project, "ls-files").splitlines() if not name.startswith(("tests/", "evals/"))]
    seconds = []
    for _ in range(3):  # other work on the machine can only make it slower: the best of three counts
        began = time.monotonic()
        result = asyncio.run(scan_release(project, files))
        seconds.append(time.monotonic() - began)
        if seconds[-1] <= 3:
            break
    assert [finding for finding in result.findings if finding.severity is not Severity.LOW] == []
    assert result.broken == ()
    assert min(seconds) <= 3
