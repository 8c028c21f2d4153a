"""One model call as a log tells of it: Fairway's own rows, and rows that carry a provider's ``usage``.

Strict: a row that cannot be read whole is counted as unreadable, never as a call that cost nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from typing import Any

from fairway.costs.prices import PriceTable

_MOST = 10**12
_LONGEST_NAME = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One or more model calls of one request.

    Attributes:
        release, tenant, feature: Empty: the log does not say.
        task: What the user wanted done, a conversation for instance; empty: not said.
        request: Empty: the row is a request of its own.
        model: Empty: not said.
        tokens_in: Everything sent, cached input included; ``None``, as the other two: not said.
        cost_micros: As the log says, else by the price; in millionths of a US dollar; ``None``: neither is known.
        calls: Model calls the row stands for.
    """

    at: datetime
    release: str = ""
    tenant: str = ""
    feature: str = ""
    task: str = ""
    request: str = ""
    model: str = ""
    tokens_in: int | None = None
    tokens_out: int | None = None
    cached: int = 0
    cost_micros: int | None = None
    calls: int = 1

    @property
    def unit(self) -> str:
        """What calls are counted by: the task, else the request; empty: neither is said."""
        return self.task or self.request


def read_call(row: object, prices: PriceTable) -> Call:
    """A row of a call log.

    Args:
        row: The row's JSON, numbers with a point as ``Decimal``.
        prices: For rows that do not say what they cost.

    Raises:
        ValueError: It is no row of a call log; the message says why.
    """
    if not isinstance(row, Mapping):
        raise ValueError("is no JSON object")
    usage = row.get("usage")
    if usage is not None and not isinstance(usage, Mapping):
        raise ValueError("usage is no object")
    tokens_in, tokens_out, cached, written = _own_tokens(row) if usage is None else _usage_tokens(usage)
    model = _text(row, "model")
    cost = _cost(row)
    if cost is None and tokens_in is not None and tokens_out is not None:
        cost = prices.cost_micros(model, tokens_in, tokens_out, cached, written)
    calls = _count(row, "calls")
    if calls == 0:
        raise ValueError("calls is 0")
    return Call(
        at=_time(row),
        release=_text(row, "release"),
        tenant=_text(row, "tenant"),
        feature=_text(row, "feature"),
        task=_text(row, "task", "conversation", "thread"),
        request=_text(row, "request"),
        model=model,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        cached=cached,
        cost_micros=cost,
        calls=1 if calls is None else calls,
    )


_Tokens = tuple[int | None, int | None, int, int]
"""Sent, answered, of the sent those from the cache and those written to it."""


def _own_tokens(row: Mapping[str, Any]) -> _Tokens:
    return _checked(
        (_count(row, "tokens_in"), _count(row, "tokens_out"), _count(row, "cached") or 0, _count(row, "written") or 0)
    )


def _usage_tokens(usage: Mapping[str, Any]) -> _Tokens:
    """OpenAI's ``usage`` counts cached tokens among the prompt's; Anthropic's counts them beside its input."""
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    if not isinstance(details, Mapping):
        raise ValueError("the details of usage are no object")
    sent = _count(usage, "prompt_tokens", "input_tokens")
    answered = _count(usage, "completion_tokens", "output_tokens")
    read, written = _count(usage, "cache_read_input_tokens"), _count(usage, "cache_creation_input_tokens")
    if read is None and written is None:
        return _checked((sent, answered, _count(details, "cached_tokens") or 0, 0))
    total = None if sent is None else sent + (read or 0) + (written or 0)
    return _checked((total, answered, read or 0, written or 0))


def _checked(tokens: _Tokens) -> _Tokens:
    sent, _, cached, written = tokens
    if sent is not None and cached + written > sent:
        raise ValueError(f"{cached + written} cached tokens of {sent} sent")
    return tokens


def _count(row: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = row.get(name)
        if value is None:
            continue
        if type(value) is not int or not 0 <= value <= _MOST:
            raise ValueError(f"{name} is no count")
        return value
    return None


def _text(row: Mapping[str, Any], *names: str) -> str:
    """A name, of the row or of its ``metadata``; numbers are names too, as some write them."""
    metadata = row.get("metadata")
    for place in (row, metadata if isinstance(metadata, Mapping) else {}):
        for name in names:
            value = place.get(name)
            if value is None:
                continue
            if type(value) not in (str, int) or len(str(value)) > _LONGEST_NAME:
                raise ValueError(f"{name} is no name")
            return str(value).encode("utf-8", "replace").decode()  # half a pair of surrogates can be written nowhere
    return ""


def _cost(row: Mapping[str, Any]) -> int | None:
    micros = _count(row, "cost_micros")
    if micros is not None:
        return micros
    for name in ("cost", "cost_usd"):
        value = row.get(name)
        if value is None:
            continue
        if type(value) not in (int, Decimal):
            raise ValueError(f"{name} is no number of dollars")
        try:
            exact = (Decimal(value) * 1_000_000).to_integral_value(ROUND_CEILING)
        except ArithmeticError as error:  # out of what decimals can hold
            raise ValueError(f"{name} is no number of dollars") from error
        if not exact.is_finite() or not 0 <= exact <= _MOST:
            raise ValueError(f"{name} is no number of dollars")
        return int(exact)
    return None


def _time(row: Mapping[str, Any]) -> datetime:
    for name in ("at", "time", "timestamp", "created", "created_at"):
        value = row.get(name)
        if value is None:
            continue
        try:
            if type(value) in (int, Decimal):
                return datetime.fromtimestamp(float(value), UTC)
            if type(value) is str:
                told = datetime.fromisoformat(value)
                if told.tzinfo is not None:
                    return told.astimezone(UTC)
        except (ValueError, OverflowError, OSError) as error:
            raise ValueError(f"{name} is no time") from error
        raise ValueError(f"{name} is no time with a zone: write 2026-01-31T12:00:00Z, or seconds since 1970")
    raise ValueError("says no time (at)")
