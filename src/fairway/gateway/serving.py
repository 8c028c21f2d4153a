"""A route table made ready for a worker's hot path: arms with their pools, prepared header lines, current cells."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import NamedTuple

from fairway.gateway.telemetry import Cell
from fairway.gateway.upstream import Pool
from fairway.traffic.pin import release_tag
from fairway.traffic.rules import Decision, Ruleset, issued_cookie, looked_at
from fairway.traffic.table import Arm, KeyKind, Role, RouteTable


class ArmServing:
    """One arm: its endpoints' pools in turn, and the lines its answers carry."""

    __slots__ = ("_turn", "arm", "attested", "pools", "tag", "version_line")

    def __init__(self, arm: Arm, pools: list[Pool]) -> None:
        self.arm = arm
        self.attested = False
        """Whether outcomes are expected: it has sent one, or stable has (then a candidate should)."""
        self.pools = pools
        self.tag = release_tag(arm.release)
        version = "".join(char for char in arm.version if " " < char < "\x7f")
        self.version_line = f"x-fairway-release: {version or 'unnamed'}\r\n".encode()
        self._turn = 0

    def order(self) -> list[Pool]:
        """Pools to try, one after the other: round robin, endpoints that just refused last."""
        pools = self.pools
        if len(pools) == 1:
            return pools
        self._turn = (self._turn + 1) % len(pools)
        turned = pools[self._turn :] + pools[: self._turn]
        now = monotonic()
        return sorted(turned, key=lambda pool: pool.down_until > now)


MAX_KNOWN = 16_384
"""Units a worker keeps at hand under one table."""


class Known(NamedTuple):
    """How a unit was decided under this table, good until ``expires`` (epoch seconds)."""

    decision: Decision
    key: str | None
    expires: float


@dataclass(slots=True)
class Serving:
    """One table in force; replaced whole, while running requests keep theirs."""

    table: RouteTable
    ruleset: Ruleset
    arms: dict[Role, ArmServing]
    cells: dict[Role, Cell] = field(default_factory=dict)
    slow_above_ms: dict[Role, float] = field(default_factory=dict)
    issue_cookie: str | None = None
    key_line: bytes = b""
    """``\\r\\nname:`` of the header the key is read from first; empty when that is not a header."""
    other_lines: Callable[[bytes], object] | None = None
    """Searches a lower-case head for headers a rule looks at."""
    known: dict[bytes, Known] = field(default_factory=dict)
    """Units seen under this table by this worker: saves hashing the key of every turn of a conversation."""
    sweep_seconds: float = 0.25


def expect_outcomes(serving: Serving, attested: set[str]) -> None:
    """Note which arms are expected to report outcomes, given the releases that ever have."""
    stable = serving.arms.get(Role.STABLE)
    stable_does = stable is not None and stable.arm.release in attested
    for served in serving.arms.values():
        served.attested = stable_does or served.arm.release in attested


def prepare(table: RouteTable, pools: dict[str, Pool], loop: asyncio.AbstractEventLoop) -> Serving:
    """Make a table ready; ``pools`` gains the endpoints it names, those it no longer names are retired."""
    named = {endpoint for arm in table.arms for endpoint in arm.endpoints}
    for endpoint in named - pools.keys():
        pools[endpoint] = Pool(endpoint, loop)
    for endpoint in pools.keys() - named:
        pools.pop(endpoint).retire()
    timeouts = table.timeouts
    shortest = min(timeouts.connect, timeouts.first_byte, timeouts.idle, timeouts.total)
    return Serving(
        table=table,
        ruleset=Ruleset(table),
        arms={arm.role: ArmServing(arm, [pools[endpoint] for endpoint in arm.endpoints]) for arm in table.arms},
        slow_above_ms=dict(table.theta.get("latency_ms", {})),
        issue_cookie=issued_cookie(table.keys),
        key_line=_key_line(table),
        other_lines=_other_lines(table),
        sweep_seconds=min(0.25, max(0.02, shortest / 4)),
    )


def _key_line(table: RouteTable) -> bytes:
    first = table.keys[0] if table.keys else None
    if first is None or first.kind is not KeyKind.HEADER:
        return b""
    return b"\r\n%b:" % first.name.lower().encode("latin-1", "replace")


def _other_lines(table: RouteTable) -> Callable[[bytes], object] | None:
    names = looked_at(table.rules)
    if not names:
        return None
    either = b"|".join(re.escape(name.encode("latin-1", "replace")) for name in names)
    return re.compile(rb"\r\n(?:" + either + rb"):").search
