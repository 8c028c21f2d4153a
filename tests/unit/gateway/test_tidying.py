"""When a worker looks for what only the garbage collector frees: while nothing runs, or else seldom."""

from __future__ import annotations

import asyncio
import gc
from types import SimpleNamespace
from typing import cast

import pytest

from fairway.gateway import worker as worker_module
from fairway.gateway.worker import TIDY_AT_LAST_SECONDS, TIDY_SECONDS, Worker, _tidy_forever


@pytest.mark.parametrize(("in_flight", "collections"), [(0, 60), (1, 2)])
async def test_a_busy_worker_is_looked_through_seldom(
    monkeypatch: pytest.MonkeyPatch, in_flight: int, collections: int
) -> None:
    slept, collected = [0.0], [0]

    async def sleep(seconds: float) -> None:
        if slept[0] >= 2 * TIDY_AT_LAST_SECONDS:
            raise asyncio.CancelledError
        slept[0] += seconds

    monkeypatch.setattr(worker_module.asyncio, "sleep", sleep)
    monkeypatch.setattr(gc, "collect", lambda: collected.__setitem__(0, collected[0] + 1))
    with pytest.raises(asyncio.CancelledError):
        await _tidy_forever(cast(Worker, SimpleNamespace(in_flight=in_flight)))
    assert collected == [collections]
    assert 2 * TIDY_AT_LAST_SECONDS / TIDY_SECONDS == 60
