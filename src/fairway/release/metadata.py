"""What a list of releases says of each (SPEC F4): where it serves, what came before, whether one may go back to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from fairway.errors import UserError
from fairway.release.values import Manifest
from fairway.release.versions import Version, VersionKind
from fairway.units import AgentName, Digest


class ReleaseStatus(StrEnum):
    """Where a release stands in the environments of its agent, the most telling first."""

    STABLE = "stable"
    ROLLING_OUT = "rolling_out"
    BLOCKED = "blocked"
    FORMER = "former"
    RELEASED = "released"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseMetadata:
    """One line of the list.

    Attributes:
        status: ``blocked``: rolled back, and not started again until a person lifts it; ``former``: was stable once;
            ``released``: never served.
        prev_version: The release recorded before it; ``None`` for the first.
        gray: Whether it is a gray release by its version.
        rollbackable: Whether it is or was stable somewhere: such a release may always come back.
    """

    agent_name: AgentName
    version: str
    tag: str
    release: Digest
    publisher: str
    status: ReleaseStatus
    prev_version: str | None
    gray: bool
    rollbackable: bool
    created_at: datetime


def release_metadata(manifests: Sequence[Manifest], states: Iterable[Mapping[str, Any]]) -> tuple[ReleaseMetadata, ...]:
    """Metadata of an agent's releases.

    Args:
        manifests: Newest first.
        states: Wire form of the state of each of the agent's routes.
    """
    known = list(states)
    older = [*(manifest.release_version for manifest in manifests[1:]), None]
    return tuple(_metadata(manifest, previous, known) for manifest, previous in zip(manifests, older, strict=False))


def _metadata(manifest: Manifest, previous: str | None, states: Sequence[Mapping[str, Any]]) -> ReleaseMetadata:
    release = manifest.release_digest
    stable = any(_release(state.get("stable")) == release for state in states)
    former = any(_release(arm) == release for state in states for arm in state.get("history") or ())
    rolling = any(_release(_candidate(state)) == release for state in states)
    blocked = any(release in (state.get("blocked") or ()) for state in states)
    status = ReleaseStatus.RELEASED
    for holds, name in (
        (stable, ReleaseStatus.STABLE),
        (rolling, ReleaseStatus.ROLLING_OUT),
        (blocked, ReleaseStatus.BLOCKED),
        (former, ReleaseStatus.FORMER),
    ):
        if holds:
            status = name
            break
    return ReleaseMetadata(
        agent_name=manifest.agent,
        version=manifest.release_version,
        tag=manifest.tag,
        release=release,
        publisher=manifest.publisher,
        status=status,
        prev_version=previous,
        gray=_is_gray(manifest.release_version),
        rollbackable=stable or former,
        created_at=manifest.created_at,
    )


def _candidate(state: Mapping[str, Any]) -> Mapping[str, Any] | None:
    rollout = state.get("rollout")
    live = isinstance(rollout, Mapping) and rollout.get("phase") not in ("done", "rolled_back")
    return rollout.get("candidate") if live and isinstance(rollout, Mapping) else None


def _release(arm: Mapping[str, Any] | None) -> Digest | None:
    return arm.get("release") if isinstance(arm, Mapping) else None


def _is_gray(version: str) -> bool:
    try:
        return Version.parse(version).kind is VersionKind.GRAY
    except UserError:
        return False
