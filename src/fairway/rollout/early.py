"""What a route's state says by digest, with names for people: approvals given before a rollout, and what is blocked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from fairway.rollout.values import Approval, RouteState
from fairway.units import Digest

VersionOf = Callable[[Digest], str | None]
"""The version of a release; ``None``: nobody knows it."""
SHOWN = 20
"""Early approvals listed, the newest: what was approved and never started is kept for good."""


def unknown_version(_: Digest) -> None:
    """Nobody knows it."""
    return


def early_approvals(state: RouteState, version_of: VersionOf) -> list[dict[str, Any]]:
    """Each yes given to a release that no rollout is about: it counts once that is started, as its policy says."""
    current = state.rollout
    about = {current.candidate.release} if current is not None else set()
    about |= {state.stable.release} if state.stable is not None else set()
    early = [one for one in state.approvals if one.used_by is None and one.release not in about]
    return [_early(one, version_of(one.release)) for one in early[-SHOWN:]]


def _early(one: Approval, version: str | None) -> dict[str, Any]:
    return {
        "release": one.release,
        "version": version,
        "by": one.actor,
        "at": one.at.isoformat(),
        "step": None if one.step is None else one.step + 1,
        "reason": one.reason,
    }


def blocked_names(state: RouteState, version_of: VersionOf) -> dict[str, str]:
    """The versions of what is blocked, by digest, as far as they are known."""
    known = {arm.release: arm.version for arm in _arms(state)}
    found = {release: known.get(release) or version_of(release) for release in state.blocked}
    return {release: version for release, version in found.items() if version}


def _arms(state: RouteState) -> Iterator[Any]:
    yield from state.history
    if state.rollout is not None:
        yield from (arm for arm in (state.rollout.stable, state.rollout.candidate) if arm is not None)
