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
    parts: list[Bench] = field(default_factory=list)
    """What it is made of, when its figures need more than one table."""

    def to_wire(self) -> dict[str, Any]:
        return asdict(self)

    def all_promises(self) -> list[Promise]:
        """Its own and those of its parts."""
        return self.promises + [promise for part in self.parts for promise in part.all_promises()]

    def all_skipped(self) -> list[str]:
        """Why it, and each of its parts that could not run here, did not."""
        own = [self.skipped] if self.skipped else []
        return own + [why for part in self.parts for why in part.all_skipped()]


def markdown(bench: Bench, *, level: int = 2) -> str:
    """The bench as Markdown, under a heading of this level."""
    lines = [f"{'#' * level} {bench.title}", ""]
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
    text = "\n".join(lines) + "\n"
    return text + "".join("\n" + markdown(part, level=level + 1) for part in bench.parts)
