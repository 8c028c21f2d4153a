"""The project's service, running for as long as a stage needs it: the examined content, never the working tree."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fairway.stages.context import DeliveryContext
from fairway.units import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A service that is ready.

    Attributes:
        url: ``http://127.0.0.1:<port>``, without a trailing slash.
        release, effective: What it serves and with which resolved configuration.
        bundle: The folder it found in ``FAIRWAY_BUNDLE``.
        tree: Its working directory: the materialised files of the release.
        attested_by: ``arm`` when it reported its digests at its ready path, else ``supervisor``.
        mock_llm_url: ``…/v1`` of the mock model server it talks to; ``None`` when the environment uses none.
        log: What the service wrote.
    """

    url: str
    environment: str
    release: Digest
    effective: Digest
    bundle: Path
    tree: Path
    attested_by: str
    mock_llm_url: str | None
    log: Path


@asynccontextmanager
async def serving(context: DeliveryContext, environment: str) -> AsyncIterator[Serving]:
    """Start the project's service as it would run in an environment, and stop it (and its mock model) at the end.

    Args:
        context: Of the stage that needs it.
        environment: Whose configuration: ``dev``, ``test``, ``staging`` …

    Raises:
        TransientError: When it never became ready; the message holds the end of its log.
        UserError: When the configuration of that environment cannot be resolved.
    """
    raise NotImplementedError
    yield
