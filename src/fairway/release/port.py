"""What releases need from storage."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from fairway.release.values import Evidence, SignedRelease
from fairway.units import AgentName, Digest


class ContentStore(Protocol):
    """Blobs by digest: writing the same bytes twice is one blob."""

    def put(self, content: bytes) -> Digest:
        """Store bytes; returns ``sha256:<hex>``. Atomic: a reader never sees half a blob."""
        ...

    def get(self, digest: Digest) -> bytes:
        """Bytes of a blob, verified against its digest.

        Raises:
            NotFoundError: When it is not there.
            PermanentError: When what is there does not match (``code="corrupt_blob"``).
        """
        ...

    def has(self, digest: Digest) -> bool:
        """Whether the blob is there."""
        ...


class ReleaseStore(Protocol):
    """Releases and evidence by agent."""

    def add_release(self, release: SignedRelease) -> None:
        """Record a release; the same one again is a no-op.

        Raises:
            ConflictError: When the version exists with another digest.
        """
        ...

    def find_release(self, agent: AgentName, reference: str) -> SignedRelease:
        """By version (with or without ``v``), tag, digest, unique digest prefix (≥ 8 hex) or commit sha (≥ 7).

        Raises:
            NotFoundError: Naming the nearest versions that exist.
        """
        ...

    def list_releases(self, agent: AgentName) -> tuple[SignedRelease, ...]:
        """Newest first."""
        ...

    def add_evidence(self, evidence: Iterable[Evidence]) -> None:
        """Record findings; append-only."""
        ...

    def list_evidence(self, release: Digest) -> tuple[Evidence, ...]:
        """All findings about a release, oldest first."""
        ...
