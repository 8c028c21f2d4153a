from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fairway.pipeline.cache import StageCache, stage_key
from fairway.pipeline.port import Finding, StageResult, StageStatus
from fairway.release.values import Evidence
from fairway.units import Digest, Verdict

KEY = "ab" * 32


def result(folder: Path, status: StageStatus = StageStatus.PASSED, **changes: object) -> StageResult:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "junit.xml").write_text("<testsuite/>")
    values: dict[str, object] = {
        "stage": "unit_test",
        "status": status,
        "duration_seconds": 1.5,
        "summary": "3 passed",
        "details": {"coverage": 91.25, "modules": ["a"]},
        "findings": (Finding(severity="warning", rule="W1", message="m", file="a.py", line=3),),
        "artifacts": {"junit": folder / "junit.xml"},
        "evidence": (
            Evidence(
                kind="unit_test",
                release=Digest("sha256:" + "0" * 64),
                verdict=Verdict.PASS,
                produced_by="fairway",
                at=datetime(2026, 1, 2, tzinfo=UTC),
                figures={"tests": 3},
            ),
        ),
    }
    return StageResult(**(values | changes))  # type: ignore[arg-type]


def test_what_was_kept_comes_back_with_its_artifacts_after_the_run_folder_is_gone(tmp_path: Path) -> None:
    cache = StageCache(tmp_path / "cache")
    kept = result(tmp_path / "run")
    cache.keep(KEY, kept)
    (tmp_path / "run" / "junit.xml").unlink()
    found = cache.find(KEY)
    assert found is not None
    assert (found.details, found.findings, found.evidence) == (kept.details, kept.findings, kept.evidence)
    assert found.artifacts["junit"].read_text() == "<testsuite/>"


@pytest.mark.parametrize("status", [StageStatus.FAILED, StageStatus.ERROR, StageStatus.CANCELLED, StageStatus.CACHED])
def test_what_did_not_pass_is_never_kept(tmp_path: Path, status: StageStatus) -> None:
    cache = StageCache(tmp_path / "cache")
    cache.keep(KEY, result(tmp_path / "run", status))
    assert cache.find(KEY) is None


def test_a_stage_skipped_because_of_another_is_not_kept_but_its_own_skip_is(tmp_path: Path) -> None:
    cache = StageCache(tmp_path / "cache")
    cache.keep(KEY, result(tmp_path / "run", StageStatus.SKIPPED, caused_by="lint"))
    assert cache.find(KEY) is None
    cache.keep(KEY, result(tmp_path / "run", StageStatus.SKIPPED))
    assert cache.find(KEY) is not None


def damaged_files() -> list[object]:
    return [
        pytest.param("result.json", lambda path: path.write_bytes(path.read_bytes()[:-20]), id="torn"),
        pytest.param("result.json", lambda path: path.write_bytes(b""), id="empty"),
        pytest.param("result.json", lambda path: path.write_bytes(b"[]"), id="another shape"),
        pytest.param("result.json", lambda path: path.unlink(), id="gone"),
        pytest.param(
            "result.json",
            lambda path: path.write_bytes(path.read_bytes().replace(b"3 passed", b"9 passed")),
            id="altered",
        ),
        pytest.param("0-junit.xml", lambda path: path.write_text("<testsuite failures='0'/>"), id="artifact altered"),
        pytest.param("0-junit.xml", lambda path: path.unlink(), id="artifact gone"),
    ]


@pytest.mark.parametrize(("name", "damage"), damaged_files())
def test_a_damaged_entry_is_a_miss_and_can_be_kept_again(tmp_path: Path, name: str, damage) -> None:  # type: ignore[no-untyped-def]
    cache = StageCache(tmp_path / "cache")
    cache.keep(KEY, result(tmp_path / "run"))
    damage(tmp_path / "cache" / KEY[:2] / KEY / name)
    assert cache.find(KEY) is None
    cache.keep(KEY, result(tmp_path / "run"))
    assert cache.find(KEY) is not None


def test_keeping_leaves_nothing_half_written_when_the_disk_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    cache = StageCache(tmp_path / "cache")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        cache.keep(KEY, result(tmp_path / "run"))
    assert list((tmp_path / "cache" / KEY[:2]).iterdir()) == []
    assert cache.find(KEY) is None


def test_what_nobody_used_for_thirty_days_goes_and_what_was_used_stays(tmp_path: Path) -> None:
    cache = StageCache(tmp_path / "cache")
    other = "cd" * 32
    for key in (KEY, other):
        cache.keep(key, result(tmp_path / "run"))
        os.utime(tmp_path / "cache" / key[:2] / key, (0, 0))
    (tmp_path / "cache" / "cd" / ".draft-x").mkdir()  # of a run that writes just now
    assert cache.find(KEY) is not None
    assert cache.prune(now=datetime.now(UTC)) == 1
    assert cache.find(KEY) is not None
    assert cache.find(other) is None
    assert (tmp_path / "cache" / "cd" / ".draft-x").exists()


def test_a_key_changes_with_each_thing_the_result_depends_on() -> None:
    values: dict[str, object] = {
        "code": "1",
        "config": {"total": 80},
        "inputs": {"code": "sha256:a", "prompts": "sha256:b"},
    }
    keys = {
        stage_key("unit_test", **values),  # type: ignore[arg-type]
        stage_key("other", **values),  # type: ignore[arg-type]
        stage_key("unit_test", **(values | {"code": "2"})),  # type: ignore[arg-type]
        stage_key("unit_test", **(values | {"config": {"total": 81}})),  # type: ignore[arg-type]
        stage_key("unit_test", **(values | {"inputs": {"code": "sha256:a", "prompts": "sha256:c"}})),  # type: ignore[arg-type]
    }
    assert len(keys) == 5
    again = stage_key("unit_test", code="1", config={"total": 80}, inputs={"prompts": "sha256:b", "code": "sha256:a"})
    assert again in keys


def test_an_entry_is_readable_json_for_people(tmp_path: Path) -> None:
    cache = StageCache(tmp_path)
    cache.keep(KEY, result(tmp_path / "run"))
    entry = json.loads((tmp_path / KEY[:2] / KEY / "result.json").read_text())
    assert entry["body"]["result"]["stage"] == "unit_test"
