"""Suites as tables (CSV): Fairway's own columns, or promptfoo's, whose plain columns are variables."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from typing import Any

from fairway.errors import ProjectFileError
from fairway.evals.suites.expected import expected_assertion
from fairway.evals.suites.keys import CASE_KEYS, SEED_KEYS, BadKeyError
from fairway.evals.suites.lines import line_document
from fairway.mistakes import suggest
from fairway.yaml_file import YamlDocument

_EXPECTED = re.compile(r"^__expected\d*$")
_CONFIGURED = re.compile(r"^__config:(__expected\d*):threshold$")
_METADATA = re.compile(r"^__metadata:([^\[\]]+)(\[\])?$")
_VARIABLE = re.compile(r"^(?:variables|vars)\.(.+)$")
_SPECIAL = ("__prefix", "__suffix", "__description", "__metric", "__threshold", "__expected")
_LISTS = frozenset(
    {
        "expected_keywords",
        "expected_response_keywords",
        "forbidden_keywords",
        "forbidden_tools",
        "expected_tools",
        "tags",
    }
)
_NUMBERS = frozenset({"max_tokens", "max_tokens_limit", "repeat", "at_least", "max_repeat", "threshold"})
_STRUCTURED = frozenset({"conversation", "variables", "assert"})
_OWN = (*dict.fromkeys((*CASE_KEYS, *SEED_KEYS)), "assert")
_CHECKS = frozenset(_OWN) - {
    "id",
    "name",
    "input",
    "variables",
    "rule",
    "system_prompt_version",
    "family",
    "user_input",
}
_Cell = Callable[[dict[str, Any], str], None]


Instead = Callable[[str, BadKeyError], dict[str, Any]]
"""What stands in the place of an ``__expected`` cell that cannot be read."""


def read_table(content: bytes, *, file: str, instead: Instead | None = None) -> Iterator[YamlDocument]:
    """Each row as a case of a suite would be written, with the line it begins in.

    In a table with an ``__expected`` column the columns without ``__`` are variables, as in promptfoo; Fairway's own
    keys are then written ``__critical``, ``__tags`` … In any other table each column is a key of a case, or
    ``variables.<name>``. A cell that is empty is not there. A row without an id gets one from its content.

    Args:
        content: Bytes of the file.
        file: Its path.
        instead: For an import, whose rows are not yet cases: what becomes of an ``__expected`` cell that cannot be
            read; prefix and suffix are then left beside the row's other keys. ``None``: it is a mistake.

    Raises:
        ProjectFileError: A column nobody knows, a cell that cannot be read, a row that is too long.
    """
    reader = _reader(content, file)
    try:
        header = next(reader, None)
        if header is None or not any(name.strip() for name in header):
            return
        columns = _columns([name.strip() for name in header], file, instead)
        taken: dict[str, int] = {}
        while True:
            line = reader.line_num + 1
            row = next(reader, None)
            if row is None:
                return
            if any(cell.strip() for cell in row):
                item = _item(columns, row, file=file, line=line, for_import=instead is not None)
                if "id" not in item:
                    item["id"] = _content_id(item, taken)
                yield line_document(item, file=file, line=line)
    except UnicodeDecodeError as error:
        raise ProjectFileError("is not UTF-8", file=file, line=reader.line_num + 1, hint="save it as UTF-8") from error
    except csv.Error as error:
        raise ProjectFileError(f"is not CSV: {error}", file=file, line=reader.line_num or 1) from error


def _reader(content: bytes, file: str) -> Any:
    first = content.split(b"\n", 1)[0]
    marks = {b",": ",", b";": ";", b"\t": "\t"}
    mark = b"\t" if file.lower().endswith(".tsv") else max(marks, key=lambda one: (first.count(one), one == b","))
    text = TextIOWrapper(BytesIO(content), encoding="utf-8-sig", newline="")
    return csv.reader(text, delimiter=marks[mark], strict=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """One column: its name, and what a cell of it does to the case."""

    name: str
    put: _Cell


def _columns(header: Sequence[str], file: str, instead: Instead | None) -> tuple[_Column, ...]:
    is_promptfoo = any(_EXPECTED.match(name) for name in header)
    found: list[_Column] = []
    for index, name in enumerate(header):
        if header.index(name) != index:
            raise _header_error(file, index, f"the column {name!r} is there twice")
        try:
            put = _promptfoo_column(name, instead) if is_promptfoo else _own_column(name)
            found.append(_Column(name=name, put=put))
        except BadKeyError as error:
            raise _header_error(file, index, str(error), error.hint) from None
    return tuple(found)


def _header_error(file: str, index: int, message: str, hint: str | None = None) -> ProjectFileError:
    return ProjectFileError(message, file=file, line=1, key=f"column {index + 1}", hint=hint)


def _own_column(name: str) -> _Cell:
    if match := _VARIABLE.match(name):
        return _variable(match[1])
    if name not in _OWN:
        hint = f"{suggest(name, _OWN, what='columns')} A variable of a template is written variables.{name}"
        raise BadKeyError(f"unknown column {name!r}", hint=hint)
    return _key(name)


def _promptfoo_column(name: str, instead: Instead | None) -> _Cell:
    if _EXPECTED.match(name):
        return _asserted(name, instead)
    if match := _CONFIGURED.match(name):
        return _configured(match[1])
    if match := _METADATA.match(name):
        return _tagged(match[1], is_list=bool(match[2]))
    if name.startswith("__"):
        return _special(name)
    if name.startswith("_") and f"_{name}" in _SPECIAL:
        raise BadKeyError(f"{name!r} is read as a variable", hint=f"did you mean '_{name}'?")
    if name in _CHECKS and instead is None:
        hint = f"write __{name}: in a table with __expected the plain columns are variables"
        raise BadKeyError(f"the column {name!r} would check nothing here", hint=hint)
    variable = _variable(name)
    if name not in ("id", "input"):
        return variable

    def both(item: dict[str, Any], cell: str) -> None:
        variable(item, cell)
        item[name] = cell

    return both


def _special(name: str) -> _Cell:
    if name == "__description":
        return _key("name")
    if name == "__threshold":
        return _number("threshold")
    if name in ("__prefix", "__suffix", "__metric"):
        return lambda item, cell: item.setdefault(" special", {}).__setitem__(name, cell)
    if name.removeprefix("__") in _OWN:
        return _key(name.removeprefix("__"))
    known = [*_SPECIAL, "__metadata:<name>", *(f"__{key}" for key in _OWN)]
    raise BadKeyError(f"{name} is not read", hint=suggest(name, known, what="columns"))


# -- what a cell does -------------------------------------------------------------------------------------------------


def _variable(name: str) -> _Cell:
    return lambda item, cell: item.setdefault("variables", {}).__setitem__(name, cell)


def _key(key: str) -> _Cell:
    if key in _LISTS:
        return lambda item, cell: item.__setitem__(key, _list(cell))
    if key in _NUMBERS:
        return _number(key)
    if key == "critical":
        return lambda item, cell: item.__setitem__(key, _boolean(cell))
    if key in _STRUCTURED:
        return lambda item, cell: item.__setitem__(key, _json(cell))
    return lambda item, cell: item.__setitem__(key, cell)


def _number(key: str) -> _Cell:
    def put(item: dict[str, Any], cell: str) -> None:
        try:
            item[key] = int(cell) if re.fullmatch(r"\s*[+-]?\d{1,15}\s*", cell) else float(cell)
        except ValueError:
            item[key] = cell.strip()  # a word such as "any", or a mistake the key's own reader names

    return put


def _asserted(name: str, instead: Instead | None) -> _Cell:
    def put(item: dict[str, Any], cell: str) -> None:
        try:
            found = expected_assertion(cell)
        except BadKeyError as error:
            if instead is None:
                raise
            found = instead(cell, error)
        item.setdefault(" columns", {})[name] = found
        item.setdefault("assert", []).append(found)

    return put


def _configured(column: str) -> _Cell:
    def put(item: dict[str, Any], cell: str) -> None:
        try:
            item.setdefault(" thresholds", {})[column] = float(cell)
        except ValueError:
            raise BadKeyError(f"{cell!r} is not a number") from None

    return put


def _tagged(key: str, *, is_list: bool) -> _Cell:
    def put(item: dict[str, Any], cell: str) -> None:
        # a comma that belongs to a word is written \\, there
        words = [one.replace("\\,", ",").strip() for one in re.split(r"(?<!\\),", cell)] if is_list else [cell.strip()]
        item.setdefault("tags", []).extend(word if key == "tags" else f"{key}={word}" for word in words if word)

    return put


def _list(cell: str) -> Any:
    if cell.lstrip().startswith("["):
        return _json(cell)
    return [part.strip() for part in cell.split(";") if part.strip()]


def _boolean(cell: str) -> bool:
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if cell.strip().lower() not in known:
        raise BadKeyError(f"expected true or false; got {cell!r}")
    return known[cell.strip().lower()]


def _json(cell: str) -> Any:
    try:
        return json.loads(cell)
    except (ValueError, RecursionError) as error:
        raise BadKeyError(f"is not JSON: {error}") from None


# -- a row ------------------------------------------------------------------------------------------------------------


def _item(columns: Sequence[_Column], row: Sequence[str], *, file: str, line: int, for_import: bool) -> dict[str, Any]:
    if len(row) > len(columns) and any(cell.strip() for cell in row[len(columns) :]):
        hint = "a cell that holds a comma stands in double quotes"
        message = f"has {len(row)} cells, and the table {len(columns)} columns"
        raise ProjectFileError(message, file=file, line=line, hint=hint)
    item: dict[str, Any] = {}
    for column, cell in zip(columns, row, strict=False):
        if not cell.strip():
            continue
        try:
            column.put(item, cell)
        except BadKeyError as error:
            raise ProjectFileError(str(error), file=file, line=line, key=column.name, hint=error.hint) from None
    special = _finish(item)
    if for_import:
        return {**item, **special}
    for name in ("__prefix", "__suffix"):
        if name in special and "input" not in item:
            raise ProjectFileError("needs an input in the same row", file=file, line=line, key=name)
    if "input" in item:
        item["input"] = special.get("__prefix", "") + item["input"] + special.get("__suffix", "")
    return item


def _finish(item: dict[str, Any]) -> Mapping[str, str]:
    """Puts thresholds and the metric into their assertions; gives what is left of the special columns."""
    named: Mapping[str, Any] = item.pop(" columns", {})
    for column, threshold in item.pop(" thresholds", {}).items():
        if column in named:
            named[column]["threshold"] = threshold
    special: dict[str, str] = item.pop(" special", {})
    metric = special.pop("__metric", None)
    for assertion in item.get("assert", []) if metric is not None else []:
        assertion["metric"] = metric
    return special


def _content_id(item: Mapping[str, Any], taken: dict[str, int]) -> str:
    """An id that a row keeps wherever it stands; the same row once more gets a number."""
    text = json.dumps({key: item.get(key) for key in ("input", "conversation", "variables")}, sort_keys=True)
    found = f"row-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
    taken[found] = taken.get(found, 0) + 1
    return found if taken[found] == 1 else f"{found}-{taken[found]}"
