"""Text of an agent or a model as it may be shown: what it wrote must neither break a file nor steer a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

_SHOWN_AS = "\ufffd"
MOST_DEPTH = 100
"""Levels of a JSON value of an agent: far fewer than what Python can write, wherever it is written from."""


def writable(text: str) -> str:
    """The text without halves of surrogate pairs, which are legal in JSON and can be written nowhere."""
    return text.encode("utf-8", "replace").decode()


def plain(text: str) -> str:
    """The text without surrogates, control characters and marks that reverse the direction of writing."""
    return "".join(_SHOWN_AS if _is_hidden(char) else char for char in writable(text))


def _is_hidden(char: str) -> bool:
    return char not in "\n\t" and unicodedata.category(char) in ("Cc", "Cf", "Cs") and char != "\u200d"


def writable_value(value: Any, depth: int = MOST_DEPTH) -> Any:
    """A JSON value with every text in it writable.

    Raises:
        RecursionError: It is nested deeper than anything that writes it to a file could follow.
    """
    if isinstance(value, str):
        return writable(value)
    if not isinstance(value, Mapping | list | tuple):
        return value
    if depth == 0:
        raise RecursionError("nested too deeply")
    if isinstance(value, Mapping):
        return {writable(str(key)): writable_value(inner, depth - 1) for key, inner in value.items()}
    return [writable_value(inner, depth - 1) for inner in value]
