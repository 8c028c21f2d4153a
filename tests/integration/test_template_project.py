"""The plain template as a project of its own: its tests, their coverage, its lint, its files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fairway.bundle.lint import lint
from fairway.project.load import load_project
from fairway.scaffold import DEMO_VERSIONS, demo_changes, make_project


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("template") / "shop", commit=False).directory


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("COV_", "PYTEST_", "FAIRWAY_"))
    }
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=root,
        env=inherited,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_its_tests_pass_and_cover_it(root: Path) -> None:
    result = run(root, "pytest", "-q", "-p", "no:cacheprovider", "--cov=support", "--cov-report=json")
    assert result.returncode == 0, result.stdout[-2000:]
    report = json.loads((root / "coverage.json").read_text())
    (root / "coverage.json").unlink()
    assert report["totals"]["percent_covered"] >= 95
    assert all(one["summary"]["percent_covered"] >= 85 for one in report["files"].values())


def test_its_code_is_clean(root: Path) -> None:
    assert run(root, "ruff", "check", "--no-cache", ".").returncode == 0
    assert run(root, "ruff", "format", "--no-cache", "--check", ".").returncode == 0
    bandit = run(root, "bandit", "-q", "-r", "support")
    assert bandit.returncode == 0, bandit.stdout


def test_lint_has_nothing_to_say_about_it_or_any_change_of_the_demo(tmp_path: Path) -> None:
    root = make_project(tmp_path / "shop", commit=False).directory
    assert lint(load_project(root), for_release=True) == ()
    for version in DEMO_VERSIONS:
        demo_changes(root, version)
        assert lint(load_project(root), for_release=True) == ()
