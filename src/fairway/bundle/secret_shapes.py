"""Files and texts that are secrets by their shape: what must never travel in a bundle.

Deliberately few and certain; the security scan looks much deeper.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

_FILE_NAMES = frozenset({".env", ".netrc", ".pgpass", ".pypirc", "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519"})
_SUFFIXES = frozenset({".key", ".p12", ".pfx", ".jks", ".keystore"})
_HARMLESS = frozenset({"example", "sample", "template", "dist"})
_SHAPES = (
    ("a private key", re.compile(rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----")),
    ("an API key", re.compile(rb"\bsk-(?:proj-|ant-|or-)?[A-Za-z0-9_-]{24,}")),
    ("an AWS access key", re.compile(rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    ("a GitHub token", re.compile(rb"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,})")),
    ("a GitLab token", re.compile(rb"\bglpat-[A-Za-z0-9_-]{20,}")),
    ("a Slack token", re.compile(rb"\bxox[abprs]-[A-Za-z0-9-]{20,}")),
    ("a Google API key", re.compile(rb"\bAIza[0-9A-Za-z_-]{35}\b")),
)


def is_secret_file(path: str) -> bool:
    """Whether a file holds secrets by its name: ``.env``, ``.env.production``, ``id_rsa``, ``server.key``."""
    name = PurePosixPath(path).name.lower()
    if name.startswith(".env."):
        return name.removeprefix(".env.") not in _HARMLESS
    return name in _FILE_NAMES or PurePosixPath(name).suffix in _SUFFIXES


def find_secret(content: bytes) -> tuple[str, int] | None:
    """What a text holds that is a secret by its shape, and its 1-based line; the secret itself is never returned."""
    for what, shape in _SHAPES:
        match = shape.search(content)
        if match:
            return what, content.count(b"\n", 0, match.start()) + 1
    return None
