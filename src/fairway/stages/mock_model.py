"""Fairway's mock model server, running for as long as a stage needs it."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from fairway.clock import Clock
from fairway.errors import UserError
from fairway.stages.process import running
from fairway.targets.local.log import tail

_START_SECONDS = 20.0
_POLL_SECONDS = 0.02


@asynccontextmanager
async def mock_model(
    scenario: Path, *, folder: Path, environment: Mapping[str, str], clock: Clock
) -> AsyncIterator[str]:
    """Fairway's mock model server for the length of a block; gives its ``…/v1`` URL.

    Args:
        scenario: What it says to what.
        folder: Where it runs and leaves its log, ``mock-llm.log``.
        environment: All its variables.
        clock: Time.

    Raises:
        UserError: When it does not start (``code="mock_llm"``).
    """
    log = folder / "mock-llm.log"
    command = (sys.executable, "-m", "fairway", "mock-llm", "--scenario", str(scenario), "--port", "0", "-o", "json")
    async with running(command, cwd=folder, environment=environment, output=log, clock=clock) as mock:
        deadline = clock.monotonic() + _START_SECONDS
        while (url := _mock_url(log)) is None:
            if mock.poll() is not None or clock.monotonic() > deadline:
                raise UserError(
                    "the mock model server did not start",
                    code="mock_llm",
                    hint=f"check {scenario}: fairway mock-llm --check\n{tail(log)}",
                )
            await clock.sleep(_POLL_SECONDS)
        yield url if url.endswith("/v1") else f"{url}/v1"


def _mock_url(log: Path) -> str | None:
    """What the server says first, once it has said it whole."""
    for line in log.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]:
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if isinstance(said, dict) and isinstance(said.get("url"), str):
            return str(said["url"]).rstrip("/")
    return None
