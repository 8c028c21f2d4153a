"""Text of an agent or a model as it may be shown: what it wrote must neither break a file nor steer a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

_SHOWN_AS = "\ufffd"


def writable(text: str) -> str:
    """The text without halves of surrogate pairs, which are legal in JSON and can be written nowhere."""
    return text.encode("utf-8", "replace").decode()


def plain(text: str) -> str:
    """The text without surrogates, control characters and marks that reverse the direction of writing."""
    return "".join(_SHOWN_AS if _is_hidden(char) else char for char in writable(text))


def _is_hidden(char: str) -> bool:
    return char not in "\n\t" and unicodedata.category(char) in ("Cc", "Cf", "Cs") and char != "\u200d"


def writable_value(value: Any) -> Any:
    """A JSON value with every text in it writable."""
    if isinstance(value, str):
        return writable(value)
    if isinstance(value, Mapping):
        return {writable(str(key)): writable_value(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [writable_value(inner) for inner in value]
    return value
