"""Suites from YAML, JSON, JSONL and CSV: Fairway's own format and the seed format people already have."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from fairway.errors import ProjectFileError
from fairway.evals.suites.case_reader import CaseReader, read_defaults, told
from fairway.evals.suites.document import read_document
from fairway.evals.suites.files import SCHEME, SuiteFiles
from fairway.evals.suites.keys import BadKeyError
from fairway.evals.suites.lines import read_lines
from fairway.evals.suites.tables import read_table
from fairway.evals.values import Case, Suite, TokenCount
from fairway.mistakes import raise_all, suggest
from fairway.yaml_file import KeyPath, YamlDocument

DEFAULT_SUITES = (
    "evals/suites/*.yaml",
    "evals/suites/*.json",
    "evals/suites/*.jsonl",
    "evals/suites/*.csv",
    "tests/prompt_test_cases.json",
)
"""Where suites are looked for when ``evals.suites`` does not say; none of them has to be there."""

_ROWS: Mapping[str, Callable[..., Iterator[YamlDocument]]] = {
    ".jsonl": read_lines, ".ndjson": read_lines, ".csv": read_table, ".tsv": read_table,
}  # fmt: skip
_SUFFIXES = (".yaml", ".yml", ".json", *_ROWS)
_SUITE_KEYS = ("suite", "description", "count_tokens", "defaults", "cases", "test_cases")
_ESCAPES = re.compile(rb"\\(?:u[dD][89a-fA-F]|U0000[dD][89a-fA-F])")


def load_suites(
    paths: Iterable[str],
    read: Callable[[str], bytes],
    patterns: Sequence[str] = DEFAULT_SUITES,
    *,
    document: YamlDocument | None = None,
) -> tuple[Suite, ...]:
    """Every suite the patterns select, ordered by path.

    Args:
        paths: Files of the examined content, relative to the project.
        read: Content of one of them.
        patterns: Paths or globs (``*``, ``?``, ``**/``). A pattern without wildcards that selects nothing is an error;
            the defaults may select nothing.
        document: ``fairway.yaml``, to name the line that lists a suite which is not there.

    Raises:
        ProjectFileError: A suite is wrong, is missing, or two have the same name.
    """
    known = frozenset(paths)
    files = SuiteFiles(read=read, known=known)
    suites: dict[str, Suite] = {}
    tables: set[str] = set()
    chosen = select_suites(known, patterns, document=document)
    for path in sorted(chosen, key=is_table):
        if path in tables:
            continue  # the cases of a suite that names it
        suite, table = parse_with_table(read(path), file=path, files=files)
        if table is not None:
            tables.add(table)
        if not suite.cases:
            raise no_case(path)
        if suite.name in suites:
            first = suites[suite.name].file
            raise ProjectFileError(
                f"suite '{suite.name}' is also in {first}", file=path, code="eval_suite", hint="give it a 'suite:' name"
            )
        suites[suite.name] = suite
    return tuple(sorted(suites.values(), key=lambda suite: suite.file))


def no_case(path: str) -> ProjectFileError:
    """What is told of a suite without a case: left out in silence, a file that was cut off would examine nothing."""
    return ProjectFileError(
        "there is no case in it", file=path, code="eval_suite", hint="write a case, or leave the suite out"
    )


def is_table(path: str) -> bool:
    """Whether a suite's file has a case a line or row, which a suite of another file may take its cases from."""
    return PurePosixPath(path).suffix.lower() in _ROWS


def select_suites(
    paths: Iterable[str], patterns: Sequence[str], *, document: YamlDocument | None = None
) -> tuple[str, ...]:
    """Paths the patterns select, sorted, each once.

    Raises:
        ProjectFileError: A pattern without wildcards selects nothing.
    """
    known = [path for path in paths if path.lower().endswith(_SUFFIXES)]
    found: set[str] = set()
    for index, pattern in enumerate(patterns):
        rule = re.compile(glob_rule(pattern))
        matches = {path for path in known if rule.fullmatch(path)}
        if not matches and not any(mark in pattern for mark in "*?") and pattern not in DEFAULT_SUITES:
            raise _no_suite(pattern, index, document)
        found |= matches
    return tuple(sorted(found))


def _no_suite(pattern: str, index: int, document: YamlDocument | None) -> ProjectFileError:
    message, hint = f"there is no suite {pattern}", f"a suite is a file with cases: {', '.join(_SUFFIXES)}"
    if document is not None:
        return document.error(("evals", "suites", index), message, code="eval_suite", hint=hint)
    return ProjectFileError(message, file="fairway.yaml", key="evals.suites", code="eval_suite", hint=hint)


def glob_rule(pattern: str) -> str:
    """A glob as a regular expression: ``*`` and ``?`` stay within a folder, ``**/`` crosses any number of them."""
    rules = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern.removeprefix("./"))
    return "".join(rules.get(part, re.escape(part)) for part in parts)


def parse_suite(content: bytes, *, file: str, files: SuiteFiles | None = None) -> Suite:
    """Read one suite.

    Args:
        content: Bytes of the file: a mapping with ``cases``, the bare list of cases, or a case a line or row.
        file: Path relative to the project; its ending says what it is, its stem is the suite's default name.
        files: What the suite may read besides; ``None``: nothing.

    Raises:
        ProjectFileError: With line, column and key of each mistake.
    """
    return parse_with_table(content, file=file, files=files)[0]


def parse_with_table(content: bytes, *, file: str, files: SuiteFiles | None) -> tuple[Suite, str | None]:
    """The suite, and the path of the table it takes its cases from, if it does.

    Raises:
        ProjectFileError: As :func:`parse_suite`.
    """
    if rows := _ROWS.get(PurePosixPath(file).suffix.lower()):
        reader = CaseReader(defaults=read_defaults(_NOTHING, (), None), files=files, has_escapes=_escapes(content))
        suite = Suite(name=PurePosixPath(file).stem, file=file, cases=_from_rows(rows(content, file=file), reader))
        return suite, None
    document = read_document(content, file=file)
    header, path, items = _split(document)
    name = header.get("suite", PurePosixPath(file).stem)
    if not isinstance(name, str) or not name.strip():
        raise document.error(("suite",), "expected the suite's name")
    reader = CaseReader(
        defaults=read_defaults(document, ("defaults",), header.get("defaults")),
        count=_count(header, document),
        files=files,
        has_escapes=_escapes(content),
    )
    if isinstance(items, str):
        table, cases = _from_table(document, path, items, reader)
        return Suite(name=name, file=file, cases=cases), table
    placed = ((document, (*path, index), item) for index, item in enumerate(items))
    return Suite(name=name, file=file, cases=_distinct(placed, reader)), None


_NOTHING = YamlDocument(file="", value=None, values={}, keys={})


def _escapes(content: bytes) -> bool:
    return _ESCAPES.search(content) is not None


def _from_rows(documents: Iterator[YamlDocument], reader: CaseReader) -> tuple[Case, ...]:
    return _distinct(((document, (), document.value) for document in documents), reader)


def _from_table(
    document: YamlDocument, path: KeyPath, written: str, reader: CaseReader
) -> tuple[str, tuple[Case, ...]]:
    """The cases of the file that ``cases:`` names, with the defaults of the suite that names it."""
    if reader.files is None:
        raise document.error(path, "this suite cannot read files")
    rows = _ROWS.get(PurePosixPath(written).suffix.lower())
    if rows is None:
        raise document.error(path, "expected a list of cases, or a file of them", hint=f"one of {', '.join(_ROWS)}")
    try:
        table = reader.files.find(written.removeprefix(SCHEME), suite=document.file)
        content = reader.files.content(written, suite=document.file)
    except BadKeyError as error:
        raise told(document, path, error) from None
    checked = CaseReader(
        defaults=reader.defaults, count=reader.count, files=reader.files, has_escapes=_escapes(content)
    )
    return table, _from_rows(rows(content, file=table), checked)


def _distinct(placed: Iterable[tuple[YamlDocument, KeyPath, Any]], reader: CaseReader) -> tuple[Case, ...]:
    """The cases; the mistakes of all of them are told together, a mistake of the suite's defaults once."""
    cases: list[Case] = []
    seen: dict[str, int] = {}
    mistakes: dict[str, ProjectFileError] = {}
    try:
        for number, (document, path, item) in enumerate(placed, 1):
            try:
                for case in reader.read(document, path, item):
                    first = seen.setdefault(case.id, number)
                    if len(seen) == len(cases):
                        message = f"case '{case.id}' is there twice (first as case {first})"
                        raise document.error((*path, "id"), message)
                    cases.append(case)
            except ProjectFileError as error:
                mistakes.setdefault(str(error), error)
    except ProjectFileError as error:  # a row that cannot be read: what follows is not looked at
        mistakes.setdefault(str(error), error)
    raise_all(mistakes.values())
    return tuple(cases)


def _split(document: YamlDocument) -> tuple[Mapping[str, Any], KeyPath, list[Any] | str]:
    """The suite's own keys, the path of its list of cases, and the list, or the file that has them."""
    value = document.value
    if value is None:
        return {}, (), []
    if isinstance(value, list):
        return {}, (), value
    if not isinstance(value, dict):
        raise document.error((), "expected a list of cases, or 'cases:' with one")
    for key in value:
        if key not in _SUITE_KEYS:
            hint = suggest(key, _SUITE_KEYS, what="keys")
            raise document.error((key,), "unknown key", of_key=True, hint=hint)
    key = "test_cases" if "test_cases" in value and "cases" not in value else "cases"
    if key not in value:
        raise document.error((), "'cases' is missing")
    if not isinstance(value[key], list | str):
        raise document.error((key,), "expected a list of cases")
    return value, (key,), value[key]


def _count(header: Mapping[str, Any], document: YamlDocument) -> TokenCount:
    try:
        return TokenCount(header.get("count_tokens", TokenCount.TOTAL))
    except ValueError:
        raise document.error(("count_tokens",), f"expected one of {', '.join(TokenCount)}") from None
