from __future__ import annotations

import pytest

from fairway.pipeline.port import StageStatus
from fairway.stages.lockfile import compare, read_lock

LOCK = """
# made by a tool
alpha==1.2.0 \\
    --hash=sha256:0000 \\
    --hash=sha256:1111
Beta_Pkg[extra]==2.0  # why
gamma==3.0 ; python_version < "3"
"""


async def test_what_is_installed_as_locked_passes(bench, venv) -> None:
    bench.commit({"requirements.lock": LOCK})
    bench.interpreter = venv({"alpha": "1.2", "beta-pkg": "2.0.0"})
    outcome = await bench.run("prepare")
    assert outcome.status is StageStatus.PASSED
    assert outcome.details["pins"] == 3


async def test_a_drifted_and_a_missing_package_fail_with_their_names(bench, venv) -> None:
    bench.commit({"requirements.lock": LOCK})
    bench.interpreter = venv({"alpha": "1.3.0"})
    outcome = await bench.run("prepare")
    assert outcome.status is StageStatus.FAILED
    assert [finding.rule for finding in outcome.findings] == ["lock/drifted", "lock/missing"]
    assert "alpha is 1.3.0, the lock file says 1.2.0" in outcome.summary
    assert "beta-pkg 2.0 is not installed" in outcome.summary
    assert outcome.details["hint"] == "pip install -r requirements.lock"
    assert [finding.line for finding in outcome.findings] == [3, 6]


async def test_a_requirement_that_is_not_pinned_fails(bench, venv) -> None:
    bench.commit({"requirements.lock": "alpha>=1\n"})
    bench.interpreter = venv({"alpha": "1.3.0"})
    outcome = await bench.run("prepare")
    assert outcome.status is StageStatus.FAILED
    assert outcome.findings[0].rule == "lock/not-pinned"


async def test_a_missing_tool_fails_with_its_name(bench) -> None:
    bench.commit(settings="prepare: {tools: [git, no-such-tool-here]}")
    outcome = await bench.run("prepare")
    assert outcome.status is StageStatus.FAILED
    assert outcome.summary == "no-such-tool-here is not installed"


async def test_another_python_than_the_project_asks_for_fails(bench) -> None:
    bench.commit(settings='prepare: {python: "2.7"}')
    outcome = await bench.run("prepare")
    assert outcome.status is StageStatus.FAILED
    assert "prepare.python says 2.7" in outcome.summary


async def test_without_a_lock_file_nothing_is_compared_and_that_is_said(bench) -> None:
    bench.commit()
    outcome = await bench.run("prepare")
    assert outcome.status is StageStatus.PASSED
    assert "no lock file, nothing compared" in outcome.summary


def test_installing_a_package_changes_the_key_of_every_stage_that_runs_code(bench, venv) -> None:
    bench.commit()
    bench.interpreter = venv({"alpha": "1.0"})
    before = bench.key("unit_test")
    site = next((bench.interpreter.python.parent.parent).glob("lib/python3*/site-packages"))
    (site / "beta-1.0.dist-info").mkdir()
    assert bench.key("unit_test") != before


@pytest.mark.parametrize(
    ("installed", "locked", "same"),
    [
        ("1.2", "1.2.0", True),
        ("1.2.0+cpu", "1.2.0", True),
        ("1.2.0", "1.2.1", False),
        ("v1.0", "1.0", True),
        ("1.20", "1.2", False),
    ],
)
def test_versions_are_equal_but_for_spelling(installed: str, locked: str, same: bool) -> None:
    pins, _ = read_lock(f"a=={locked}", file="r")
    assert (compare(pins, {"a": installed}, file="r") == ()) is same


def test_a_requirement_by_url_is_told_and_decides_nothing() -> None:
    pins, findings = read_lock(
        "a @ https://example.org/a.whl\n-e .\n--index-url https://example.org/simple\n", file="r"
    )
    assert pins == ()
    assert [(finding.severity, finding.line) for finding in findings] == [("warning", 1), ("warning", 2)]
