"""The key of a request's unit: what tells one conversation, user or tenant from another. Pure."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from urllib.parse import unquote

from fairway.traffic.facts import Facts, cookie_value
from fairway.traffic.table import KeyExtractor, KeyKind

MAX_KEY_LENGTH = 512
"""Characters; a longer key is no key (the request is keyless)."""

ISSUED_COOKIE = "fairway_unit"
"""Cookie of an ``issue_cookie`` extractor that gives no name."""

_traceparent = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?"
).fullmatch


def unit_key(extractors: tuple[KeyExtractor, ...], facts: Facts) -> str | None:
    """The key of a request's unit by the first extractor that finds one; ``None`` when keyless."""
    for extractor in extractors:
        value = _EXTRACT[extractor.kind](extractor.name, facts)
        if value and len(value) <= MAX_KEY_LENGTH and _is_bytes(value):
            return value
    return None


def needs_body(extractors: tuple[KeyExtractor, ...], facts: Facts) -> tuple[str, ...]:
    """The JSON pointers that come before the first extractor that finds a key without the body; none when none does."""
    pointers: list[str] = []
    for extractor in extractors:
        if extractor.kind is KeyKind.JSON_POINTER:
            pointers.append(extractor.name)
        elif unit_key((extractor,), facts) is not None:
            break
    return tuple(pointers)


def issued_cookie(extractors: tuple[KeyExtractor, ...]) -> str | None:
    """Name of the cookie to issue to keyless clients; ``None`` when the table asks for none."""
    for extractor in extractors:
        if extractor.kind is KeyKind.ISSUE_COOKIE:
            return extractor.name or ISSUED_COOKIE
    return None


def _is_bytes(value: str) -> bool:
    """Whether a text stands for bytes: JSON can say half a surrogate pair, which no bytes mean."""
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _path_segment(name: str, facts: Facts) -> str | None:
    segments = facts.path.split("/")[1:]
    index = int(name) if name.isdecimal() else -1
    return unquote(segments[index], errors="surrogateescape") if 0 <= index < len(segments) else None


def _jwt_claim(name: str, facts: Facts) -> str | None:
    """A claim of the bearer token, *unverified*: good enough to split by, never to trust."""
    scheme, _, token = (facts.header("authorization") or "").partition(" ")
    parts = token.split(".")
    if scheme.lower() != "bearer" or len(parts) != 3 or len(parts[1]) > 8192:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None
    value = claims.get(name) if isinstance(claims, dict) else None
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


def _trace_id(name: str, facts: Facts) -> str | None:
    """The trace id of a W3C ``traceparent`` (Trace Context section 3.2.2); an invalid one is none."""
    found = _traceparent((facts.header(name.lower() or "traceparent") or "").strip())
    return None if found is None else found.group(1)


_EXTRACT: Mapping[KeyKind, Callable[[str, Facts], str | None]] = {
    KeyKind.HEADER: lambda name, facts: facts.header(name.lower()),
    KeyKind.COOKIE: lambda name, facts: cookie_value(facts, name),
    KeyKind.PATH_SEGMENT: _path_segment,
    KeyKind.JWT_CLAIM: _jwt_claim,
    KeyKind.TRACE_ID: _trace_id,
    KeyKind.JSON_POINTER: lambda name, facts: facts.pointed(name),
    KeyKind.ISSUE_COOKIE: lambda name, facts: cookie_value(facts, name or ISSUED_COOKIE),
}
