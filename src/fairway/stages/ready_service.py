"""A service that is ready, as stages hand it on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fairway.targets.config import ServiceSection
from fairway.targets.local.ephemeral import Served
from fairway.units import Digest, EnvironmentName


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyService:
    """A service that is ready.

    Attributes:
        url: ``http://127.0.0.1:<port>``, without a trailing slash.
        release: What it serves.
        effective: Digest of the release with the environment's resolved configuration.
        bundle: The folder it found in ``FAIRWAY_BUNDLE``.
        tree: Its working directory: the materialised files of the release.
        attested_by: ``arm`` when it reported its digests at its ready path, else ``supervisor``.
        ready_after: Seconds it took to become ready.
        mock_llm_url: ``…/v1`` of the mock model server it talks to; ``None`` when the environment uses none.
        log: What the service wrote.
        service: How it was started and where it is asked (``chat``, ``health``, ``ready``).
        served: The process behind it.
    """

    url: str
    environment: EnvironmentName
    release: Digest
    effective: Digest
    bundle: Path
    tree: Path
    attested_by: str
    ready_after: float
    mock_llm_url: str | None
    log: Path
    service: ServiceSection
    served: Served
