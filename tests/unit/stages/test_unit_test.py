from __future__ import annotations

import json

import pytest

from fairway.pipeline.port import StageStatus
from fairway.stages.config import UnitTestSection
from fairway.stages.reports_of_tests import Coverage, TestCounts, read_coverage, read_junit
from fairway.stages.unit_test import judge
from fairway.units import Verdict

MODULE = "def double(x):\n    return 2 * x\n"
TEST = "from shop import double\n\ndef test_it():\n    assert double(2) == 4\n"
UNTESTED = "def a():\n    return 1\n\ndef b():\n    return 2\n\ndef c():\n    return 3\n"


async def test_tests_that_pass_and_cover_pass_with_figures_and_reports(bench) -> None:
    bench.commit({"shop.py": MODULE, "tests/test_shop.py": TEST})
    outcome = await bench.run("unit_test")
    assert outcome.status is StageStatus.PASSED, outcome
    assert outcome.summary == "1 passed, coverage 100.0 %"
    assert outcome.details["tests"] == 1
    assert {name for name, path in outcome.artifacts.items() if path.is_file()} == {"junit", "coverage"}
    assert outcome.evidence[0].verdict is Verdict.PASS
    assert outcome.evidence[0].instrument is not None


async def test_a_failing_test_fails_with_its_file(bench) -> None:
    bench.commit({"shop.py": MODULE.replace("2 *", "3 *"), "tests/test_shop.py": TEST})
    outcome = await bench.run("unit_test")
    assert outcome.status is StageStatus.FAILED
    assert outcome.summary == "1 failed of 1"
    assert outcome.findings[0].file == "tests/test_shop.py"
    assert "test_it" in outcome.findings[0].message
    assert outcome.evidence[0].verdict is Verdict.FAIL


async def test_a_module_no_test_imports_counts_as_uncovered(bench) -> None:
    bench.commit({"shop.py": MODULE, "pkg/__init__.py": "", "pkg/lonely.py": UNTESTED, "tests/test_shop.py": TEST})
    outcome = await bench.run("unit_test")
    assert outcome.status is StageStatus.FAILED
    assert outcome.findings[0].rule == "coverage/total"
    assert [finding.file for finding in outcome.findings[1:]] == ["pkg/lonely.py"]


@pytest.mark.parametrize(
    ("tests", "why"),
    [
        pytest.param({}, "no test file", id="none at all"),
        pytest.param({"tests/test_shop.py": "x = 1\n"}, "a file without tests", id="nothing collected"),
        pytest.param(
            {"tests/test_shop.py": "import pytest\n\n@pytest.mark.skip\ndef test_it():\n    assert False\n"},
            "",
            id="all skipped",
        ),
    ],
)
async def test_no_tests_is_never_a_pass(bench, tests: dict[str, str], why: str) -> None:
    bench.commit({"shop.py": MODULE, **tests})
    outcome = await bench.run("unit_test")
    assert (outcome.status, outcome.summary) == (StageStatus.FAILED, "no tests ran")


async def test_a_test_file_that_cannot_be_imported_fails(bench) -> None:
    bench.commit({"shop.py": MODULE, "tests/test_shop.py": TEST, "tests/test_broken.py": "import nothing_like_this\n"})
    outcome = await bench.run("unit_test")
    assert outcome.status is StageStatus.FAILED
    assert "1 error of" in outcome.summary


async def test_without_pytest_it_is_an_error_with_what_to_install(bench, venv) -> None:
    bench.commit({"shop.py": MODULE, "tests/test_shop.py": TEST})
    bench.interpreter = venv({})
    outcome = await bench.run("unit_test")
    assert outcome.status is StageStatus.ERROR
    assert "pip install pytest coverage" in outcome.details["hint"]


async def test_a_command_of_ones_own_decides_by_its_exit_code(bench) -> None:
    bench.commit(settings="unit_test: {command: [sh, -c, 'echo from the tests; exit 0']}")
    assert (await bench.run("unit_test")).status is StageStatus.PASSED
    bench.commit(settings="unit_test: {command: [sh, -c, 'exit 3']}")
    outcome = await bench.run("unit_test")
    assert (outcome.status, outcome.summary) == (StageStatus.FAILED, "exit code 3")


async def test_the_reports_of_a_command_of_ones_own_are_kept_and_decide(bench) -> None:
    junit = '<testsuite><testcase name="a"/><testcase name="b"><failure message="m"/></testcase></testsuite>'
    bench.commit({"said.xml": junit}, settings="unit_test: {command: cp said.xml results.xml, junit: results.xml}")
    outcome = await bench.run("unit_test")
    assert (outcome.status, outcome.summary) == (StageStatus.FAILED, "1 failed of 2")
    assert outcome.artifacts["junit"].read_text() == junit


@pytest.mark.parametrize("reports", ["junit: results.xml", "coverage: {file: results.xml}"])
@pytest.mark.parametrize("left", [None, "no report", '<testsuite><testcase name="a"/></testsuite>'])
async def test_a_report_that_is_asked_for_and_not_written_is_an_error_also_when_an_old_one_is_committed(
    bench, reports: str, left: str | None
) -> None:
    old = {} if left is None else {"results.xml": left}
    bench.commit(old, settings=f"unit_test: {{command: 'true', {reports}}}")
    outcome = await bench.run("unit_test")
    assert outcome.status is StageStatus.ERROR
    assert "results.xml" in outcome.summary
    assert [one.verdict for one in outcome.evidence] == [Verdict.ERROR]


async def test_a_command_that_does_not_end_is_an_error(bench) -> None:
    bench.commit(settings="unit_test: {command: [sleep, '60'], timeout: 300ms}")
    outcome = await bench.run("unit_test")
    assert (outcome.status, outcome.summary) == (StageStatus.ERROR, "did not end within 300ms")


async def test_a_missing_command_is_told(bench) -> None:
    from fairway.errors import UserError

    bench.commit(settings="unit_test: {command: [no-such-runner]}")
    with pytest.raises(UserError, match="cannot run no-such-runner"):
        await bench.run("unit_test")


async def test_tests_leave_nothing_in_the_project(bench) -> None:
    bench.commit(
        {"shop.py": MODULE, "tests/test_shop.py": TEST + "\n\ndef test_write():\n    open('left', 'w').close()\n"}
    )
    await bench.run("unit_test")
    assert bench.git("status", "--porcelain", "--ignored") == ""


COUNTS = TestCounts(total=3, failed=0, errors=0, skipped=0)
NOTHING = TestCounts(total=0, failed=0, errors=0, skipped=0)
ALL_SKIPPED = TestCounts(total=2, failed=0, errors=0, skipped=2)
ONE_FAILED = TestCounts(total=2, failed=1, errors=0, skipped=0)
GOOD = Coverage(total=90.0, modules={"a.py": 90.0})
OWN = {"command": "make test"}


@pytest.mark.parametrize(
    ("settings", "code", "counts", "coverage", "status"),
    [
        pytest.param({}, 0, COUNTS, GOOD, StageStatus.PASSED, id="good"),
        pytest.param({}, 0, COUNTS, None, StageStatus.FAILED, id="not measured is not a pass"),
        pytest.param({}, 0, COUNTS, Coverage(total=79.99, modules={"a.py": 79.99}), StageStatus.FAILED, id="total"),
        pytest.param({}, 0, COUNTS, Coverage(total=80.0, modules={"a.py": 80.0}), StageStatus.PASSED, id="total exact"),
        pytest.param({}, 0, COUNTS, Coverage(total=90.0, modules={"a.py": 69.9}), StageStatus.FAILED, id="one module"),
        pytest.param({}, 0, COUNTS, Coverage(total=90.0, modules={"a.py": 70.0}), StageStatus.PASSED, id="exact"),
        pytest.param({}, 5, NOTHING, None, StageStatus.FAILED, id="none"),
        pytest.param({}, 0, ALL_SKIPPED, GOOD, StageStatus.FAILED, id="skipped"),
        pytest.param({}, 1, ONE_FAILED, GOOD, StageStatus.FAILED, id="failed"),
        pytest.param({}, 0, ONE_FAILED, GOOD, StageStatus.FAILED, id="lying exit"),
        pytest.param({}, 3, None, None, StageStatus.ERROR, id="internal error"),
        pytest.param({}, 1, None, None, StageStatus.ERROR, id="it never began"),
        pytest.param({}, -9, None, None, StageStatus.ERROR, id="killed"),
        pytest.param({}, None, COUNTS, GOOD, StageStatus.ERROR, id="time was up"),
        pytest.param(OWN, 0, None, None, StageStatus.PASSED, id="own command"),
        pytest.param(OWN, 1, None, None, StageStatus.FAILED, id="own command says no"),
        pytest.param(OWN, 0, NOTHING, None, StageStatus.FAILED, id="own, none"),
        pytest.param({**OWN, "coverage": {"file": "c.json"}}, 0, None, None, StageStatus.ERROR, id="own, unmeasured"),
        pytest.param({**OWN, "coverage": {"file": "c.json"}}, 1, None, None, StageStatus.FAILED,
                     id="own, no, unmeasured"),
        pytest.param({**OWN, "junit": "j.xml"}, 0, None, None, StageStatus.ERROR, id="own, uncounted"),
        pytest.param({**OWN, "junit": "j.xml"}, 0, COUNTS, None, StageStatus.PASSED, id="own, counted"),
        pytest.param({**OWN, "junit": "j.xml", "coverage": {"file": "c"}}, 0, None, GOOD, StageStatus.ERROR,
                     id="own, one"),
        pytest.param({**OWN, "coverage": {"file": "c.json"}}, 0, None, GOOD, StageStatus.PASSED, id="own, measured"),
    ],
)  # fmt: skip
def test_what_a_test_run_means(settings, code, counts, coverage, status) -> None:
    assert judge(UnitTestSection.model_validate(settings), code, counts, coverage).status is status


def test_limits_are_the_projects() -> None:
    lax = UnitTestSection.model_validate({"coverage": {"total": "10%", "module": 0}})
    assert judge(lax, 0, COUNTS, Coverage(total=11.0, modules={"a.py": 0.0})).status is StageStatus.PASSED


def test_omitted_modules_do_not_count(tmp_path) -> None:
    summary = {"covered_lines": 0, "num_statements": 10}
    full = {"covered_lines": 10, "num_statements": 10}
    report = tmp_path / "c.json"
    report.write_text(json.dumps({"files": {"a.py": {"summary": full}, "gen/b.py": {"summary": summary}}}))
    assert read_coverage(report).total == 50.0
    assert read_coverage(report, omit=["gen/*"]).total == 100.0
    assert read_coverage(report, omit=["*"]) is None


@pytest.mark.parametrize("text", ["", "{", "<a", "[]", '{"files": 1}', '{"files": {"a": {}}}'])
def test_a_damaged_report_is_no_report(tmp_path, text: str) -> None:
    (tmp_path / "r").write_text(text)
    assert read_coverage(tmp_path / "r") is None
    assert read_junit(tmp_path / "r") is None
