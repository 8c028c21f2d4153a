"""A route table made ready for a worker's hot path: arms with their pools, prepared header lines, current cells."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from time import monotonic

from fairway.gateway.telemetry import Cell
from fairway.gateway.upstream import Pool
from fairway.traffic.pin import PIN_COOKIE, PIN_HEADER, Pin, PinSigner, release_tag
from fairway.traffic.rules import Ruleset, issued_cookie
from fairway.traffic.table import Arm, Role, RouteTable


class ArmServing:
    """One arm: its endpoints' pools in turn, and the lines its answers carry."""

    __slots__ = ("_pin", "_pin_at", "_turn", "arm", "pools", "tag", "version_line")

    def __init__(self, arm: Arm, pools: list[Pool]) -> None:
        self.arm = arm
        self.pools = pools
        self.tag = release_tag(arm.release)
        version = "".join(char for char in arm.version if " " < char < "\x7f")
        self.version_line = f"x-fairway-release: {version or 'unnamed'}\r\n".encode()
        self._turn = 0
        self._pin = {True: b"", False: b""}
        self._pin_at = {True: 0, False: 0}

    def order(self) -> list[Pool]:
        """Pools to try, one after the other: round robin, endpoints that just refused last."""
        pools = self.pools
        if len(pools) == 1:
            return pools
        self._turn = (self._turn + 1) % len(pools)
        turned = pools[self._turn :] + pools[: self._turn]
        now = monotonic()
        return sorted(turned, key=lambda pool: pool.down_until > now)

    def pin_lines(self, signer: PinSigner, *, now: int, seconds: float, salt: int, hashed: bool) -> bytes:
        """Cookie and header of a conversation that begins now; made once a second, as a pin names no unit."""
        if self._pin_at[hashed] != now:
            expires = now + max(1, int(seconds))
            token = signer.sign(Pin(release=self.tag, salt=salt, hashed=hashed, expires=expires))
            self._pin[hashed] = (
                f"{PIN_HEADER}: {token}\r\n"
                f"set-cookie: {PIN_COOKIE}={token}; Path=/; Max-Age={max(1, int(seconds))}; HttpOnly; SameSite=Lax\r\n"
            ).encode()
            self._pin_at[hashed] = now
        return self._pin[hashed]


@dataclass(slots=True)
class Serving:
    """One table in force; replaced whole, while running requests keep theirs."""

    table: RouteTable
    ruleset: Ruleset
    arms: dict[Role, ArmServing]
    cells: dict[Role, Cell] = field(default_factory=dict)
    slow_above_ms: dict[Role, float] = field(default_factory=dict)
    issue_cookie: str | None = None
    sweep_seconds: float = 0.25


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
        sweep_seconds=min(0.25, max(0.02, shortest / 4)),
    )
