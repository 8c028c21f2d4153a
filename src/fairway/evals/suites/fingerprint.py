"""Everything of a case that its result depends on, for the instrument's digest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, fields
from enum import Enum
from typing import Any

from fairway.canonical import sha256_digest
from fairway.evals.values import Assertion, Case, ExpectedTool, Suite
from fairway.units import Digest

RESULT_FREE: Mapping[type, frozenset[str]] = {
    Case: frozenset({"name", "line", "tags", "rule", "prompt_version"}),
    Assertion: frozenset({"line"}),
    ExpectedTool: frozenset(),
}
"""Fields that change no result: what a person reads, and where it stands. Every other field is in the digest."""


def suite_digest(suite: Suite) -> Digest:
    """Digest over what the results of a suite's cases depend on; the order of its cases does not matter.

    Each case is one line of JSON with sorted keys (Python's shortest decimals, ASCII escapes), hashed; not RFC 8785,
    which is some twenty times slower and only matters where other languages have to arrive at the same digest.
    """
    lines = sorted(case_line(case) for case in suite.cases)
    return sha256_digest("\n".join(lines).encode("ascii"))


def case_line(case: Case) -> str:
    """``case_json`` as one line: equal exactly when the JSON is."""
    return json.dumps(case_json(case), sort_keys=True, separators=(",", ":"), allow_nan=False)


def case_json(case: Case) -> dict[str, Any]:
    """The fields of a case that its result depends on, without those that have their default.

    What is left unsaid is left out, so that a later version of Fairway that knows one more key still compares runs of
    suites that do not use it.
    """
    return _written(case, _FIELDS[Case])


def _written(value: Any, known: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, default in known:
        one = getattr(value, name)
        if one != default:
            found[name] = _plain(one)
    return found


def _plain(value: Any) -> Any:
    known = _FIELDS.get(type(value))
    if known is not None:
        return _written(value, known)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return value


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default


_FIELDS: Mapping[type, tuple[tuple[str, Any], ...]] = {
    kind: tuple((field.name, _default(field)) for field in fields(kind) if field.name not in free)
    for kind, free in RESULT_FREE.items()
}
