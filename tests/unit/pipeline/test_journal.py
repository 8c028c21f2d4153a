from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.errors import ConflictError, FairwayError, NotFoundError
from fairway.pipeline.journal import RunJournal, find_run, new_run_id, prune_runs, read_run
from fairway.pipeline.port import StageResult, StageStatus

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
SUBJECT = {"release": "sha256:" + "1" * 64, "version": "1.2.0"}


def finished(stage: str, status: StageStatus) -> StageResult:
    return StageResult(stage=stage, status=status, duration_seconds=0.5, summary="s")


def write_run(folder: Path) -> None:
    with RunJournal(folder) as journal:
        journal.begin(SUBJECT, at=NOW)
        for stage, status in [("a", StageStatus.PASSED), ("b", StageStatus.CACHED), ("c", StageStatus.FAILED)]:
            journal.started(stage, key="k" + stage, at=NOW)
            journal.finished(finished(stage, status), key="k" + stage, at=NOW)
        journal.started("d", key=None, at=NOW)


def test_a_killed_run_says_what_passed(tmp_path: Path) -> None:
    write_run(tmp_path / "r1")
    past = read_run(tmp_path / "r1")
    assert past.subject == SUBJECT
    assert {stage: key for stage, (key, _) in past.passed.items()} == {"a": "ka", "b": "kb"}
    assert not past.ended


@given(st.integers(0, 2000))
def test_a_journal_cut_at_any_byte_is_read_up_to_there(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("runs") / "r1"
    write_run(folder)
    path = folder / "journal.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    try:
        passed = set(read_run(folder).passed)
    except FairwayError:
        assert b"\n" not in whole[:cut]  # not even what it examined is known
        passed = set()
    assert passed <= {"a", "b"}
    # And what goes on in the same folder stands on its own lines.
    with RunJournal(folder) as journal:
        journal.begin(SUBJECT, at=NOW)
        journal.finished(finished("z", StageStatus.PASSED), key=None, at=NOW)
    assert set(read_run(folder).passed) == passed | {"z"}


def test_a_run_that_is_going_on_is_not_resumed_by_another(tmp_path: Path) -> None:
    with (
        RunJournal(tmp_path / "r1"),
        pytest.raises(ConflictError, match="still going on"),
        RunJournal(tmp_path / "r1"),
    ):
        pass
    with RunJournal(tmp_path / "r1"):
        pass


def test_the_last_run_is_found_and_a_beginning_of_an_id_is_enough(tmp_path: Path) -> None:
    for name in ("20260101-000000-aaaaaa", "20260102-000000-bbbbbb"):
        (tmp_path / name).mkdir()
    assert find_run(tmp_path, None).name == "20260102-000000-bbbbbb"
    assert find_run(tmp_path, "20260101").name == "20260101-000000-aaaaaa"
    with pytest.raises(NotFoundError, match="fits 2 runs"):
        find_run(tmp_path, "2026")
    with pytest.raises(NotFoundError, match="no run 'x'"):
        find_run(tmp_path, "x")


def test_without_a_run_there_is_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no run to resume"):
        find_run(tmp_path / "none", None)


def test_old_runs_are_removed_but_not_the_last_twenty_nor_one_that_lives(tmp_path: Path) -> None:
    names = [new_run_id(NOW - timedelta(days=30 - day)) for day in range(30)]
    for name in names:
        (tmp_path / name).mkdir()
    with RunJournal(tmp_path / names[3]):
        removed = prune_runs(tmp_path, now=NOW)
    assert set(removed) == set(names[:10]) - {names[3]}
    assert (tmp_path / names[3]).is_dir()


def test_runs_of_the_last_seven_days_are_all_kept(tmp_path: Path) -> None:
    for minute in range(30):
        (tmp_path / new_run_id(NOW - timedelta(minutes=minute))).mkdir()
    assert prune_runs(tmp_path, now=NOW) == ()


def test_a_stages_folder_is_empty_at_its_start(tmp_path: Path) -> None:
    with RunJournal(tmp_path / "r1") as journal:
        (journal.workdir("a") / "left-over").write_text("x")
        assert list(journal.workdir("a").iterdir()) == []
