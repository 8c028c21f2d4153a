"""The numbers of a worker's requests in hexadecimal digits: many made at once cost a fraction of one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, count

_LAST = tuple(b"%02x" % number for number in range(256))
_FIRST = tuple(b"%x" % number for number in range(1, 256))


def numbers() -> Iterator[bytes]:
    """1, 2, 3 and so on."""
    return chain(_FIRST, chain.from_iterable(map(_more, count(1))))


def _more(upper: int) -> list[bytes]:
    front = b"%x" % upper
    return [front + last for last in _LAST]
