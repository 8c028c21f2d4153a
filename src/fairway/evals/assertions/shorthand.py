"""Assertions in one line of text: ``is-json``, ``not-contains: refund``, ``similar(0.8): …``; also for CSV."""

from __future__ import annotations

import re
from typing import Any

from fairway.evals.assertions.registry import KINDS, UNSUPPORTED

_OTHER_NAMES = {"grade": "llm-rubric", "fn": "javascript", "eval": "javascript"}
_NAMES = sorted({*KINDS, *UNSUPPORTED, *_OTHER_NAMES}, key=len, reverse=True)
_LINE = re.compile(
    rf"\s*(?P<negated>not-)?(?P<type>{'|'.join(map(re.escape, _NAMES))})"
    r"\s*(?:\(\s*(?P<threshold>[0-9]+(?:\.[0-9]+)?)\s*\))?\s*(?::(?P<value>.*))?",
    re.DOTALL,
)
_PYTHON_FILE = re.compile(r"file://[^\n]+\.py(?::[A-Za-z_]\w*)?")


def read_shorthand(line: str) -> dict[str, Any] | None:
    """A line as the mapping a suite would write; ``None``: it names no type, and so is a text to be equal to.

    ``type``, ``type(threshold)``, ``type: value`` and ``type(threshold): value`` with or without ``not-``; ``grade:``
    is ``llm-rubric``, ``fn:`` and ``eval:`` are ``javascript``, ``file://check.py:function`` is ``python``. Types that
    cannot be checked here are read too, so that the reader says so instead of comparing text.
    """
    if _PYTHON_FILE.fullmatch(line.strip()):
        return {"type": "python", "value": line.strip()}
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    item: dict[str, Any] = {"type": (found["negated"] or "") + _OTHER_NAMES.get(found["type"], found["type"])}
    if found["threshold"] is not None:
        item["threshold"] = float(found["threshold"])
    value = found["value"].strip() if found["value"] is not None else ""
    if value:
        item["value"] = value
    return item
