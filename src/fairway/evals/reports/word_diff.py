"""What differs between two answers, word by word: pure, and bounded however long they are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

# Scripts written without spaces are compared sign by sign, the rest word by word.
_TOKEN = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|\s+|[^\W\u3040-\u9fff\uf900-\ufaff]+|.", re.S
)
_MOST_EDITS = 600


class Kept(StrEnum):
    """What became of a piece of text."""

    SAME = "same"
    REMOVED = "removed"
    ADDED = "added"


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Consecutive words with one fate."""

    kept: Kept
    text: str


def words(text: str) -> list[str]:
    """The text in pieces that a diff compares: words, runs of white space, single signs. Joined they are the text."""
    return _TOKEN.findall(text)


def diff_words(before: str, after: str, *, most_edits: int = _MOST_EDITS) -> tuple[Piece, ...]:
    """The pieces that lead from one text to the other.

    The SAME and REMOVED pieces joined are ``before``, the SAME and ADDED ones ``after``; a removal stands before the
    addition that replaces it. What stayed between two changes that are both larger counts as changed with them, so that
    a changed phrase reads as one and not as a mosaic of its small words.

    Args:
        before: Of the baseline.
        after: Of the candidate.
        most_edits: Beyond so many words the middle counts as replaced whole: a diff of texts with nothing in common
            says nothing, and would cost the square of their length.

    Source: Myers, "An O(ND) Difference Algorithm and Its Variations" (1986), the greedy form; a common start and end
    are taken off first.
    """
    old, new = words(before), words(after)
    start = _common(old, new)
    end = _common(old[start:][::-1], new[start:][::-1])
    middle = shortest_edit(old[start : len(old) - end], new[start : len(new) - end], most_edits)
    steps = [(Kept.SAME, word) for word in old[:start]]
    steps += middle
    steps += [(Kept.SAME, word) for word in old[len(old) - end :]]
    return _pieces(steps)


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many elements both begin with."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count


def shortest_edit(old: Sequence[str], new: Sequence[str], most: int) -> list[tuple[Kept, str]]:
    """A shortest way from ``old`` to ``new``, word by word; everything replaced when it is longer than ``most``."""
    reach = {1: 0}
    trace: list[dict[int, int]] = []
    for edits in range(min(len(old) + len(new), most) + 1):
        trace.append(dict(reach))
        for diagonal in range(-edits, edits + 1, 2):
            down = diagonal == -edits or (diagonal != edits and reach[diagonal - 1] < reach[diagonal + 1])
            x = reach[diagonal + 1] if down else reach[diagonal - 1] + 1
            y = x - diagonal
            while x < len(old) and y < len(new) and old[x] == new[y]:
                x, y = x + 1, y + 1
            reach[diagonal] = x
            if x >= len(old) and y >= len(new):
                return _walk_back(old, new, trace)
    return [(Kept.REMOVED, word) for word in old] + [(Kept.ADDED, word) for word in new]


def _walk_back(old: Sequence[str], new: Sequence[str], trace: list[dict[int, int]]) -> list[tuple[Kept, str]]:
    x, y = len(old), len(new)
    steps: list[tuple[Kept, str]] = []
    for edits in range(len(trace) - 1, -1, -1):
        reach, diagonal = trace[edits], x - y
        down = diagonal == -edits or (diagonal != edits and reach[diagonal - 1] < reach[diagonal + 1])
        came_from = diagonal + 1 if down else diagonal - 1
        before_x = reach[came_from]
        before_y = before_x - came_from
        while x > max(before_x, 0) and y > max(before_y, 0):
            x, y = x - 1, y - 1
            steps.append((Kept.SAME, old[x]))
        if edits:
            steps.append((Kept.ADDED, new[before_y]) if down else (Kept.REMOVED, old[before_x]))
        x, y = before_x, before_y
    return steps[::-1]


@dataclass(slots=True)
class _Stretch:
    """A change, and what stayed before it."""

    same: str = ""
    removed: str = ""
    added: str = ""

    @property
    def size(self) -> int:
        return max(len(self.removed), len(self.added))


def _pieces(steps: Sequence[tuple[Kept, str]]) -> tuple[Piece, ...]:
    """Steps joined to stretches, and what stayed between two changes larger than itself drawn into them."""
    joined: list[_Stretch] = []
    for stretch in _stretches(steps):
        between = len(stretch.same)
        if joined and joined[-1].size and stretch.size and between <= min(joined[-1].size, stretch.size):
            joined[-1].removed += stretch.same + stretch.removed
            joined[-1].added += stretch.same + stretch.added
        else:
            joined.append(stretch)
    return tuple(
        Piece(kept=kept, text=text)
        for one in joined
        for kept, text in ((Kept.SAME, one.same), (Kept.REMOVED, one.removed), (Kept.ADDED, one.added))
        if text
    )


def _stretches(steps: Sequence[tuple[Kept, str]]) -> list[_Stretch]:
    found = [_Stretch()]
    for kept, word in steps:
        if kept is Kept.SAME:
            if found[-1].size:
                found.append(_Stretch())
            found[-1].same += word
        elif kept is Kept.REMOVED:
            found[-1].removed += word
        else:
            found[-1].added += word
    return found
