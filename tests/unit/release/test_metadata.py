"""What a list of releases says of each (SPEC F4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fairway.release.metadata import ReleaseStatus, release_metadata
from fairway.release.values import Manifest
from fairway.rollout.values import ENDED, ArmRef, RouteState
from fairway.rollout.wire import state_to_wire
from fairway.units import AgentName, Digest, EnvironmentName, RouteId

ME, OTHER = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)


def arm(release: Digest) -> dict[str, Any]:
    return {"release": release, "effective": "", "version": "1", "replicas": 1}


@pytest.mark.parametrize(
    ("states", "status", "rollbackable"),
    [
        ([], "released", False),
        ([{"stable": arm(OTHER), "rollout": None, "history": [], "blocked": []}], "released", False),
        ([{"stable": arm(ME), "rollout": {"candidate": arm(ME), "phase": "stepping"}}], "stable", True),
        ([{"stable": arm(OTHER), "rollout": {"candidate": arm(ME), "phase": "stepping"}}], "rolling_out", False),
        ([{"stable": arm(OTHER), "rollout": {"candidate": arm(ME), "phase": "rolled_back"}, "blocked": [ME]}],
         "blocked", False),
        ([{"stable": arm(OTHER), "history": [arm(ME)], "rollout": None}], "former", True),
        ([{"stable": arm(OTHER)}, {"stable": arm(ME)}], "stable", True),
        ([{}], "released", False),
    ],
)  # fmt: skip
def test_a_release_says_where_it_stands(
    make_manifest: Callable[..., Manifest], states: list[dict[str, Any]], status: str, rollbackable: bool
) -> None:
    (found,) = release_metadata([make_manifest(release_digest=ME)], states)
    assert (found.status, found.rollbackable, found.prev_version) == (ReleaseStatus(status), rollbackable, None)


def test_each_release_names_the_one_before_it(make_manifest: Callable[..., Manifest]) -> None:
    newest_first = [make_manifest(release_version=version) for version in ("1.2.0-gray-a", "1.1.0", "1.0.0")]
    found = release_metadata(newest_first, [])
    assert [one.prev_version for one in found] == ["1.1.0", "1.0.0", None]
    assert [one.gray for one in found] == [True, False, False]
    assert (found[0].agent_name, found[0].tag, found[0].publisher) == ("shop", "v1.2.0", "ada@example.org")


def test_the_state_of_a_route_is_read_as_it_is_written(make_manifest: Callable[..., Manifest]) -> None:
    ref = ArmRef(release=ME, effective=OTHER, version="1.0.0")
    route = RouteId(agent=AgentName("shop"), environment=EnvironmentName("production"))
    for changes, status in (
        ({"stable": ref}, "stable"),
        ({"history": (ref,)}, "former"),
        ({"blocked": (ME,)}, "blocked"),
    ):
        state = state_to_wire(RouteState(route=route, **changes))  # type: ignore[arg-type]
        (found,) = release_metadata([make_manifest(release_digest=ME)], [state])
        assert found.status == status
    assert {phase.value for phase in ENDED} == {"done", "rolled_back"}
