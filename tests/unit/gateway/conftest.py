"""A worker without sockets, for the tests of the short way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairway.gateway.worker import Worker, WorkerSettings


@pytest.fixture
async def bare_worker(tmp_path: Path) -> AsyncIterator[Worker]:
    """One that has no table yet."""
    (tmp_path / "key").write_bytes(b"k" * 32)
    settings = WorkerSettings(
        listen_fd=-1, channel_fd=-1, worker=0, gateway="g", boot="b", pin_key=str(tmp_path / "key"),
        memory=str(tmp_path / "memory"), drain_seconds=1.0,
    )  # fmt: skip
    made = Worker(settings)
    yield made
    made.memory.close()
