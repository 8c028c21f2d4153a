"""What differs between two replies' tool calls: pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fairway.evals.values import ToolCall

_DEEPEST = 20
"""Below so many levels values are compared whole."""


class CallChange(StrEnum):
    """What became of a tool call: ``missing`` is the baseline's alone, ``extra`` the candidate's."""

    SAME = "same"
    CHANGED = "changed"
    MISSING = "missing"
    EXTRA = "extra"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgumentChange:
    """One value that differs.

    Attributes:
        pointer: Where in the arguments, RFC 6901; empty: the arguments as a whole.
        before, after: As JSON text; ``None``: not there.
    """

    pointer: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        return f"{self.pointer or '/'}: {self.before or 'absent'} → {self.after or 'absent'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPair:
    """A call of the baseline and the one of the candidate that stands for it; ``None``: there is none."""

    change: CallChange
    before: ToolCall | None = None
    after: ToolCall | None = None
    arguments: tuple[ArgumentChange, ...] = ()

    @property
    def name(self) -> str:
        """Name of the tool."""
        call = self.after or self.before
        return call.name if call else ""


def diff_calls(before: Sequence[ToolCall], after: Sequence[ToolCall]) -> tuple[CallPair, ...]:
    """Pair the calls: equal ones first, then those of one name in their order, so that one added call moves no other.

    Returns:
        The candidate's calls in their order, then what is missing.
    """
    partners: dict[int, int] = {}
    _pair(before, after, partners, key=_identity)
    _pair(before, after, partners, key=lambda call: call.name)
    pairs = [_compared(before[partners[at]] if at in partners else None, call) for at, call in enumerate(after)]
    used = set(partners.values())
    pairs += [CallPair(change=CallChange.MISSING, before=call) for at, call in enumerate(before) if at not in used]
    return tuple(pairs)


def _pair(before: Sequence[ToolCall], after: Sequence[ToolCall], partners: dict[int, int], *, key: Any) -> None:
    free: dict[str, list[int]] = {}
    used = set(partners.values())
    for at, call in enumerate(before):
        if at not in used:
            free.setdefault(key(call), []).append(at)
    for at, call in enumerate(after):
        if at not in partners and free.get(key(call)):
            partners[at] = free[key(call)].pop(0)


def _identity(call: ToolCall) -> str:
    return json.dumps([call.name, json_text(call.arguments), call.malformed])


def _compared(before: ToolCall | None, after: ToolCall) -> CallPair:
    if before is None:
        return CallPair(change=CallChange.EXTRA, after=after)
    differing = tuple(_differing(before.arguments, after.arguments, ""))
    if before.malformed != after.malformed:
        whole = ArgumentChange(pointer="", before=before.malformed or "readable", after=after.malformed or "readable")
        differing = (whole, *differing)
    change = CallChange.CHANGED if differing else CallChange.SAME
    return CallPair(change=change, before=before, after=after, arguments=differing)


def _differing(before: Any, after: Any, pointer: str) -> Iterator[ArgumentChange]:
    if isinstance(before, Mapping) and isinstance(after, Mapping) and pointer.count("/") < _DEEPEST:
        for key in sorted(before.keys() | after.keys()):
            below = f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
            if key not in before:
                yield ArgumentChange(pointer=below, before=None, after=json_text(after[key]))
            elif key not in after:
                yield ArgumentChange(pointer=below, before=json_text(before[key]), after=None)
            else:
                yield from _differing(before[key], after[key], below)
        return
    one, other = json_text(before), json_text(after)
    if one != other:
        yield ArgumentChange(pointer=pointer, before=one, after=other)


def json_text(value: Any) -> str:
    """The value as JSON with sorted keys, a whole number without its point: equal values have equal texts."""
    try:
        return json.dumps(_whole(value), sort_keys=True, ensure_ascii=False)
    except RecursionError:
        return '"(nested too deeply to show)"'


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {str(key): _whole(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_whole(inner) for inner in value]
    return value
