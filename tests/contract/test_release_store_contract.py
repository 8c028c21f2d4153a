"""One suite for every ReleaseStore and for the records beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fairway.errors import FairwayError
from fairway.ledger import SqlLedger, open_ledger
from fairway.ledger.records import DeploymentRecord, DeploymentStatus
from fairway.release.values import Component, Evidence, Manifest, SignedRelease
from fairway.testing.memory_ledger import MemoryLedger
from fairway.units import AgentName, Digest, EnvironmentName, Verdict

SHOP = AgentName("shop")
NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
Ledger = SqlLedger | MemoryLedger


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    if request.param == "memory":
        yield MemoryLedger()
        return
    with open_ledger(tmp_path / "ledger.db") as found:
        yield found


def digest(text: str) -> Digest:
    return Digest("sha256:" + text.ljust(64, "0"))


def release(version: str = "1.2.0", whole: str = "aa", commit: str = "c0ffee1", **changes: Any) -> SignedRelease:
    manifest = Manifest(
        agent=SHOP,
        release_version=version,
        tag=f"v{version}",
        commit_sha=commit.ljust(40, "0"),
        components=dict.fromkeys(Component, digest("01")),
        release_digest=digest(whole),
        effective={EnvironmentName("production"): digest("02")},
        tree=digest("03"),
        prompts={"support": {"version": "1.0.0", "sha256": "0" * 64}},
        tools=("lookup", "reset_password"),
        models={"fast": "mock/small"},
        created_at=NOW,
        publisher="ada@example.org",
    )
    return SignedRelease(manifest=replace(manifest, **changes), envelope="{}")


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(FairwayError) as caught:
        action()
    return caught.value.code


def test_a_release_is_kept_as_it_was_and_once(store: Ledger) -> None:
    store.add_release(release())
    store.add_release(release())
    store.add_release(release("1.3.0", "bb"))
    assert store.list_releases(SHOP) == (release("1.3.0", "bb"), release())
    assert store.list_releases(AgentName("other")) == ()


def test_a_version_never_changes_what_it_means(store: Ledger) -> None:
    store.add_release(release())
    assert code_of(lambda: store.add_release(release(whole="bb"))) == "version_taken"
    assert store.find_release(SHOP, "1.2.0") == release()


@pytest.mark.parametrize(
    "reference",
    ["1.2.0", "v1.2.0", "V1.2.0", "aa" + "0" * 6, "sha256:aa" + "0" * 62, "c0ffee1", "c0ffee1".ljust(40, "0")],
)
def test_a_release_is_found_by_any_of_its_names(store: Ledger, reference: str) -> None:
    store.add_release(release())
    store.add_release(release("1.3.0-rc1", "bb", "deadbee"))
    assert store.find_release(SHOP, reference) == release()


def test_what_is_not_there_names_what_is(store: Ledger) -> None:
    with pytest.raises(FairwayError) as none:
        store.find_release(SHOP, "1.0.0")
    assert none.value.code == "release_not_found"
    store.add_release(release())
    with pytest.raises(FairwayError) as caught:
        store.find_release(SHOP, "v1.2.1")
    assert "1.2.0" in (caught.value.hint or "")
    for reference in ("aa00000", "c0ffee", "", "sha256:", "%", "1.2", "dev:sha256:aa"):
        assert code_of(lambda reference=reference: store.find_release(SHOP, reference)) == "release_not_found"


def test_a_beginning_shared_by_two_contents_is_ambiguous_and_by_one_content_the_newest(store: Ledger) -> None:
    store.add_release(release("1.2.0-rc1", "aaaaaaaa11"))
    store.add_release(release("1.2.0", "aaaaaaaa11"))
    assert store.find_release(SHOP, "aaaaaaaa").manifest.release_version == "1.2.0"
    store.add_release(release("1.3.0", "aaaaaaaa22"))
    assert code_of(lambda: store.find_release(SHOP, "aaaaaaaa")) == "ambiguous_release"


def test_a_release_with_a_secret_is_refused(store: Ledger) -> None:
    leaky = release(models={"fast": "sk-" + "a1B2" * 8})
    assert code_of(lambda: store.add_release(leaky)) == "secret_in_release"
    assert store.list_releases(SHOP) == ()


def test_evidence_is_kept_in_the_order_it_was_found(store: Ledger) -> None:
    passed = Evidence(
        kind="unit_test", release=digest("aa"), verdict=Verdict.PASS, produced_by="pytest", at=NOW, figures={"n": 3}
    )
    failed = replace(passed, verdict=Verdict.FAIL, expires=NOW, instrument=digest("07"))
    store.add_evidence([passed, failed])
    store.add_evidence([replace(passed, release=digest("bb"))])
    assert store.list_evidence(digest("aa")) == (passed, failed)
    assert store.list_evidence(digest("cc")) == ()


def test_figures_of_evidence_hold_no_secret(store: Ledger) -> None:
    store.add_evidence(
        [
            Evidence(
                kind="x",
                release=digest("aa"),
                verdict=Verdict.PASS,
                produced_by="y",
                at=NOW,
                figures={"token": "hunter2"},
            )
        ]
    )
    assert store.list_evidence(digest("aa"))[0].figures == {"token": "[redacted]"}


def test_a_deployment_shows_what_became_of_it(store: Ledger) -> None:
    record = DeploymentRecord(
        id="d1", agent=SHOP, environment=EnvironmentName("staging"), namespace="staging", release=digest("aa"),
        image_tag="1.2.0", status=DeploymentStatus.RUNNING, operator="ada", started_at=NOW,
    )  # fmt: skip
    store.record_deployment(record)
    store.record_deployment(replace(record, id="d2", environment=EnvironmentName("production")))
    done = replace(record, status=DeploymentStatus.SUCCEEDED, ended_at=NOW)
    store.record_deployment(done)
    assert [found.id for found in store.list_deployments(SHOP)] == ["d1", "d2"]
    assert store.list_deployments(environment=EnvironmentName("staging")) == (done,)
    assert store.list_deployments(AgentName("other")) == ()
    assert len(store.list_deployments(limit=1)) == 1


def test_runs_are_listed_last_first(store: Ledger) -> None:
    store.record_run("a", {"status": "running"})
    store.record_run("b", {"status": "passed"})
    store.record_run("a", {"status": "failed"})
    assert store.list_runs() == (("a", {"status": "failed"}), ("b", {"status": "passed"}))
    assert len(store.list_runs(limit=1)) == 1
