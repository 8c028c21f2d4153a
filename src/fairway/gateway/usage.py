"""Tokens as model APIs count them, read from the end of an answer when its agent does not say them in an outcome.

``usage`` of the OpenAI APIs and those like them, and of Anthropic's. The text of a model may well contain
``"usage": {...}``. It cannot be taken for the real one: within a JSON string every quote is escaped, so a quote right
after a comma or an opening brace begins a key, and what follows that key has to close exactly as many objects as the
place of the real one has around it. What cannot be read so is unknown, never 0, and says nothing of success. Pure.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

LOOK_BYTES = 1024
"""Bytes from the end of an answer in one piece in which its usage is looked for."""

TAIL_BYTES = 4096
"""The same of one that came in pieces, and of a stream."""

_BEFORE = 16
"""Bytes before the key that are looked at: a comma or a brace, and white space."""
_KEY = b'"usage"'
_MOST_KEYS = 4
_MOST_EVENTS = 4
_MOST_TOKENS = 10**12
_SPACE = b" \t\r\n"
_BLANK = 32
_BEFORE_KEY = (b",", b"{")


class Usage(NamedTuple):
    """Tokens of one request, as the model's API counted them; stands beside an ``Outcome`` where tokens are counted.

    Attributes:
        tokens_in: All that went in, cached ones included.
        tokens_out: All that came out.
        cached: Of ``tokens_in``, those read from a cache; 0 when nothing is said of a cache.
    """

    tokens_in: int
    tokens_out: int
    cached: int = 0

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.tokens_in + self.tokens_out

    @property
    def counted(self) -> bool:
        """Tokens are said."""
        return True

    @property
    def values(self) -> tuple[tuple[str, int], ...]:
        """Nothing else is."""
        return ()

    def counts(self) -> dict[str, int]:
        """The figures that are not zero, by the names telemetry sums them under."""
        figures = {"tokens_in": self.tokens_in, "tokens_out": self.tokens_out, "tokens_cached": self.cached}
        return {name: count for name, count in figures.items() if count}


_figures = re.compile(
    rb'"usage":\s*+\{\s*+"(?:prompt|input)_tokens":\s*+([0-9]{1,12}+),'
    rb'\s*+"(?:completion|output)_tokens":\s*+([0-9]{1,12}+)(?:,\s*+"total_tokens":\s*+[0-9]++)?+'
).match
"""How usage usually begins; groups: tokens in, tokens out."""
_FIGURES = (b'"prompt_tokens"', b'"input_tokens"', b'"completion_tokens"', b'"output_tokens"')
_MOST_KEPT, _MOST_KEPT_BYTES = 1024, 256
_read_lately: dict[bytes, Usage] = {}
"""Usage by how an answer ends from the comma or brace before the key on."""

_MOST_RESTS = 256
_rests: dict[bytes, tuple[int, int]] = {}
"""What followed the figures of usage that was read in full, to the end of the answer, which is nearly always the same:
how many tokens more went in by it, and how many of them came from a cache."""


def usage_at(data: bytes) -> Usage | None:
    """Usage in an answer that is here whole, head and all, if it is near the end.

    Cheap where there is none (one search), and where the answer ends as one did a while ago.
    """
    at = data.rfind(_KEY, -LOOK_BYTES)
    if at < 2:
        return None if at < 0 else _ending(data, 0)
    end = data[at - 2 :]
    usage = _read_lately.get(end)
    if usage is not None:
        return usage
    match = _figures(data, at)
    if match is None:
        return _ending(data[max(0, at - _BEFORE) :], 0)
    rest = data[match.end() :]
    known = _rests.get(rest)
    if known is None:
        return _learn(data, at, match, rest)
    near = end[1] in b",{" or (end[1] == _BLANK and end[0] in b",{")
    if not near and data[max(0, at - _BEFORE) : at].rstrip(_SPACE)[-1:] not in _BEFORE_KEY:
        return None
    tokens_in, more, cached = int(match[1]), *known
    usage = Usage(tokens_in + more, int(match[2]), min(cached, tokens_in + more))
    if near and len(end) <= _MOST_KEPT_BYTES:
        if len(_read_lately) >= _MOST_KEPT:
            _read_lately.clear()
        _read_lately[end] = usage  # what stands before the comma or brace had no part in it
    return usage


def _learn(data: bytes, at: int, match: re.Match[bytes], rest: bytes) -> Usage | None:
    """Usage read in full, and what follows its figures kept, if that says the same beside any figures."""
    found = _ending(data[max(0, at - _BEFORE) :], 0)
    if found is None or any(name in rest for name in _FIGURES) or 0 < found.cached == found.tokens_in:
        return found
    if len(_rests) >= _MOST_RESTS:
        _rests.clear()
    _rests[rest] = found.tokens_in - int(match[1]), found.cached
    return found


def usage_in_json(tail: bytes) -> Usage | None:
    """Usage of a JSON answer, by what it ends with (up to :data:`TAIL_BYTES`): that of its outermost object."""
    return _ending(tail, 0)


def usage_in_events(tail: bytes, started: Usage | None) -> Usage | None:
    """Usage of a stream, by what it ends with; that of the last event that has some.

    Args:
        tail: Up to :data:`TAIL_BYTES`. It may begin within a line.
        started: What the stream began with, when that is told apart (Anthropic's ``message_start``).
    """
    lines = [line for line in tail.splitlines() if line]
    left = _MOST_EVENTS
    for place in range(len(lines) - 1, -1, -1):
        line = lines[place]
        if line.startswith(b"data:"):
            if _KEY in line and (found := _usage_of(line[5:])) is not None:
                return _read(found, started)
            left -= 1
            if not left:
                break
        elif not place and len(tail) >= TAIL_BYTES:
            return _cut_event(line)
    return None


def event_usage(data: bytes) -> Usage | None:
    """Usage in the data of one event: at the top, or within the ``response`` or ``message`` it is about."""
    found = _usage_of(data)
    return None if found is None else _read(found)


def _usage_of(data: bytes) -> dict[str, Any] | None:
    """What an event calls its usage; ``None``: it has none, or ``null``."""
    try:
        event = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if isinstance(event, dict):
        for within in (event, event.get("response"), event.get("message")):
            if isinstance(within, dict) and isinstance(within.get("usage"), dict):
                return dict(within["usage"])
    return None


def _cut_event(line: bytes) -> Usage | None:
    """Usage of an event whose beginning is not here: it is about a whole response, one object further in."""
    return _ending(line, 1) or _ending(line, 0)


def _ending(tail: bytes, around: int) -> Usage | None:
    """Usage whose key is in the last object, which has so many around it; all of them end with the text."""
    at = len(tail)
    for _ in range(_MOST_KEYS):
        at = tail.rfind(_KEY, 0, at)
        if at < 0:
            break
        if tail[:at].rstrip(_SPACE)[-1:] not in _BEFORE_KEY:
            continue
        try:
            found = json.loads(b'{"_":' * around + b"{" + tail[at:])
        except (ValueError, RecursionError):
            continue  # a key further in, or of another object
        for _within in range(around):
            found = found.get("_")
        if isinstance(found, dict) and isinstance(found.get("usage"), dict):
            return _read(found["usage"])
    return None


def _read(usage: dict[str, Any], started: Usage | None = None) -> Usage | None:
    """The figures of a ``usage``; ``None`` when one of both directions is missing or no count."""
    tokens_in = _count(usage, "prompt_tokens", "input_tokens")
    tokens_out = _count(usage, "completion_tokens", "output_tokens")
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    cached = _count(details, "cached_tokens") if isinstance(details, dict) else 0
    if "cache_read_input_tokens" in usage or "cache_creation_input_tokens" in usage:
        # Anthropic tells what a cache took apart, OpenAI counts it in
        cached = _count(usage, "cache_read_input_tokens") or 0
        if tokens_in is not None:
            tokens_in += cached + (_count(usage, "cache_creation_input_tokens") or 0)
    if tokens_in is None and started is not None:
        tokens_in, cached = started.tokens_in, started.cached
    if tokens_out is None and tokens_in is not None and usage.get("total_tokens") == tokens_in:
        tokens_out = 0  # an embedding, say
    if tokens_in is None or tokens_out is None:
        return None
    return Usage(tokens_in=tokens_in, tokens_out=tokens_out, cached=min(cached or 0, tokens_in))


def _count(within: dict[str, Any], *names: str) -> int | None:
    """The first of these that is there; ``None`` when none is, or it is no count."""
    for name in names:
        if name in within:
            value = within[name]
            return value if type(value) is int and 0 <= value <= _MOST_TOKENS else None
    return None
