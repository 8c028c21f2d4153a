"""Buckets and unit hashes: who belongs to which side of a split, the same on every machine and after every restart.

``bucket = (uint64(blake2b-8(salt || 0x00 || key)) * 100000) >> 64``, the integer read big-endian; a unit is the
candidate's iff its bucket is below the split. A larger split therefore only adds units. Golden vectors:
``tests/vectors/buckets.json``.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

from fairway.units import WHOLE, UnitHash

_WHOLE = int(WHOLE)


def bucket(salt: str, key: str) -> int:
    """Bucket of a key under a salt, 0 to 99,999, uniform to one part in 2^47.

    Args:
        salt: Rollout id; must not contain NUL (it separates salt and key).
        key: The unit's key as extracted, any text.

    Raises:
        ValueError: When the salt contains NUL.
    """
    if "\0" in salt:
        raise ValueError("a salt must not contain NUL")
    digest = blake2b(f"{salt}\0{key}".encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") * _WHOLE) >> 64


def mirror_salt(salt: str) -> str:
    """The salt that decides which conversations are mirrored: another draw than the split's, from the same hash."""
    return f"{salt}/mirror"


def highest_below(split: int) -> bytes:
    """What ``blake2b-8(salt || 0x00 || key)``, as eight bytes, compares below iff the bucket is below ``split``.

    Args:
        split: Parts of 100,000.
    """
    limit = -(-(split << 64) // _WHOLE)  # the first number whose bucket is not below
    return limit.to_bytes(8, "big") if limit < 1 << 64 else b"\xff" * 9


@lru_cache(maxsize=1024)
def unit_hash(key: str) -> UnitHash:
    """The unit as telemetry names it: 16 hex digits of blake2b-8 of the key, without the salt."""
    return UnitHash(blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest())


def tag_of(text: str) -> int:
    """32-bit tag of a salt or key, for compact tokens and tables."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogateescape"), digest_size=4).digest(), "big")
