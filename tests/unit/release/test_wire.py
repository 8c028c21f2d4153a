"""Manifests and evidence on the wire, version 1."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.errors import UserError
from fairway.release.values import Component, Evidence, Manifest
from fairway.release.wire import (
    evidence_from_wire,
    evidence_to_wire,
    format_time,
    manifest_bytes,
    manifest_to_wire,
    parse_time,
    read_manifest,
)
from fairway.units import Digest, EnvironmentName, Verdict

RELEASE = Digest("sha256:" + "1" * 64)

digests = st.from_regex(r"(dev:)?sha256:[0-9a-f]{64}", fullmatch=True).map(Digest)
times = st.datetimes(datetime(1970, 1, 2), datetime(9998, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
scalars = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=8)
scalars |= st.floats(allow_nan=False, allow_infinity=False)
figures = st.dictionaries(
    st.text(max_size=8),
    st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)
findings = st.builds(
    Evidence,
    kind=st.text(max_size=20),
    release=digests,
    verdict=st.sampled_from(Verdict),
    produced_by=st.text(max_size=20),
    at=times,
    effective=st.none() | digests,
    instrument=st.none() | digests,
    environment=st.none() | st.just(EnvironmentName("staging")),
    figures=figures,
    expires=st.none() | times,
    version=st.just(1),
)


@given(st.lists(findings, max_size=3))
def test_every_manifest_is_read_back_equal(found: list[Evidence]) -> None:
    manifest = Manifest(**MANIFEST | {"evidence": tuple(found)})
    assert read_manifest(manifest_bytes(manifest)) == manifest


@given(findings)
def test_every_finding_is_read_back_equal(evidence: Evidence) -> None:
    assert evidence_from_wire(evidence_to_wire(evidence)) == evidence


def test_a_key_this_version_does_not_know_is_refused(make_manifest: Callable[..., Manifest]) -> None:
    for change in (
        {"surprise": 1},
        {"version": 2},
        {"version": True},
        {"tree": "sha256:1"},
        {"reads": "1"},
        {"components": {}},
    ):
        with pytest.raises(UserError) as caught:
            from_wire(manifest_to_wire(make_manifest()) | change)
        assert caught.value.code == "malformed_release"


def test_each_missing_key_is_named(make_manifest: Callable[..., Manifest]) -> None:
    wire = manifest_to_wire(make_manifest())
    for key in wire:
        with pytest.raises(UserError, match=key):
            from_wire({name: value for name, value in wire.items() if name != key})


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_what_is_not_a_manifest_is_refused_without_a_traceback(content: bytes) -> None:
    with pytest.raises(UserError):
        read_manifest(content)


def test_a_time_without_a_zone_is_refused_and_others_become_utc() -> None:
    with pytest.raises(ValueError, match="zone"):
        format_time(datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="zone"):
        parse_time("2026-01-01T00:00:00")
    east = datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    assert format_time(east) == "2026-01-01T00:00:00.000000Z"


def test_evidence_bytes_are_the_golden_ones() -> None:
    evidence = Evidence(
        kind="unit_test", release=RELEASE, verdict=Verdict.PASS, produced_by="pytest 9",
        at=datetime(2026, 11, 20, 9, 0, tzinfo=UTC), figures={"passed": 12},
    )  # fmt: skip
    assert evidence_to_wire(replace(evidence)) == {
        "version": 1, "kind": "unit_test", "release": RELEASE, "verdict": "PASS", "produced_by": "pytest 9",
        "at": "2026-11-20T09:00:00.000000Z", "effective": None, "instrument": None, "environment": None,
        "figures": {"passed": 12}, "expires": None,
    }  # fmt: skip


def from_wire(wire: dict[str, Any]) -> Manifest:
    return read_manifest(json.dumps(wire).encode())


MANIFEST: dict[str, Any] = {
    "agent": "shop",
    "release_version": "1.2.0",
    "tag": "v1.2.0",
    "commit_sha": "ab" * 20,
    "components": dict.fromkeys(Component, RELEASE),
    "release_digest": RELEASE,
    "effective": {"production": RELEASE},
    "tree": RELEASE,
    "prompts": {"support": {"version": "1.0.0", "sha256": "0" * 64}},
    "tools": ("lookup",),
    "models": {"fast": "mock/small"},
    "created_at": datetime(2026, 11, 20, 9, 0, tzinfo=UTC),
    "publisher": "ada@example.org",
}
