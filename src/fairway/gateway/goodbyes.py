"""Good-byes for workers that could not say it: their last number, with one left out for what is lost."""

from __future__ import annotations

import json
import time
from typing import Any

from fairway.gateway.ring import Ring
from fairway.observe.blocks import Batch
from fairway.traffic.table import RouteTable


def goodbye(gateway: str, boot: str, worker: int, seq: int, like: RouteTable) -> Batch:
    """The last batch of a worker that could not send it: one number is left out, for what is lost."""
    return Batch(
        gateway=gateway,
        boot=boot,
        worker=worker,
        seq=seq + 2,
        at=time.time(),
        block_seconds=like.block_seconds,
        timeout=like.timeouts.total,
        last=True,
    )


def unfinished(ring: Ring, alive: frozenset[str]) -> list[Batch]:
    """Good-byes for the workers of earlier processes that never said it; ``alive``: boots that still may."""
    last: dict[tuple[str, int], dict[str, Any]] = {}
    cursor: str | None = None
    while True:
        lines, after = ring.read(cursor)
        for line in lines:
            try:
                wire = json.loads(line)
            except ValueError:
                continue
            last[wire["boot"], wire["worker"]] = wire
        if after == cursor or not lines:
            break
        cursor = after
    return [
        Batch(
            gateway=wire["gateway"],
            boot=wire["boot"],
            worker=wire["worker"],
            seq=wire["seq"] + 2,
            at=time.time(),
            block_seconds=wire["block_seconds"],
            timeout=wire["timeout"],
            last=True,
        )
        for (known, _), wire in last.items()
        if known not in alive and not wire.get("last")
    ]
