"""Switches, restarts and kills of arms under checked load, small; whole: ``python -m benchmarks gateway endurance``.

``FAIRWAY_GATEWAY_ENDURANCE`` is the number of requests of each of the three parts: half a million has every event.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REQUESTS = int(os.environ.get("FAIRWAY_GATEWAY_ENDURANCE", "0"))


@pytest.mark.slow
@pytest.mark.skipif(not REQUESTS, reason="FAIRWAY_GATEWAY_ENDURANCE says how many requests")
async def test_nothing_fails_or_is_misrouted_and_streams_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    from benchmarks.gateway.endurance import parts

    scale = min(1.0, REQUESTS / 500_000)
    for part in await parts(tmp_path, REQUESTS, scale=scale):
        assert part.requests >= REQUESTS
        assert (part.wrong, part.broken) == (0, 0), f"{part.title}: {part.what}: {part.examples}"
