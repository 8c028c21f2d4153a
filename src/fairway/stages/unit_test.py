"""The project's tests, with coverage: no tests is not a pass."""

from __future__ import annotations

import configparser
import shutil
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairway.bundle.components import Component
from fairway.pipeline.port import Finding, StageOutcome, StageStatus
from fairway.stages.config import UnitTestSection
from fairway.stages.context import DeliveryContext
from fairway.stages.process import Finished, run_command
from fairway.stages.reports_of_tests import Coverage, TestCounts, read_coverage, read_junit
from fairway.units import Verdict, format_duration, format_share

_NO_TESTS = 5
"""Exit code of pytest when it collected nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ran:
    """A test run and what it left behind; ``None`` when it left nothing readable."""

    ended: Finished
    junit: Path | None
    counts: TestCounts | None
    coverage_file: Path | None
    coverage: Coverage | None


class UnitTest:
    """pytest under coverage in a folder with the examined files, or the project's own command."""

    id = "unit_test"
    title = "Unit tests"
    after = ("prepare",)

    def cache_key(self, context: DeliveryContext) -> str | None:
        """The registry's."""
        return context.opening.node.key(context)

    async def run(self, context: DeliveryContext) -> StageOutcome:
        """Run the tests and judge them."""
        settings = context.settings(UnitTestSection)
        tree = await context.tree()
        context.progress("running the tests")
        if settings.command is not None:
            ran = await _run_own(context, tree, settings)
        else:
            if context.delivery.interpreter.python is None:
                hint = "say how in pipeline.stages.unit_test.command"
                return StageOutcome(
                    status=StageStatus.ERROR, summary="there is no python to run pytest", details={"hint": hint}
                )
            ran = await _run_pytest(context, tree, settings)
        outcome = judge(settings, ran.ended.code, ran.counts, ran.coverage)
        details = {**outcome.details, "exit_code": ran.ended.code}
        if outcome.status is not StageStatus.PASSED:
            details["last_words"] = ran.ended.last_words()
        verdict = {StageStatus.PASSED: Verdict.PASS, StageStatus.FAILED: Verdict.FAIL}.get(
            outcome.status, Verdict.ERROR
        )
        kept = {"junit": ran.junit, "coverage": ran.coverage_file}
        return StageOutcome(
            status=outcome.status,
            summary=outcome.summary,
            details=details,
            findings=outcome.findings,
            evidence=(context.found(verdict, figures=outcome.details, instrument=True),),
            artifacts={name: path for name, path in kept.items() if path is not None and path.is_file()},
        )


def judge(
    settings: UnitTestSection, code: int | None, counts: TestCounts | None, coverage: Coverage | None
) -> StageOutcome:
    """Pure: what a test run means.

    Args:
        settings: The stage's.
        code: Exit code; ``None`` when its time was up.
        counts: From its JUnit file; ``None`` when there is none.
        coverage: From its coverage report; ``None`` when there is none or nothing was measured.
    """
    details = _figures(counts, coverage)
    findings = counts.findings if counts else ()

    def outcome(status: StageStatus, summary: str, *more: Finding) -> StageOutcome:
        return StageOutcome(status=status, summary=summary, details=details, findings=(*findings, *more))

    if code is None:
        return outcome(StageStatus.ERROR, f"did not end within {format_duration(settings.timeout)}")
    own = settings.command is not None
    if not own and counts is None and code != _NO_TESTS:
        details["hint"] = "pip install pytest coverage, or say how to test in pipeline.stages.unit_test.command"
        return outcome(StageStatus.ERROR, f"pytest gave no report (exit code {code})")
    if (not own and code == _NO_TESTS) or (counts is not None and counts.total == counts.skipped):
        return outcome(StageStatus.FAILED, "no tests ran")
    if code != 0 or (counts is not None and (counts.failed or counts.errors)):
        return outcome(StageStatus.FAILED, _failed(code, counts))
    if own and (absent := _absent(settings, counts, coverage)):
        return outcome(StageStatus.ERROR, f"the command said yes, but {absent} is not there or not readable")
    if own and settings.coverage.file is None:
        return outcome(StageStatus.PASSED, f"{counts.passed} passed" if counts else "the command said yes")
    if coverage is None:
        details["hint"] = "is coverage installed where the tests run, and is there any code to measure?"
        return outcome(StageStatus.FAILED, "coverage was not measured")
    short = _uncovered(settings, coverage)
    passed = f"{counts.passed} passed, " if counts else ""
    least = format_share(settings.coverage.total)
    if short:
        return outcome(StageStatus.FAILED, f"{passed}coverage {coverage.total:.1f} % (at least {least})", *short)
    return outcome(StageStatus.PASSED, f"{passed}coverage {coverage.total:.1f} %")


def _absent(settings: UnitTestSection, counts: TestCounts | None, coverage: Coverage | None) -> str:
    """The reports the project says its command writes, and that it has not; empty when they are there."""
    reports = ((settings.junit, counts), (settings.coverage.file, coverage))
    return " and ".join(name for name, read in reports if name is not None and read is None)


def _figures(counts: TestCounts | None, coverage: Coverage | None) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    if counts is not None:
        figures |= {
            "tests": counts.total,
            "passed": counts.passed,
            "failed": counts.failed,
            "errors": counts.errors,
            "skipped": counts.skipped,
        }
    if coverage is not None:
        figures["coverage"] = round(coverage.total, 2)
        figures["lowest_module"] = min(coverage.modules, key=lambda name: coverage.modules[name])
    return figures


def _failed(code: int, counts: TestCounts | None) -> str:
    if counts is None or not (counts.failed or counts.errors):
        return f"exit code {code}"
    parts = [f"{counts.failed} failed"] if counts.failed else []
    parts += [f"{counts.errors} error{'s' if counts.errors > 1 else ''}"] if counts.errors else []
    return ", ".join(parts) + f" of {counts.total}"


def _uncovered(settings: UnitTestSection, coverage: Coverage) -> list[Finding]:
    """What is below its share: the whole, and each module."""
    found = []
    total, module = settings.coverage.total / 1000, settings.coverage.module / 1000
    if coverage.total < total:
        message = f"the tests cover {coverage.total:.1f} %, at least {total:g} % is asked"
        found.append(Finding(severity="error", rule="coverage/total", message=message))
    for name, share in coverage.modules.items():
        if share < module:
            message = f"the tests cover {share:.1f} % of it, at least {module:g} % is asked"
            found.append(Finding(severity="error", rule="coverage/module", message=message, file=name))
    return found


async def _run_own(context: DeliveryContext, tree: Path, settings: UnitTestSection) -> _Ran:
    """The project's own command."""
    assert settings.command is not None
    for name in (settings.junit, settings.coverage.file):
        if name is not None:  # a committed report is of another run
            (tree / name).unlink(missing_ok=True)
    ended = await run_command(
        settings.command,
        cwd=tree,
        environment=context.environment(**settings.environment),
        output=context.log,
        limit=settings.timeout,
        clock=context.clock,
    )
    junit = _kept(context, tree, settings.junit)
    coverage = _kept(context, tree, settings.coverage.file)
    return _Ran(
        ended=ended,
        junit=junit,
        counts=read_junit(junit) if junit else None,
        coverage_file=coverage,
        coverage=read_coverage(coverage, omit=settings.coverage.omit) if coverage else None,
    )


def _kept(context: DeliveryContext, tree: Path, name: str | None) -> Path | None:
    """A report of the project's command, moved to where it is kept with the run; ``None`` when there is none."""
    if name is None or not (tree / name).is_file():
        return None
    kept = context.workdir / f"report-{Path(name).name}"
    shutil.copyfile(tree / name, kept)
    return kept


async def _run_pytest(context: DeliveryContext, tree: Path, settings: UnitTestSection) -> _Ran:
    """Run pytest under coverage.py, both of the project's interpreter."""
    python = str(context.delivery.interpreter.python)
    junit, data, report = (context.workdir / name for name in ("junit.xml", "coverage.data", "coverage.json"))
    environment = context.environment(COVERAGE_FILE=str(data), **settings.environment)
    measured = _measured(context, tree, settings)
    ended = await run_command(
        [
            python, "-m", "coverage", "run", *measured, "-m", "pytest", "-p", "no:cacheprovider", "-q",
            f"--junitxml={junit}", "-o", "junit_family=xunit1", *settings.paths,
        ],
        cwd=tree,
        environment=environment,
        output=context.log,
        limit=settings.timeout,
        clock=context.clock,
    )  # fmt: skip
    if ended.code is not None and data.exists():
        context.progress("reading the coverage")
        await run_command(
            [python, "-m", "coverage", "json", "-q", *_rcfile(measured), "-o", str(report)],
            cwd=tree,
            environment=environment,
            output=context.log,
            limit=settings.timeout,
            clock=context.clock,
        )
    return _Ran(
        ended=ended,
        junit=junit,
        counts=read_junit(junit),
        coverage_file=report,
        coverage=read_coverage(report, omit=settings.coverage.omit),
    )


def _measured(context: DeliveryContext, tree: Path, settings: UnitTestSection) -> list[str]:
    """What coverage.py is told to measure: what the project says to it or to us, else every module of the release."""
    if settings.coverage.source:
        return [f"--rcfile={_write_rc(context, settings.coverage.source, ())}"]
    if _configures_coverage(tree):
        return []
    modules = [
        file.path for file in context.bundle.files if file.component is Component.CODE and file.path.endswith(".py")
    ]
    return [f"--rcfile={_write_rc(context, (), modules)}"]


def _rcfile(measured: Sequence[str]) -> list[str]:
    return [option for option in measured if option.startswith("--rcfile")]


def _write_rc(context: DeliveryContext, source: Sequence[str], modules: Sequence[str]) -> Path:
    """A configuration of coverage.py of our own, so that modules no test imports count as uncovered."""
    run: dict[str, str] = {"branch": "true", "relative_files": "true"}
    if source:
        run["source"] = "\n" + "\n".join(source)
    else:
        run["source"] = "\n."
        # A module that is no package member is only found where it is named.
        run["omit"] = "\ntests/*\nevals/*"
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_dict({"run": run, "report": {"include_namespace_packages": "true"}})
    if modules:
        parser["report"]["include"] = "\n" + "\n".join(modules)
    path = context.workdir / "coverage.rc"
    with path.open("w", encoding="utf-8") as file:
        parser.write(file)
    return path


def _configures_coverage(tree: Path) -> bool:
    if (tree / ".coveragerc").is_file():
        return True
    try:
        tools: Mapping[str, Any] = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8")).get("tool", {})
        if "coverage" in tools:
            return True
    except (OSError, ValueError, AttributeError):
        pass
    for name, section in (("setup.cfg", "coverage:run"), ("tox.ini", "coverage:run")):
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(tree / name)
        except configparser.Error:
            continue
        if parser.has_section(section):
            return True
    return False
