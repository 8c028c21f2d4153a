"""What a usual request and a usual answer look like: one expression each.

They accept only messages that the general way (:mod:`fairway.gateway.framing`) accepts and passes on unchanged; the
tests compare the two.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_TOKEN_CHARS = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"  # noqa: S105 - of header names
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_VALUE = rb"[\t\x20-\x7e\x80-\xff]*+"
_HOST = rb"[A-Za-z0-9._~!$&'()*+;=%:\[\]\-]{1,255}+"

_REQUEST_SPECIAL = (
    "transfer-encoding", "connection", "expect", "keep-alive", "proxy-connection", "te", "trailer", "upgrade",
    "proxy-authenticate", "proxy-authorization", "http2-settings", "forwarded", "x-request-timeout",
    "x-envoy-expected-rq-timeout-ms",
)  # fmt: skip
_ANSWER_SPECIAL = (
    "transfer-encoding", "connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade", "fairway-outcome",
    "fairway-release",
)  # fmt: skip

Matcher = Callable[[bytes], re.Match[bytes] | None]


def _any_case(name: str) -> bytes:
    """A pattern for a header name; classes instead of a flag let the matcher skip by the first letter."""
    parts = (f"[{char.lower()}{char.upper()}]" if char.isalpha() else re.escape(char) for char in name)
    return "".join(parts).encode("latin-1", "replace")


def _usual_case(name: str) -> bytes:
    """A pattern for a header name as most write it: in small letters, or with large initials."""
    words = (f"[{word[0]}{word[0].upper()}]{word[1:]}" for word in name.split("-"))
    return "-".join(words).encode()


_OURS = _any_case("x") + rb"[_-](?:" + b"|".join(map(_any_case, ("fairway", "forwarded", "real"))) + rb")[_-]"
"""What the gateway says itself: of the request, and of who sends it."""


def _others(names: tuple[str, ...]) -> bytes:
    """A header line with none of these names, and not one of the gateway's own: two alternatives.

    Most lines begin with a letter that none of the names begins with: that spares comparing them.
    """
    first: dict[str, list[str]] = {"x": []}
    for name in names:
        first.setdefault(name[0].lower(), []).append(name[1:])
    free = "".join(char for char in _TOKEN_CHARS if char.lower() not in first)
    listed = (
        _any_case(letter) + b"(?:" + b"|".join(_any_case(rest) for rest in rests) + b")"
        for letter, rests in first.items()
        if rests
    )
    unlisted = rb"(?!(?:" + b"|".join(listed) + rb"|" + _OURS + rb"[^:]*+):)"
    rest = _TOKEN + rb"*+:" + _VALUE + rb"\r\n"
    return b"[" + re.escape(free).encode() + b"]" + rest + rb"|" + unlisted + _TOKEN + rest


def request_matcher(key_header: str, rule_headers: tuple[str, ...]) -> Matcher:
    """Matches the head of a usual request; groups: host, length, key, cookie, a Connection that says nothing.

    Repeated ones of these do not match.

    The key is without white space around; a line that ends with some does not match.

    Args:
        key_header: Where the key of a unit is read from.
        rule_headers: Headers a rule of the table looks at; a request that has one is not usual.
    """
    names = (*_REQUEST_SPECIAL, *rule_headers, "host", "content-length", key_header, "cookie")
    cookie = b"(?!)()" if "cookie" in rule_headers else _usual_case("cookie") + rb":(?(4)(?!))(" + _VALUE + rb")\r\n"
    kind = b"" if "content-type" in names else _usual_case("content-type") + rb":" + _VALUE + rb"\r\n|"
    return re.compile(
        rb"(?!HEAD |CONNECT |PRI )[A-Z]{1,32}+ /[\x21-\x7e]*+ HTTP/1\.1\r\n(?:"
        + _usual_case("host") + rb":(?(1)(?!)) ?(" + _HOST + rb")\r\n|"
        + kind
        + _usual_case("content-length") + rb":(?(2)(?!)) ?([0-9]{1,15}+)\r\n|"
        + _any_case(key_header) + rb":(?(3)(?!))[\t ]*+(" + _VALUE + rb")(?<![\t ])\r\n|"
        + cookie + rb"|"
        + _usual_case("connection") + rb":(?(5)(?!))( ?[kK]eep-[aA]live)\r\n|"
        + _others(names) + rb")*+\r\n"
    ).match  # fmt: skip


match_answer = re.compile(
    rb"HTTP/1\.1 (2(?!04)[0-9][0-9]|4[0-9][0-9])(?: " + _VALUE + rb")?\r\n(?:"
    + _usual_case("content-length") + rb":(?(2)(?!)) ?([0-9]{1,15}+)\r\n|"
    + _usual_case("content-type") + rb":(?![ \t]*+[tT][eE][xX][tT]/[eE])" + _VALUE + rb"\r\n|"
    + _usual_case("connection") + rb":(?(3)(?!))( [kK]eep-[aA]live)\r\n|"
    + _usual_case("fairway-outcome") + rb":(?(4)(?!))(" + _VALUE + rb")\r\n|"
    + _usual_case("fairway-release") + rb":(?(5)(?!))(" + _VALUE + rb")\r\n|"
    + _others((*_ANSWER_SPECIAL, "content-length", "content-type")) + rb")*+\r\n"
).match  # fmt: skip
"""Matches the head of a usual answer; groups: status, length, a Connection that says nothing, outcome, release."""
