"""Who may name a release: the header ``x-fairway-release: <name>; pass=<token>``, honoured only with a signed pass.

Without one, anybody who can reach the gateway could choose the release that answers: get to a candidate nobody has
judged yet, or stay away from it and spoil its sample. A pass names one release (by digest, version or role), belongs to
one route, and expires. What is not honoured is refused, never ignored: a smoke test that silently went to stable proves
nothing.
"""

from __future__ import annotations

import hmac
import struct
from binascii import Error, a2b_base64, b2a_base64
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b

RELEASE_HEADER = "x-fairway-release"
"""Names the arm a request must go to; looked at before every rule, whether or not the table has one for it."""

RELEASE_RULE = "release-header"
"""What `explain` calls that rule."""

MAX_SECONDS = 7 * 86_400
"""The longest a pass is made for."""

_HEAD = struct.Struct(">BI")
_VERSION = 1
_MAC_BYTES = 16  # with the head 21 bytes: no spare bits in base64, so a token has only one spelling
_CHARS = (_HEAD.size + _MAC_BYTES) // 3 * 4
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_PLAIN = str.maketrans("-_", "+/")
_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


class Refusal(StrEnum):
    """Why a request that names a release is not served."""

    PASS_MISSING = "pass_missing"  # noqa: S105 - a code
    PASS_INVALID = "pass_invalid"  # noqa: S105 - a code
    PASS_EXPIRED = "pass_expired"  # noqa: S105 - a code
    RELEASE_UNKNOWN = "release_unknown"
    RELEASE_NOT_SERVING = "release_not_serving"


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What a release header says.

    Attributes:
        name: Digest, version or role.
        rule: Id of the rule that looked at it.
        refusal: Why it is not honoured; ``None`` when its pass is good.
    """

    name: str
    rule: str = RELEASE_RULE
    refusal: Refusal | None = None


class PassSigner:
    """Makes and reads the passes of one route."""

    def __init__(self, key: bytes, *, route: str) -> None:
        """Take the gateway's secret (at least 16 bytes; that of its pins will do) and the route.

        Raises:
            ValueError: When the key is too short.
        """
        if len(key) < 16:
            raise ValueError("a pass key has at least 16 bytes")
        secret = blake2b(key, digest_size=32, person=b"fairway pass 1").digest()
        self._keyed = blake2b(route.encode() + b"\0", key=secret, digest_size=_MAC_BYTES)

    def sign(self, name: str, *, expires: int) -> str:
        """The header's value that names ``name`` until ``expires``, epoch seconds."""
        head = _HEAD.pack(_VERSION, expires)
        token = b2a_base64(head + self._mac(head, name), newline=False).translate(_URL_SAFE).decode()
        return f"{name}; pass={token}"

    def read(self, value: str, *, now: float, rule: str = RELEASE_RULE) -> Named:
        """What a header's value names; total, and as long for a forged token as for a good one.

        Args:
            value: Of the header.
            now: Epoch seconds.
            rule: Id of the rule that looked.
        """
        name, found, token = value.partition(";")
        name, token = name.strip(), token.strip()
        if not found or not token.startswith("pass="):
            return Named(name=name, rule=rule, refusal=Refusal.PASS_MISSING)
        token = token.removeprefix("pass=")
        if len(token) != _CHARS or not _ALPHABET.issuperset(token):
            return Named(name=name, rule=rule, refusal=Refusal.PASS_INVALID)
        try:
            raw = a2b_base64(token.translate(_PLAIN))
        except Error:
            return Named(name=name, rule=rule, refusal=Refusal.PASS_INVALID)
        head = raw[: _HEAD.size]
        version, expires = _HEAD.unpack(head)
        if version != _VERSION or not hmac.compare_digest(raw[_HEAD.size :], self._mac(head, name)):
            return Named(name=name, rule=rule, refusal=Refusal.PASS_INVALID)
        return Named(name=name, rule=rule, refusal=Refusal.PASS_EXPIRED if expires <= now else None)

    def _mac(self, head: bytes, name: str) -> bytes:
        keyed = self._keyed.copy()
        keyed.update(head + name.encode("utf-8", "backslashreplace"))
        return keyed.digest()
