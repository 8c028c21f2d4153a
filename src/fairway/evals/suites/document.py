"""A suite's file as plain values that know where they stand, whether it is YAML or JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from fairway.errors import ProjectFileError
from fairway.yaml_file import MAXIMUM_BYTES, MAXIMUM_DEPTH, YamlDocument, parse_yaml


def read_document(content: bytes, *, file: str) -> YamlDocument:
    """Parse a ``.json`` file as JSON and anything else as YAML, as strictly as every file of a project.

    Raises:
        ProjectFileError: Not UTF-8, not YAML or JSON, a key written twice, beyond the limits of `fairway.yaml_file`.
    """
    if not file.lower().endswith(".json"):
        return parse_yaml(content, file=file)
    if len(content) > MAXIMUM_BYTES:
        raise ProjectFileError(f"is larger than {MAXIMUM_BYTES // 1024 // 1024} MiB", file=file)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ProjectFileError(f"is not UTF-8: byte {error.start + 1}", file=file, hint="save it as UTF-8") from error
    value = _json_value(text, file)
    # JSON's own parser reads the values (its escapes are not YAML's); YAML's marks only tell where they stand
    try:
        marks = parse_yaml(text.replace("\t", " ").encode(), file=file)
    except ProjectFileError:
        marks = YamlDocument(file=file, value=None, values={}, keys={})
    return replace(marks, value=value)


def _json_value(text: str, file: str) -> Any:
    try:
        value = json.loads(text, parse_constant=_refuse, object_pairs_hook=_distinct)
    except json.JSONDecodeError as error:
        raise ProjectFileError(f"is not JSON: {error.msg}", file=file, line=error.lineno, column=error.colno) from error
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)[:200]
        raise ProjectFileError(f"is not JSON: {reason}", file=file) from error
    if _depth(value) > MAXIMUM_DEPTH:
        raise ProjectFileError(f"is nested deeper than {MAXIMUM_DEPTH} levels", file=file)
    return value


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} is there twice in one object")
        found[key] = value
    return found


def _depth(value: Any) -> int:
    """Levels of lists and objects; the parser's own limit keeps the recursion short."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0) if isinstance(value, dict | list) else 0
