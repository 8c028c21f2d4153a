"""The gates on means of ``rollout.gates``: only where the project declares one, because it needs an agent's word."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

from fairway.section import Flag, Points, Ratio, Section

_DOLLARS = re.compile(r"^\$?\s*([0-9]+(?:\.[0-9]+)?)$")


def _cap(value: object) -> object:
    """``$0.50`` and ``0.5`` are the same."""
    if isinstance(value, str):
        match = _DOLLARS.match(value.strip())
        if not match:
            raise ValueError(f"{value!r} is not a cap; write dollars such as $0.50, or a number of tokens")
        value = float(match.group(1))
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1e9:
        raise ValueError("a cap must be above 0: what a request of stable counts at most, in dollars or tokens")
    return float(value)


CapValue = Annotated[
    float,
    BeforeValidator(_cap),
    WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string"}]}),
]


class MeanRatioGate(Section):
    """Against concurrent stable: the mean may be higher by ``margins``, one a step below 100 %, or one for all.

    Attributes:
        margins: ``None``: by exposure.
        cap: What a request of stable counts at most, so that one runaway request decides nothing; ``None``: its P99.
    """

    margins: Annotated[tuple[Ratio, ...], Field(min_length=1, max_length=50)] | None = None
    cap: CapValue | None = None
    enabled: Flag = True
    must_pass: Flag = False


class MeanPointsGate(Section):
    """Against concurrent stable: the mean, of values in [0, 1], may be lower by ``margins``."""

    margins: Annotated[tuple[Points, ...], Field(min_length=1, max_length=50)] | None = None
    enabled: Flag = True
    must_pass: Flag = False


def _margins(value: object) -> object:
    """``+10%`` is short for ``{margins: [+10%]}``."""
    return {"margins": [value]} if isinstance(value, str | int | float) and not isinstance(value, bool) else value


_SHORT = WithJsonSchema({"anyOf": [{"type": ["string", "number"]}, {"type": "object"}]})
MeanRatio = Annotated[MeanRatioGate, BeforeValidator(_margins), _SHORT]
MeanPoints = Annotated[MeanPointsGate, BeforeValidator(_margins), _SHORT]
