from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fairway.pipeline.cache import StageCache
from fairway.pipeline.port import RunReport, StageResult, StageStatus
from fairway.pipeline.unchanged import Question, engine_version, fingerprint, forget, recall, remember
from fairway.release.values import Evidence
from fairway.units import Digest, Verdict

NOW = datetime(2026, 3, 4, tzinfo=UTC)
QUESTION = Question(engine="1", interpreter="2", options={"version": None})
GIT = {
    "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.org", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull,
}  # fmt: skip


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, env={**os.environ, **GIT})


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository" / "agent"
    root.mkdir(parents=True)
    (root / "a.py").write_text("x = 1\n")
    (root / ".gitignore").write_text("ignored\n")
    git(root, "init", "-q", "..")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "first")
    return root


def test_the_same_question_about_the_same_files_is_the_same(repository: Path) -> None:
    assert fingerprint(repository, QUESTION) == fingerprint(repository, QUESTION)
    assert fingerprint(repository, QUESTION) is not None


CHANGES: list[object] = [
    pytest.param(lambda root: (root / "a.py").write_text("x = 2\n"), id="a byte"),
    pytest.param(lambda root: (root / "a.py").unlink(), id="a file less"),
    pytest.param(lambda root: (root / "b.py").write_text(""), id="a new file"),
    pytest.param(lambda root: (root / "a.py").chmod(0o755), id="a mode"),
    pytest.param(lambda root: git(root, "tag", "v1.0.0"), id="a tag"),
    pytest.param(lambda root: git(root, "commit", "-qm", "x", "--allow-empty"), id="a commit"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_in_the_repository_changes_it(repository: Path, change: Callable[[Path], object]) -> None:
    before = fingerprint(repository, QUESTION)
    change(repository)
    assert fingerprint(repository, QUESTION) not in (before, None)


def test_a_dirty_file_that_changes_again_with_its_size_and_time_kept_is_seen(repository: Path) -> None:
    file = repository / "a.py"
    file.write_text("x = 2\n")
    status = file.stat()
    before = fingerprint(repository, QUESTION)
    file.write_text("x = 3\n")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert fingerprint(repository, QUESTION) != before


@pytest.mark.parametrize("change", [{"engine": "x"}, {"interpreter": "x"}, {"options": {"version": "1.0.0"}}])
def test_another_question_is_another(repository: Path, change: dict[str, object]) -> None:
    assert fingerprint(repository, replace(QUESTION, **change)) != fingerprint(repository, QUESTION)  # type: ignore[arg-type]


def test_ignored_files_and_other_folders_of_the_repository_do_not_count(repository: Path) -> None:
    before = fingerprint(repository, QUESTION)
    (repository / "ignored").write_text("x")
    (repository.parent / "elsewhere.txt").write_text("x")
    assert fingerprint(repository, QUESTION) == before


def test_without_git_nothing_is_certain(tmp_path: Path) -> None:
    assert fingerprint(tmp_path, QUESTION) is None


def test_a_repository_in_the_folder_is_not_certain(repository: Path) -> None:
    (repository / "sub").mkdir()
    git(repository / "sub", "init", "-q", ".")
    (repository / "sub" / "f").write_text("")
    assert fingerprint(repository, QUESTION) is None


def result(stage: str, status: StageStatus = StageStatus.PASSED, *, expires: datetime | None = None) -> StageResult:
    evidence = Evidence(
        kind=stage, release=Digest("sha256:" + "0" * 64), verdict=Verdict.PASS, produced_by="t", at=NOW, expires=expires
    )
    return StageResult(stage=stage, status=status, duration_seconds=2.0, summary="ok", evidence=(evidence,))


def run(*results: StageResult) -> RunReport:
    return RunReport(
        run_id="r1", agent="shop", release="dev:sha256:" + "1" * 64, release_version="0.1.0-dev", started_at=NOW,
        duration_seconds=9.0, results=results, prompts={"p": {"version": "1", "sha256": "ab"}}, note="told",
    )  # fmt: skip


KEYS = {"a": "a" * 64, "b": "b" * 64, "off": None}
SKIPPED = StageResult(stage="off", status=StageStatus.SKIPPED, duration_seconds=0.0, summary="disabled: why")


def keep(folder: Path, *results: StageResult) -> StageCache:
    cache = StageCache(folder / "stages")
    for one in results:
        if KEYS[one.stage]:
            cache.keep(KEYS[one.stage] or "", one)
    remember(folder / "unchanged", "key", run(*results), KEYS)
    return cache


def test_an_unchanged_run_is_told_as_it_was_with_every_stage_cached(tmp_path: Path) -> None:
    cache = keep(tmp_path, result("a"), result("b"), SKIPPED)
    report = recall(tmp_path / "unchanged", "key", cache, run_id="r2", now=NOW)
    assert report is not None
    assert [(one.stage, one.status.value) for one in report.results] == [
        ("a", "cached"), ("b", "cached"), ("off", "skipped"),
    ]  # fmt: skip
    assert (report.run_id, report.release, report.note, report.verdict) == ("r2", run().release, "told", "passed")
    assert report.prompts == run().prompts


def test_another_key_is_not_told(tmp_path: Path) -> None:
    cache = keep(tmp_path, result("a"))
    assert recall(tmp_path / "unchanged", "other", cache, run_id="r2", now=NOW) is None


@pytest.mark.parametrize("status", [StageStatus.FAILED, StageStatus.ERROR, StageStatus.CANCELLED])
def test_a_run_that_did_not_pass_is_not_remembered(tmp_path: Path, status: StageStatus) -> None:
    cache = keep(tmp_path, result("a"), replace(result("b"), status=status))
    assert recall(tmp_path / "unchanged", "key", cache, run_id="r2", now=NOW) is None


def test_a_run_with_a_stage_that_is_never_cached_is_not_remembered(tmp_path: Path) -> None:
    cache = keep(tmp_path, result("a"), replace(SKIPPED, status=StageStatus.PASSED))
    assert recall(tmp_path / "unchanged", "key", cache, run_id="r2", now=NOW) is None


def test_without_its_results_in_the_cache_it_is_not_told(tmp_path: Path) -> None:
    cache = keep(tmp_path, result("a"), result("b"))
    (tmp_path / "stages" / "bb" / ("b" * 64) / "result.json").write_text("{}")
    assert recall(tmp_path / "unchanged", "key", cache, run_id="r2", now=NOW) is None


def test_when_evidence_has_expired_it_is_not_told(tmp_path: Path) -> None:
    cache = keep(tmp_path, result("a", expires=NOW + timedelta(days=1)))
    folder = tmp_path / "unchanged"
    assert recall(folder, "key", cache, run_id="r2", now=NOW) is not None
    assert recall(folder, "key", cache, run_id="r2", now=NOW + timedelta(days=1)) is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 1, "key": "key"}', '{"version": 1, "key": "key", "stages": [1]}']
)
def test_a_damaged_memory_is_no_memory(tmp_path: Path, text: str) -> None:
    cache = keep(tmp_path, result("a"))
    (tmp_path / "unchanged" / "last.json").write_text(text)
    assert recall(tmp_path / "unchanged", "key", cache, run_id="r2", now=NOW) is None


def test_a_change_of_the_code_that_runs_stages_is_another_version(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1")
    (tmp_path / "cli").mkdir()
    (tmp_path / "cli" / "b.py").write_text("x = 1")
    before = engine_version(tmp_path, "1", leave_out=["cli"])
    (tmp_path / "cli" / "b.py").write_text("x = 22")
    assert engine_version(tmp_path, "1", leave_out=["cli"]) == before
    (tmp_path / "a.py").write_text("x = 22")
    assert engine_version(tmp_path, "1", leave_out=["cli"]) != before


def test_a_run_is_told_only_while_the_file_that_records_what_it_found_is_the_same(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    ledger.write_text("x")
    cache, folder = keep(tmp_path, result("a")), tmp_path / "unchanged"
    remember(folder, "key", run(result("a")), KEYS, recorded_in=ledger)
    assert recall(folder, "key", cache, run_id="r2", now=NOW) is not None
    other = tmp_path / "other.db"
    other.write_text("x")
    other.replace(ledger)  # restored from a backup
    assert recall(folder, "key", cache, run_id="r2", now=NOW) is None
    ledger.unlink()
    assert recall(folder, "key", cache, run_id="r2", now=NOW) is None


def test_a_run_that_counts_until_a_time_is_not_told_after_it(tmp_path: Path) -> None:
    cache, folder = keep(tmp_path, result("a")), tmp_path / "unchanged"
    midnight = NOW + timedelta(days=1)
    remember(folder, "key", run(result("a")), KEYS, until=midnight)
    assert recall(folder, "key", cache, run_id="r2", now=midnight - timedelta(seconds=1)) is not None
    assert recall(folder, "key", cache, run_id="r2", now=midnight) is None


def test_what_was_remembered_can_be_forgotten(tmp_path: Path) -> None:
    cache, folder = keep(tmp_path, result("a")), tmp_path / "unchanged"
    for _ in range(2):
        forget(folder)
        assert recall(folder, "key", cache, run_id="r2", now=NOW) is None
