"""No release without what its policy asks for (laws 4 and 9)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.errors import RefusedError
from fairway.release.cut import Draft, cut
from fairway.release.required import Required
from fairway.release.values import Component, Evidence, Manifest
from fairway.release.versions import Version
from fairway.units import AgentName, Digest, EnvironmentName, Verdict

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
WHOLE, ELSEWHERE = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
EFFECTIVE = Digest("sha256:" + "e" * 64)
STAGING = EnvironmentName("staging")
DRAFT = Draft(
    agent=AgentName("shop"), commit_sha="c" * 40, components=dict.fromkeys(Component, WHOLE), release_digest=WHOLE,
    effective={STAGING: EFFECTIVE}, tree=WHOLE, prompts={}, tools=(), models={}, publisher="ada",
)  # fmt: skip
PASSED = Evidence(kind="unit_test", release=WHOLE, verdict=Verdict.PASS, produced_by="t", at=NOW - timedelta(hours=1))


def attempt(evidence: list[Evidence], required: tuple[str, ...] = ("unit_test",), draft: Draft = DRAFT) -> Manifest:
    return cut(draft, version=Version.parse("1.2.0"), evidence=evidence, required=Required(kinds=required), now=NOW)


def refusal(action: Callable[[], object]) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        action()
    return caught.value


def test_a_pass_on_this_content_is_enough_and_is_kept() -> None:
    manifest = attempt([PASSED])
    assert manifest.evidence == (PASSED,)
    assert (manifest.release_version, manifest.tag, manifest.created_at) == ("1.2.0", "v1.2.0", NOW)
    for field in fields(Draft):
        assert getattr(manifest, field.name) == getattr(DRAFT, field.name)


@pytest.mark.parametrize("verdict", [verdict for verdict in Verdict if verdict is not Verdict.PASS])
def test_anything_but_a_pass_refuses(verdict: Verdict) -> None:
    error = refusal(lambda: attempt([replace(PASSED, verdict=verdict)]))
    assert error.code == "missing_evidence"
    assert f"unit_test: {verdict}" in error.message


@pytest.mark.parametrize(
    "evidence",
    [
        pytest.param([], id="nothing"),
        pytest.param([replace(PASSED, kind="other")], id="another-kind"),
        pytest.param([replace(PASSED, release=ELSEWHERE)], id="other-content"),
        pytest.param([replace(PASSED, release=Digest("dev:" + WHOLE))], id="uncommitted-content"),
        pytest.param([replace(PASSED, expires=NOW)], id="expired"),
        pytest.param([replace(PASSED, at=NOW + timedelta(seconds=1))], id="from-the-future"),
        pytest.param([replace(PASSED, effective=ELSEWHERE, environment=STAGING)], id="other-configuration"),
        pytest.param([replace(PASSED, effective=EFFECTIVE, environment=EnvironmentName("x"))], id="other-environment"),
        pytest.param([replace(PASSED, effective=ELSEWHERE)], id="configuration-of-nowhere"),
        pytest.param([PASSED, replace(PASSED, at=NOW, verdict=Verdict.FAIL)], id="a-newer-fail"),
        pytest.param([replace(PASSED, at=NOW, verdict=Verdict.NO_DATA), PASSED], id="a-newer-unknown-listed-first"),
        pytest.param([PASSED, replace(PASSED, verdict=Verdict.ERROR)], id="a-later-error-at-the-same-instant"),
    ],
)
def test_missing_evidence_is_named(evidence: list[Evidence]) -> None:
    error = refusal(lambda: attempt(evidence))
    assert error.code == "missing_evidence"
    assert "unit_test" in error.message


def test_every_lacking_kind_is_named_at_once() -> None:
    message = refusal(lambda: attempt([PASSED], ("security_scan", "unit_test", "cost_gate"))).message
    assert "security_scan" in message
    assert "cost_gate" in message
    assert "unit_test" not in message


def test_a_newer_pass_mends_an_older_fail_and_evidence_that_still_holds_counts() -> None:
    failed = replace(PASSED, verdict=Verdict.FAIL)
    mended = replace(PASSED, at=NOW, expires=NOW + timedelta(days=1), effective=EFFECTIVE, environment=STAGING)
    assert attempt([mended, failed]).evidence == (mended,)


def test_uncommitted_content_is_refused_whatever_was_found() -> None:
    dirty = replace(DRAFT, release_digest=Digest("dev:" + WHOLE))
    part = replace(DRAFT, components={**DRAFT.components, Component.CODE: Digest("dev:" + WHOLE)})
    for draft in (dirty, part):
        assert refusal(lambda draft=draft: attempt([], (), draft)).code == "dirty_tree"


findings = st.builds(
    Evidence,
    kind=st.sampled_from(["a", "b", "c"]),
    release=st.sampled_from([WHOLE, ELSEWHERE]),
    verdict=st.sampled_from(Verdict),
    produced_by=st.just("t"),
    at=st.integers(-5, 2).map(lambda hours: NOW + timedelta(hours=hours)),
    expires=st.none() | st.integers(-3, 3).map(lambda hours: NOW + timedelta(hours=hours)),
    effective=st.sampled_from([None, EFFECTIVE, ELSEWHERE]),
    environment=st.sampled_from([None, STAGING]),
    version=st.just(1),
)


@given(st.lists(findings, max_size=8), st.sets(st.sampled_from(["a", "b", "c"])))
def test_a_release_is_cut_only_when_each_required_kind_last_said_pass(
    found: list[Evidence], required: set[str]
) -> None:
    def last(kind: str) -> Evidence | None:
        bound = [
            e for e in found
            if e.kind == kind and e.release == WHOLE and e.at <= NOW and e.effective in (None, EFFECTIVE)
        ]  # fmt: skip
        return max(enumerate(bound), key=lambda pair: (pair[1].at, pair[0]))[1] if bound else None

    good = all(
        (e := last(kind)) is not None and e.verdict is Verdict.PASS and (e.expires is None or e.expires > NOW)
        for kind in required
    )
    if good:
        kept = {e.kind: e for e in attempt(found, tuple(required)).evidence}
        assert all(kept[kind] == last(kind) for kind in required)
    else:
        assert refusal(lambda: attempt(found, tuple(required))).code == "missing_evidence"
