"""What a bench hands back, and how people read it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A figure the docs promise: ``kept`` is ``None`` when it was not measured."""

    text: str
    measured: str
    kept: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One bench's result: a table for people, promises for the exit code, the raw figures for programs."""

    title: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    promises: list[Promise] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: str | None = None

    def to_wire(self) -> dict[str, Any]:
        return asdict(self)


def markdown(bench: Bench) -> str:
    """The bench as Markdown."""
    lines = [f"## {bench.title}", ""]
    if bench.skipped:
        lines += [f"Skipped: {bench.skipped}.", ""]
    if bench.rows:
        names = list(bench.rows[0])
        lines += ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
        lines += ["| " + " | ".join(str(row.get(name, "")) for name in names) + " |" for row in bench.rows]
        lines.append("")
    for promise in bench.promises:
        mark = {True: "kept", False: "**BROKEN**", None: "not measured"}[promise.kept]
        lines.append(f"- {promise.text}: {promise.measured} ({mark})")
    lines += [f"- {note}" for note in bench.notes]
    return "\n".join(lines) + "\n"
