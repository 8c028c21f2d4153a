"""Suites of one case a line (JSONL): quick to read, and as large as it takes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from fairway.errors import ProjectFileError
from fairway.evals.suites.document import MAXIMUM_LINE, depth_of, distinct, refuse_constant
from fairway.yaml_file import MAXIMUM_DEPTH, Position, YamlDocument

_DECODER = json.JSONDecoder(object_pairs_hook=distinct, parse_constant=refuse_constant)


def read_lines(content: bytes, *, file: str) -> Iterator[YamlDocument]:
    """Each line's value, with the line it stands in; empty lines do not count.

    Raises:
        ProjectFileError: A line is no JSON, is too long or too deep, or the file is not UTF-8.
    """
    for number, raw in enumerate(BytesIO(content), 1):
        if raw.isspace():
            continue
        if len(raw) > MAXIMUM_LINE:
            raise ProjectFileError(f"is longer than {MAXIMUM_LINE // 1024 // 1024} MiB", file=file, line=number)
        yield line_document(_value(raw, file, number), file=file, line=number)


def line_document(value: Any, *, file: str, line: int) -> YamlDocument:
    """A value of which nothing is known but its line."""
    return YamlDocument(file=file, value=value, values={(): Position(line=line, column=1)}, keys={})


def _value(raw: bytes, file: str, line: int) -> Any:
    try:
        text = raw.decode("utf-8-sig" if line == 1 else "utf-8").strip()
        value, end = _DECODER.raw_decode(text)
    except UnicodeDecodeError as error:
        hint = "save it as UTF-8"
        raise ProjectFileError("is not UTF-8", file=file, line=line, column=error.start + 1, hint=hint) from error
    except json.JSONDecodeError as error:
        raise ProjectFileError(f"is not JSON: {error.msg}", file=file, line=line, column=error.colno) from error
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)[:200]
        raise ProjectFileError(f"is not JSON: {reason}", file=file, line=line) from error
    if end != len(text):
        hint = "JSONL has one case a line"
        raise ProjectFileError("holds more than one value", file=file, line=line, column=end + 1, hint=hint)
    if text.count("{") + text.count("[") > MAXIMUM_DEPTH and depth_of(value) > MAXIMUM_DEPTH:
        raise ProjectFileError(f"is nested deeper than {MAXIMUM_DEPTH} levels", file=file, line=line)
    return value
