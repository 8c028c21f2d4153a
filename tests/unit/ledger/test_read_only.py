"""A ledger on a read-only file system is read; what cannot be read is named, and a copy of it is proved."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from fairway.cli.main import cli
from fairway.errors import PermanentError, UserError
from fairway.ledger import open_ledger

AT = datetime(2026, 1, 1, tzinfo=UTC)
NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder every user can come to."""
    made = Path(tempfile.mkdtemp(prefix="fairway-read-only-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def _filled(folder: Path, rows: int = 3) -> Path:
    path = folder / "ledger.db"
    with open_ledger(path) as ledger:
        for number in range(rows):
            ledger.append_audit("note", "n", "ada", {"number": number}, AT)
    return path


@contextmanager
def _only_readable(folder: Path) -> Iterator[None]:
    """Nothing in the folder can be written, as on a read-only file system; also not by root."""
    was, everything = os.geteuid(), [folder, *folder.rglob("*")]
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in everything}
    for path, mode in modes.items():
        path.chmod(mode & 0o555)
        if was == 0:
            os.chown(path, NOBODY, -1)
    if was == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(was)
        for path, mode in modes.items():
            path.chmod(mode)
            if was == 0:
                os.chown(path, 0, -1)


def test_what_only_reads_works_where_nothing_can_be_written_and_a_write_says_why(folder: Path) -> None:
    path = _filled(folder)
    with _only_readable(folder):
        for migrate in (True, False):
            with open_ledger(path, migrate=migrate) as ledger:
                assert [one.payload["payload"]["number"] for one in ledger.audit_log(0)] == [0, 1, 2]
                assert ledger.verify_audit().ok
                with pytest.raises(PermanentError) as refused:
                    ledger.append_audit("note", "n", "ada", {}, AT)
                assert refused.value.code == "ledger_read_only"
                assert "what only reads works" in (refused.value.hint or "")


def test_what_another_process_has_just_written_is_read_too(folder: Path) -> None:
    path = _filled(folder)
    with open_ledger(path) as writer:
        writer.append_audit("note", "n", "ada", {"number": 3}, AT)
        assert path.with_name("ledger.db-wal").stat().st_size
        with _only_readable(folder), open_ledger(path) as ledger:
            assert [one.payload["payload"]["number"] for one in ledger.audit_log(0)] == [0, 1, 2, 3]


def test_a_log_that_cannot_be_read_without_writing_is_named_and_never_left_out(folder: Path) -> None:
    path = _filled(folder)
    kept = folder / "kept"
    with open_ledger(path) as writer:
        writer.append_audit("note", "n", "ada", {"number": 3}, AT)
        kept.mkdir()
        for name in ("ledger.db", "ledger.db-wal", "keys"):
            (shutil.copytree if name == "keys" else shutil.copy)(folder / name, kept / name)
    with _only_readable(kept):
        with pytest.raises(PermanentError) as refused:
            open_ledger(kept / "ledger.db")
        assert refused.value.code == "ledger_read_only"
        assert "ledger.db-wal" in refused.value.message
        assert "fairway audit verify --ledger" in (refused.value.hint or "")


def test_a_copy_is_proved_by_its_heads_and_keys(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "fairway.yaml").write_text("version: 1\nagent: {name: shop}\nservice: {command: x}\n")
    path = _filled(folder / ".fairway")
    away = folder / "away"
    away.mkdir()
    copied = away / "copy.db"
    with open_ledger(path) as ledger:
        ledger.backup(copied)
    monkeypatch.chdir(away)
    proved = CliRunner().invoke(cli, ["audit", "verify", "--ledger", str(copied)])
    assert (proved.exit_code, "3 rows, none altered" in proved.stdout) == (0, True)
    assert [one.name for one in away.iterdir()] == ["copy.db"]
    shutil.copy(path.with_suffix(".heads"), away / "copy.heads")
    with open_ledger(path) as ledger:
        ledger.append_audit("note", "n", "ada", {"number": 3}, AT)
    shutil.copy(path.with_suffix(".heads"), away / "copy.heads")
    short = CliRunner().invoke(cli, ["audit", "verify", "--ledger", str(copied)])
    assert "the chain ends at row 3, but row 4 was signed" in short.stdout
    (folder / "fairway.yaml").unlink()
    lost = CliRunner().invoke(cli, ["audit", "verify", "--ledger", str(copied)])
    assert isinstance(lost.exception, UserError)
    assert lost.exception.code == "keys_unknown"
    shutil.copytree(path.parent / "keys", away / "keys")
    assert "the chain ends at row 3" in CliRunner().invoke(cli, ["audit", "verify", "--ledger", str(copied)]).stdout
