"""The pin: a signed, stateless token that keeps a conversation on the release it began on."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import struct
from binascii import b2a_base64
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from fairway.traffic.bucket import unit_hash
from fairway.traffic.facts import Facts, cookie_value

PIN_COOKIE = "fairway_pin"
PIN_HEADER = "x-fairway-pin"

_BODY = struct.Struct(">BBIQII")
_VERSION = 2
_BEFORE_UNIT = _BODY.size - 4
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_HASHED = 1
_MAC_BYTES = 14  # with the body 36 bytes, so that base64 has no spare bits and a token only one spelling
_TOKEN_CHARS = -(-(_BODY.size + _MAC_BYTES) // 3) * 4


def release_tag(release: str) -> int:
    """64-bit tag by which a token names a release; it only counts when an arm of the table has it."""
    return int.from_bytes(blake2b(release.encode(), digest_size=8).digest(), "big")


def unit_tag(key: str | None) -> int:
    """32-bit tag by which a pin names the unit it belongs to; 0 for a client without a key."""
    return 0 if key is None else int(unit_hash(key)[:8], 16) or 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """Where a conversation began.

    Attributes:
        release: :func:`release_tag` of the release.
        salt: :func:`fairway.traffic.bucket.tag_of` the salt in force when it began.
        hashed: Whether the hash put it there; only then, and only under the same salt, does it count as a unit.
        expires: Epoch seconds; from then on the pin is void.
        unit: :func:`unit_tag` of the conversation's key; a client that keeps one cookie jar for many conversations
            must not take one's pin for another's.
    """

    release: int
    salt: int
    hashed: bool
    expires: int
    unit: int


class PinSigner:
    """Signs and reads pins of one route."""

    def __init__(self, key: bytes, *, route: str) -> None:
        """Take the secret (at least 16 bytes) and the route the pins belong to.

        Raises:
            ValueError: When the key is too short.
        """
        if len(key) < 16:
            raise ValueError("a pin key has at least 16 bytes")
        self._key = key
        self._route = route.encode() + b"\0"
        secret = blake2b(key, digest_size=32, person=b"fairway pin 2").digest()
        self._keyed = blake2b(self._route, key=secret, digest_size=_MAC_BYTES)

    def sign(self, pin: Pin) -> str:
        """The token, URL-safe base64, 48 characters."""
        return self.sign_for(self.begin(pin), pin.unit.to_bytes(4, "big")).decode()

    @staticmethod
    def begin(pin: Pin) -> bytes:
        """The part of a pin's body that many units share; for :meth:`sign_for`."""
        flags = _HASHED if pin.hashed else 0
        return _BODY.pack(_VERSION, flags, pin.expires, pin.release, pin.salt, 0)[:_BEFORE_UNIT]

    def sign_for(self, begun: bytes, unit: bytes) -> bytes:
        """The token of a pin begun by :meth:`begin`, for the four bytes of a unit's tag."""
        body = begun + unit
        keyed = self._keyed.copy()
        keyed.update(body)
        return b2a_base64(body + keyed.digest(), newline=False).translate(_URL_SAFE)

    def read(self, token: str, *, now: float) -> Pin | None:
        """The pin, or ``None`` when it is malformed, forged, of another route, or expired."""
        if not 0 < len(token) <= _TOKEN_CHARS:
            return None
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        if len(raw) != _BODY.size + _MAC_BYTES:
            return None
        body, mac = raw[: _BODY.size], raw[_BODY.size :]
        if not hmac.compare_digest(mac, self._mac(body)):
            return None
        _, flags, expires, release, salt, unit = _BODY.unpack(body)
        if expires <= now:
            return None
        return Pin(release=release, salt=salt, hashed=bool(flags & _HASHED), expires=expires, unit=unit)

    def _mac(self, body: bytes) -> bytes:
        """Of the body's version: keyed BLAKE2b; version 1, no longer issued, had HMAC-SHA-256 and is still read."""
        if body[0] == 1:
            return hmac.digest(self._key, self._route + body, "sha256")[:_MAC_BYTES]
        if body[0] != _VERSION:
            return b""
        keyed = self._keyed.copy()
        keyed.update(body)
        return keyed.digest()


def sent_pin(facts: Facts, signer: PinSigner, now: float) -> Pin | None:
    """The valid pin a request brought, in its header or else its cookie; ``now`` in epoch seconds."""
    token = facts.header(PIN_HEADER) or cookie_value(facts, PIN_COOKIE)
    return signer.read(token, now=now) if token else None


def load_pin_key(path: Path) -> bytes:
    """The pin key, made on first use with mode 600; safe when two processes start at once.

    Raises:
        OSError: When the file can neither be read nor made.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    if not path.exists():
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(32))
        try:
            os.link(fresh, path)  # unlike a rename it never replaces a key somebody else just made
        except FileExistsError:
            pass
        finally:
            fresh.unlink(missing_ok=True)
    return path.read_bytes()
