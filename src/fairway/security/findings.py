"""One form for everything a scanner can find."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """How bad; ordered by :attr:`rank`, never by the words."""

    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"

    @property
    def rank(self) -> int:
        """0 for LOW to 3 for CRITICAL."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityFinding:
    """One thing a scanner found.

    Attributes:
        rule: Stable id: ``secret/private-key``, ``B602`` …
        file: Relative to the project.
        line: 1-based; ``None``: the whole file.
        message: For people; never holds the secret that was found.
        source: Who found it: ``fairway``, ``detect-secrets``, ``bandit``.
    """

    rule: str
    severity: Severity
    file: str
    line: int | None
    message: str
    source: str

    def to_json(self) -> dict[str, Any]:
        """The finding as reports carry it."""
        return {
            "rule": self.rule,
            "severity": self.severity.value,
            "file": self.file,
            "line": self.line,
            "message": self.message,
            "source": self.source,
        }


def finding_from_json(value: dict[str, Any]) -> SecurityFinding:
    """The inverse of :meth:`SecurityFinding.to_json`.

    Raises:
        KeyError: A field is missing.
        ValueError: The severity is none of ours.
        TypeError: A field has another type.
    """
    line = value["line"]
    if not (line is None or (isinstance(line, int) and not isinstance(line, bool))):
        raise TypeError("line is no number")
    texts = [value[name] for name in ("rule", "file", "message", "source")]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a field is no text")
    rule, file, message, source = texts
    severity = Severity(value["severity"])
    return SecurityFinding(rule=rule, severity=severity, file=file, line=line, message=message, source=source)


def in_order(findings: list[SecurityFinding]) -> tuple[SecurityFinding, ...]:
    """Findings without repetitions, the worst first, then by place."""
    unique = dict.fromkeys(findings)
    return tuple(sorted(unique, key=lambda f: (-f.severity.rank, f.file, f.line or 0, f.rule, f.message)))
