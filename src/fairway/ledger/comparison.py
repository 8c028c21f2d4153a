"""Whether a decision taken again is the decision that was recorded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SAME = 1e-9
"""Relative difference up to which two computed figures count as equal: processors may round differently."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Where two values differ first: ``path`` such as ``decision.gates[0].verdict``; ``None`` for what is absent."""

    path: str
    recorded: Any
    replayed: Any


def first_difference(recorded: Any, replayed: Any, path: str = "") -> Difference | None:
    """The first difference of two JSON values, keys in order; ``None`` when they are equal."""
    if isinstance(recorded, Mapping) and isinstance(replayed, Mapping):
        for key in sorted({*recorded, *replayed}):
            place = f"{path}.{key}" if path else key
            if key not in recorded or key not in replayed:
                return Difference(path=place, recorded=recorded.get(key), replayed=replayed.get(key))
            if (found := first_difference(recorded[key], replayed[key], place)) is not None:
                return found
        return None
    if isinstance(recorded, list) and isinstance(replayed, list):
        for i, (one, other) in enumerate(zip(recorded, replayed, strict=False)):
            if (found := first_difference(one, other, f"{path}[{i}]")) is not None:
                return found
        if len(recorded) != len(replayed):
            return Difference(path=f"{path}.length", recorded=len(recorded), replayed=len(replayed))
        return None
    return None if _equal(recorded, replayed) else Difference(path=path, recorded=recorded, replayed=replayed)


def _equal(recorded: Any, replayed: Any) -> bool:
    numbers = [type(value) in (int, float) for value in (recorded, replayed)]
    if all(numbers):
        return recorded == replayed or math.isclose(recorded, replayed, rel_tol=SAME, abs_tol=SAME)
    return type(recorded) is type(replayed) and bool(recorded == replayed)
