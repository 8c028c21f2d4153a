"""What lint says: a value for each complaint, with its place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from fairway.errors import ProjectFileError
from fairway.yaml_file import KeyPath, YamlDocument


class Severity(StrEnum):
    """``error`` must be mended before a release; ``warning`` should be."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class LintFinding:
    """One complaint; ``rule`` is stable (``prompt/undefined-variable``)."""

    severity: Severity
    rule: str
    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None
    hint: str | None = None


def ordered(findings: Iterable[LintFinding]) -> tuple[LintFinding, ...]:
    """Findings by file and line."""
    return tuple(sorted(findings, key=lambda one: (one.file or "", one.line or 0, one.rule, one.message)))


def lint_error(rule: str, message: str, **where: Any) -> LintFinding:
    """A finding that must be mended."""
    return LintFinding(severity=Severity.ERROR, rule=rule, message=message, **where)


def lint_warning(rule: str, message: str, **where: Any) -> LintFinding:
    """A finding that should be mended."""
    return LintFinding(severity=Severity.WARNING, rule=rule, message=message, **where)


def placed(document: YamlDocument, path: KeyPath, finding: LintFinding, *, of_key: bool = False) -> LintFinding:
    """The finding at the place of a value (or its key)."""
    position = document.position(path, of_key=of_key)
    return replace(
        finding,
        file=document.file,
        line=position.line if position else None,
        column=position.column if position else None,
    )


def from_file_error(mistake: ProjectFileError) -> LintFinding:
    """What a file's own reader says against it."""
    rule = "prompt/invalid"
    if mistake.key in ("template", "variables") and "missing" in mistake.problem:
        rule = f"prompt/missing-{mistake.key}"
    message = f"{mistake.key}: {mistake.problem}" if mistake.key else mistake.problem
    return lint_error(rule, message, file=mistake.file, line=mistake.line, column=mistake.column, hint=mistake.hint)
