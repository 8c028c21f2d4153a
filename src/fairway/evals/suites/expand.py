"""``for:``, a table of variables that makes several cases of one: one family, with ids that stay."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from fairway.evals.suites.keys import BadKeyError, label, variables
from fairway.mistakes import shown

MOST_ROWS = 10_000
_LONGEST_ID = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a table: what it adds to the id, and its variables."""

    suffix: str
    variables: Mapping[str, Any]


def rows_of(value: Any) -> tuple[Row, ...]:
    """The rows of a table.

    Args:
        value: A list of mappings, each a row; or a mapping of lists, of which every combination is a row. A row may
            have an ``id``, which is then no variable.

    Raises:
        BadKeyError: It is neither, is empty, too long, or two rows are the same.
    """
    if isinstance(value, Mapping):
        rows = _combinations(value)
    elif isinstance(value, list):
        rows = [_row(index, one) for index, one in enumerate(value)]
    else:
        raise BadKeyError(f"expected a list of rows, or a mapping of lists; got {shown(value)}")
    if not 1 <= len(rows) <= MOST_ROWS:
        raise BadKeyError(f"must have 1 to {MOST_ROWS} rows; it has {len(rows)}")
    seen: set[str] = set()
    for index, row in enumerate(rows):
        if row.suffix in seen:
            at = (index,) if isinstance(value, list) else ()
            raise BadKeyError(f"the row {row.suffix} is there twice", *at, hint="give each row its own id")
        seen.add(row.suffix)
    return tuple(rows)


def _row(index: int, value: Any) -> Row:
    if not isinstance(value, dict) or not value:
        raise BadKeyError(f"expected a row: a mapping of variables; got {shown(value)}", index)
    try:
        named = label(value["id"]) if "id" in value else None
        found = variables({key: one for key, one in value.items() if key != "id"})
    except BadKeyError as error:
        raise BadKeyError(str(error), index, *error.at) from error
    return Row(suffix=named or row_name(found), variables=found)


def _combinations(value: Mapping[str, Any]) -> list[Row]:
    for name, choices in value.items():
        if not isinstance(choices, list) or not choices:
            raise BadKeyError(f"expected a list of values; got {shown(choices)}", name)
    if not value or prod(len(choices) for choices in value.values()) > MOST_ROWS:
        raise BadKeyError(f"must have 1 to {MOST_ROWS} combinations")
    found = [variables(dict(zip(value, chosen, strict=True))) for chosen in product(*value.values())]
    return [Row(suffix=row_name(one), variables=one) for one in found]


def row_name(variables: Mapping[str, Any]) -> str:
    """What a row is called, from its content alone: neither another row nor the order of its keys renames it.

    ``lang=de,order=A-1`` when that is short and plain, else the first 10 hex digits of its SHA-256.
    """
    if all(isinstance(one, str | int | bool) for one in variables.values()):
        pairs = sorted(variables.items())
        name = ",".join(f"{key}={str(one).lower() if isinstance(one, bool) else one}" for key, one in pairs)
        # a text that reads as a number or has a separator could be mistaken for another row
        plain = all(not isinstance(one, str) or _is_word(one) for one in variables.values())
        if plain and len(name) <= _LONGEST_ID:
            return name
    text = json.dumps(variables, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _is_word(text: str) -> bool:
    return text.replace("-", "").replace("_", "").isalnum() and not text.isdigit() and text not in ("true", "false")
