"""Canonical JSON (RFC 8785) and digests over it: the same value gives the same bytes everywhere."""

from __future__ import annotations

import hashlib
from typing import Any

import rfc8785

from fairway.units import Digest


def canonical_json(value: Any) -> bytes:
    """Bytes of ``value`` by RFC 8785.

    Raises:
        ValueError: For what JSON cannot hold exactly (NaN, infinities, integers beyond 2^53).
    """
    try:
        return rfc8785.dumps(value)
    except rfc8785.CanonicalizationError as error:
        raise ValueError(str(error)) from error


def sha256_digest(content: bytes) -> Digest:
    """``sha256:<hex>`` of raw bytes."""
    return Digest("sha256:" + hashlib.sha256(content).hexdigest())


def value_digest(value: Any) -> Digest:
    """``sha256:<hex>`` of the canonical JSON of ``value``."""
    return sha256_digest(canonical_json(value))
