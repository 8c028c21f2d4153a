"""Checks that run nothing: every Python file compiles, YAML parses, prompts and tools are sound, ruff agrees."""

from __future__ import annotations

import asyncio
import json
import tomllib
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

import yaml

from fairway.bundle.lint import LintFinding, lint
from fairway.pipeline.port import Finding, StageOutcome, StageStatus
from fairway.project.load import load_project
from fairway.stages.config import StaticAnalysisSection
from fairway.stages.context import DeliveryContext
from fairway.stages.process import run_command
from fairway.units import Verdict

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_COMPILE = """
import json, sys, warnings
warnings.simplefilter("always")
for path in json.load(sys.stdin if len(sys.argv) < 2 else open(sys.argv[1], encoding="utf-8")):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with open(path, "rb") as file:
                compile(file.read(), path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            line, column = getattr(error, "lineno", None), getattr(error, "offset", None)
            print("fairway-error " + json.dumps([path, line, column, getattr(error, "msg", None) or str(error)]))
    for one in caught:
        print("fairway-warning " + json.dumps([path, one.lineno, None, str(one.message)]))
print("fairway-done")
"""


class StaticAnalysis:
    """One outcome of all checks; each finding names file and line."""

    id = "static_analysis"
    title = "Static analysis"
    after = ("prepare",)

    def cache_key(self, context: DeliveryContext) -> str | None:
        """The registry's."""
        return context.opening.node.key(context)

    async def run(self, context: DeliveryContext) -> StageOutcome:
        """Run every check, whatever the others find."""
        settings = context.settings(StaticAnalysisSection)
        tree = await context.tree()
        paths = [file.path for file in context.bundle.files if not _is_excluded(file.path, settings.exclude)]
        python = [path for path in paths if path.endswith(".py")]
        documents = [path for path in paths if path.endswith((".yaml", ".yml"))]
        findings = await asyncio.to_thread(lambda: [*_lint(tree), *_yaml_errors(tree, documents)])
        checks = ["prompts", "tools", f"{len(documents)} YAML files"]
        if python and context.delivery.interpreter.python is not None:
            findings += await _compile(context, tree, python, settings)
            checks.append(f"{len(python)} Python files")
        if settings.ruff or (settings.ruff is None and await asyncio.to_thread(configures_ruff, tree)):
            ruff = await _ruff(context, tree, settings)
            if isinstance(ruff, StageOutcome):
                return ruff
            findings += ruff
            checks.append("ruff")
        return _outcome(context, findings, checks)


def _outcome(context: DeliveryContext, findings: Sequence[Finding], checks: Sequence[str]) -> StageOutcome:
    ordered = tuple(sorted(findings, key=lambda one: (one.file or "", one.line or 0, one.rule)))
    errors = sum(finding.severity == "error" for finding in ordered)
    warnings = sum(finding.severity == "warning" for finding in ordered)
    figures = {"errors": errors, "warnings": warnings}
    counted = f"{_count(errors, 'error')}, {_count(warnings, 'warning')}"
    summary = counted if ordered else "checked " + ", ".join(checks)
    return StageOutcome(
        status=StageStatus.FAILED if errors else StageStatus.PASSED,
        summary=summary,
        details={**figures, "checks": list(checks)},
        findings=ordered,
        evidence=(context.found(Verdict.FAIL if errors else Verdict.PASS, figures=figures),),
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _is_excluded(path: str, globs: Sequence[str]) -> bool:
    return any(fnmatch(path, glob) for glob in globs)


def _lint(tree: Path) -> Iterator[Finding]:
    """Prompt and tool lint of the examined files."""
    return (_from_lint(one) for one in lint(load_project(tree)))


def _from_lint(one: LintFinding) -> Finding:
    return Finding(
        severity=one.severity.value,
        rule=one.rule,
        message=one.message,
        file=one.file,
        line=one.line,
        column=one.column,
        hint=one.hint,
    )


def _yaml_errors(tree: Path, paths: Sequence[str]) -> Iterator[Finding]:
    """YAML that no reader could read; events only, so that neither tags nor aliases can do anything."""
    for path in paths:
        try:
            for _ in yaml.parse((tree / path).read_bytes(), Loader=_LOADER):
                pass
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            yield Finding(
                severity="error",
                rule="yaml/syntax",
                message=getattr(error, "problem", None) or str(error),
                file=path,
                line=mark.line + 1 if mark else None,
                column=mark.column + 1 if mark else None,
            )


async def _compile(
    context: DeliveryContext, tree: Path, paths: Sequence[str], settings: StaticAnalysisSection
) -> list[Finding]:
    """Compile in memory, by the interpreter that will run the project; nothing is written."""
    listed = context.workdir / "python-files.json"
    listed.write_text(json.dumps(list(paths)), encoding="utf-8")
    ended = await run_command(
        [str(context.delivery.interpreter.python), "-c", _COMPILE, str(listed)],
        cwd=tree,
        environment=context.environment(),
        output=context.workdir / "compile.log",
        limit=settings.timeout,
        clock=context.clock,
    )
    lines = ended.text().splitlines()
    if "fairway-done" not in lines:
        message = f"compiling did not come to its end: {ended.last_words(3)}"
        return [Finding(severity="error", rule="python/compile", message=message)]
    return list(_compile_findings(lines))


def _compile_findings(lines: Sequence[str]) -> Iterator[Finding]:
    for line in lines:
        for word, severity in (("fairway-error ", "error"), ("fairway-warning ", "warning")):
            if line.startswith(word):
                path, number, column, message = json.loads(line.removeprefix(word))
                yield Finding(
                    severity=severity, rule="python/compile", message=message, file=path, line=number, column=column
                )


def configures_ruff(tree: Path) -> bool:
    """Whether a project says how ruff shall read it."""
    if (tree / "ruff.toml").is_file() or (tree / ".ruff.toml").is_file():
        return True
    try:
        pyproject = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    tools = pyproject.get("tool", {})
    return isinstance(tools, dict) and "ruff" in tools


async def _ruff(context: DeliveryContext, tree: Path, settings: StaticAnalysisSection) -> list[Finding] | StageOutcome:
    """What ruff finds; an ERROR outcome when it cannot be asked."""
    python = context.delivery.interpreter.python
    report = context.workdir / "ruff.json"
    ended = await run_command(
        [
            str(python or "python3"),
            "-m",
            "ruff",
            "check",
            "--no-cache",
            "--output-format=json",
            f"--output-file={report}",
            ".",
        ],
        cwd=tree,
        environment=context.environment(),
        output=context.log,
        limit=settings.timeout,
        clock=context.clock,
    )
    try:
        found = json.loads(report.read_bytes())
    except (OSError, ValueError):
        return StageOutcome(
            status=StageStatus.ERROR,
            summary="ruff is configured but gives no report",
            details={"hint": "pip install ruff, or say `ruff: false`", "last_words": ended.last_words(6)},
        )
    root = str(tree.resolve())  # noqa: ASYNC240 - a name
    return [
        Finding(
            severity="error",
            rule=str(one.get("code") or "ruff/syntax"),
            message=str(one.get("message", "")),
            file=str(one.get("filename", "")).removeprefix(root).lstrip("/"),
            line=(one.get("location") or {}).get("row"),
            column=(one.get("location") or {}).get("column"),
            hint=(one.get("fix") or {}).get("message"),
        )
        for one in found
    ]
