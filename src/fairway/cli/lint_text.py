"""What lint found, as a person reads it: the same for prompts and for suites."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fairway.bundle.finding import LintFinding


def lint_text(findings: Sequence[LintFinding], errors: int) -> str:
    """A line a finding with its place and rule, its hint below it, and how many there are."""
    lines = []
    for finding in findings:
        place = ":".join(str(part) for part in (finding.file, finding.line, finding.column) if part is not None)
        lines.append(f"{place}: {finding.severity}: {finding.message} [{finding.rule}]")
        if finding.hint:
            lines.append(f"  {finding.hint}")
    lines.append(f"{_count(errors, 'error')}, {_count(len(findings) - errors, 'warning')}")
    return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
