"""promptfoo's tests, wherever they stand: in the configuration, in YAML, JSON, JSONL or CSV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fairway.errors import ProjectFileError
from fairway.evals.suites.keys import BadKeyError
from fairway.evals.suites.lines import read_lines
from fairway.evals.suites.promptfoo.assertions import todo
from fairway.evals.suites.promptfoo.plain_yaml import line_of, placed
from fairway.evals.suites.promptfoo.sources import SCHEME, NotReadableError, Sources, resolve_references
from fairway.evals.suites.promptfoo.values import Loss, Report
from fairway.evals.suites.tables import read_table
from fairway.yaml_file import YamlDocument

_DOCUMENTS = (".yaml", ".yml", ".json")
_TABLES = (".csv", ".tsv")
_LINES = (".jsonl", ".ndjson")


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """A test with the file and line it stands in; rows of a table are already in Fairway's words."""

    __test__ = False  # not one of pytest's

    value: Mapping[str, Any]
    file: str
    line: int | None
    is_row: bool = False


def import_tests(
    raw: Any, sources: Sources, report: Report, file: str, *, within: tuple[str, ...] = ()
) -> Iterator[Test]:
    """Every test of the configuration, in its order; what makes tests by code or elsewhere is listed.

    Args:
        raw: ``tests`` of a file.
        sources: Where other files are.
        report: Where it is listed.
        file: The file that is read.
        within: The files that led to it, so that none is read inside itself.
    """
    entries = raw if isinstance(raw, list) else [raw] if raw is not None else []
    for entry in entries:
        line = line_of(entry) or line_of(raw)
        if isinstance(entry, str):
            yield from _of_files(entry, sources, report, file, line, (*within, file))
        elif isinstance(entry, Mapping) and "path" in entry and "vars" not in entry and "assert" not in entry:
            report.add(Loss.CASE, f"tests {entry['path']}", "are made by code, which is not run", file=file, line=line)
        elif isinstance(entry, Mapping):
            yield Test(value=entry, file=file, line=line)
        else:
            report.add(Loss.CASE, "tests", "has an entry that is no test", file=file, line=line)


def _of_files(
    written: str, sources: Sources, report: Report, file: str, line: int | None, within: tuple[str, ...]
) -> Iterator[Test]:
    if "://" in written and not written.startswith(SCHEME):
        report.add(Loss.CASE, f"tests {written}", "stand on another machine", file=file, line=line)
        return
    try:
        paths = sources.find(written)
    except NotReadableError as error:
        why = (
            "are made by code, which is not run" if any(end in written for end in (".py", ".js", ".ts")) else str(error)
        )
        report.add(Loss.CASE, f"tests {written}", why, file=file, line=line)
        return
    for path in paths:
        try:
            if path in within:
                raise NotReadableError("are read inside themselves")
            yield from _of_file(path, sources, report, within)
        except (NotReadableError, ProjectFileError) as error:
            report.add(Loss.CASE, f"tests {path}", str(error), file=file, line=line)


def _of_file(path: str, sources: Sources, report: Report, within: tuple[str, ...]) -> Iterator[Test]:
    lower = path.lower()
    if lower.endswith(_TABLES):
        rows = read_table(_as_promptfoo(sources.content(path)), file=path, instead=_instead)
        yield from _rows(rows, is_row=True)
    elif lower.endswith(_LINES):
        yield from _rows(read_lines(sources.content(path), file=path), is_row=False)
    elif lower.endswith(_DOCUMENTS):
        plain = resolve_references(sources.plain(path))
        value = plain.value
        if isinstance(value, Mapping) and isinstance(value.get("tests"), list | str):
            value = value["tests"]
        yield from import_tests(value if isinstance(value, list) else [value], sources, report, path, within=within)
    else:
        raise NotReadableError("are made by code, which is not run, or are no kind of file that tests stand in")


def _instead(cell: str, error: BadKeyError) -> dict[str, Any]:
    return todo(f"__expected {' '.join(cell.split())[:100]}", str(error))


def _rows(documents: Iterator[YamlDocument], *, is_row: bool) -> Iterator[Test]:
    for document in documents:
        place = document.position(())
        line = place.line if place else None
        if not isinstance(document.value, Mapping):
            raise ProjectFileError("expected a test", file=document.file, line=line)
        yield Test(value=placed(dict(document.value), line), file=document.file, line=line, is_row=is_row)


def _as_promptfoo(content: bytes) -> bytes:
    """The table with an ``__expected`` column, which makes the plain columns variables as they all are there."""
    first, mark, rest = content.partition(b"\n")
    if b"__expected" in first or not first.strip():
        return content
    separator = max((b",", b";", b"\t"), key=lambda one: (first.count(one), one == b","))
    return first.rstrip(b"\r") + separator + b"__expected" + mark + rest
