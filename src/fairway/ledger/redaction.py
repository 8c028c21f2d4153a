"""Secrets never enter the ledger: values under telling keys and strings of telling shape become ``[redacted]``.

This is the last net, not the first: secrets travel by reference (``env:NAME``), and references are kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fairway.canonical import canonical_json
from fairway.release.wire import read_json

REDACTED = "[redacted]"

_TELLING_WORDS = (
    "token", "secret", "secrets", "password", "passwd", "passphrase", "credential", "credentials", "authorization",
    "api_key", "api-key", "apikey", "access_key", "access-key", "accesskey", "private_key", "private-key", "privatekey",
    "signing_key", "signing-key", "signingkey",
)  # fmt: skip
_SECRET_KEY = re.compile(rf"(?:^|[_\-. ])(?:{'|'.join(_TELLING_WORDS)})$", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_REFERENCE = re.compile(r"^(?:env|file|sops|vault|k8s|aws-sm):\S+$")

_SHAPES = (
    ("private key-", r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)"),
    ("sk-", r"\bsk-[A-Za-z0-9_-]{16,}"),
    ("gh", r"\bgh[pousr]_[A-Za-z0-9]{20,}"),
    ("github_pat_", r"\bgithub_pat_[A-Za-z0-9_]{20,}"),
    ("glpat-", r"\bglpat-[A-Za-z0-9_-]{16,}"),
    ("hf_", r"\bhf_[A-Za-z0-9]{20,}"),
    ("xox", r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
    ("akia", r"\bAKIA[A-Z0-9]{16}\b"),
    ("asia", r"\bASIA[A-Z0-9]{16}\b"),
    ("aiza", r"\bAIza[A-Za-z0-9_-]{30,}"),
    ("eyj", r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"),
    ("bearer ", r"(?<=[Bb]earer )[A-Za-z0-9._~+/=-]{12,}"),
    ("://", r"(?<=://)[^/\s:@\"]+:[^/\s@\"]+(?=@)"),
)
"""What a shape holds in lower case, and the shape: a plain search first, because most texts hold none."""

_COMPILED = tuple((literal, re.compile(shape, re.DOTALL)) for literal, shape in _SHAPES)
_ASSIGNED = re.compile(rf"((?:{'|'.join(_TELLING_WORDS)})\s?=\s?)(?!\[redacted\])[^\s,;&\"']{{6,}}", re.IGNORECASE)
_TELLING = tuple(re.compile(rf"{word}[\"']?\s*[:=]") for word in _TELLING_WORDS)
"""On lower case, one by one: a pattern that begins with plain text is searched far faster than alternatives."""


def redact_text(text: str) -> str:
    """``text`` with every string of a known secret's shape replaced."""
    low = text.lower()
    for literal, shape in _COMPILED:
        if literal in low:
            text = shape.sub(REDACTED, text)
    return _ASSIGNED.sub(rf"\1{REDACTED}", text) if "=" in text else text


def redact(value: Any) -> Any:
    """A JSON-able value without secrets; mappings become dicts, tuples lists.

    Strings and lists of strings under keys such as ``api_key``, ``dbPassword`` or ``auth.token`` are replaced, unless
    they are references (``env:NAME``) or empty. Numbers stay: ``max_tokens`` counts, and so may ``token``.
    """
    if isinstance(value, Mapping):
        return {str(key): _under(str(key), entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [redact(entry) for entry in value]
    return redact_text(value) if isinstance(value, str) else value


def redact_json(content: bytes) -> bytes:
    """Canonical JSON without secrets; the very same bytes when there is nothing to hide.

    What is not JSON is searched as text.
    """
    text = content.decode("utf-8", errors="replace")
    low = text.lower()
    shaped = any(literal in low and shape.search(text) for literal, shape in _COMPILED)
    if not shaped and not any(telling.search(low) for telling in _TELLING):
        return content
    try:
        value = read_json(text)
    except (ValueError, RecursionError):
        return redact_text(text).encode()
    cleaned = redact(value)
    return content if cleaned == value else canonical_json(cleaned)


def _under(key: str, value: Any) -> Any:
    if not _SECRET_KEY.search(_CAMEL.sub("_", key)):
        return redact(value)
    if isinstance(value, str):
        return value if not value or _REFERENCE.match(value) else REDACTED
    if isinstance(value, list | tuple):
        # "secrets: [NAME, …]" lists names; under a singular key a list holds the things themselves.
        return redact(value) if key.lower().endswith("s") else [_under(key, entry) for entry in value]
    if isinstance(value, Mapping):
        return {str(name): _under(key, entry) for name, entry in value.items()}
    return value
