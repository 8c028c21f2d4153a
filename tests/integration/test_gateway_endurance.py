"""Switches, restarts and kills of arms under checked load, small; whole: ``python -m benchmarks gateway endurance``.

``FAIRWAY_GATEWAY_ENDURANCE`` is the number of requests of each of the three parts: half a million has every event.
Unsaid it is 6,000 with ``FAIRWAY_REQUIRE_ALL``, else a few with one event each.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ALL = bool(os.environ.get("FAIRWAY_REQUIRE_ALL"))
SAID = os.environ.get("FAIRWAY_GATEWAY_ENDURANCE", "")
REQUESTS = int(SAID) if SAID else 6_000 if ALL else 500
EVENTS, REST, WORKERS = (2, 0.0, 2) if ALL or SAID else (1, 0.1, 1)
"""Events of each part at least, the seconds a connection of the load rests between two requests, and workers."""


@pytest.mark.slow
async def test_nothing_fails_or_is_misrouted_and_streams_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    from benchmarks.gateway.endurance import parts

    scale = min(1.0, REQUESTS / 500_000)
    for part in await parts(tmp_path, REQUESTS, scale=scale, least=EVENTS, rest=REST, workers=WORKERS):
        assert part.requests >= REQUESTS
        assert (part.wrong, part.broken) == (0, 0), f"{part.title}: {part.what}: {part.examples}"
