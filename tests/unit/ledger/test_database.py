"""What SQLite says, as errors a person can act on."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from fairway.errors import ConflictError, FairwayError, PermanentError, TransientError
from fairway.ledger import database
from fairway.ledger.database import SqliteDatabase, errors


@pytest.mark.parametrize(
    ("code", "kind", "name"),
    [
        (sqlite3.SQLITE_BUSY, TransientError, "ledger_busy"),
        (sqlite3.SQLITE_LOCKED, TransientError, "ledger_busy"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, TransientError, "ledger_busy"),
        (sqlite3.SQLITE_FULL, PermanentError, "disk_full"),
        (sqlite3.SQLITE_CORRUPT, PermanentError, "ledger_corrupt"),
        (sqlite3.SQLITE_NOTADB, PermanentError, "ledger_corrupt"),
        (sqlite3.SQLITE_READONLY, PermanentError, "ledger_read_only"),
        (sqlite3.SQLITE_CANTOPEN, PermanentError, "ledger_unreadable"),
        (sqlite3.SQLITE_IOERR_READ, PermanentError, "ledger_unreadable"),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, ConflictError, "ledger_constraint"),
        (sqlite3.SQLITE_ERROR, PermanentError, "ledger_failed"),
        (None, PermanentError, "ledger_failed"),
    ],
)
def test_each_failure_of_the_database_has_its_code(code: int | None, kind: type[FairwayError], name: str) -> None:
    error = sqlite3.OperationalError("it says")
    if code is not None:
        error.sqlite_errorcode = code
    with pytest.raises(kind) as caught, errors(Path("ledger.db")):
        raise error
    assert caught.value.code == name


def test_a_writer_kept_waiting_for_too_long_is_told_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.1)
    one, two = SqliteDatabase(tmp_path / "a.db"), SqliteDatabase(tmp_path / "a.db")
    try:
        with one.write() as connection:
            connection.execute("CREATE TABLE t (n INTEGER)")
            with pytest.raises(TransientError) as caught, two.write():
                pass
        assert caught.value.retry_after == 1.0
        with two.write() as connection:
            connection.execute("INSERT INTO t VALUES (1)")
    finally:
        one.close()
        two.close()


def test_a_block_that_raises_leaves_nothing_and_the_next_goes_on(tmp_path: Path) -> None:
    store = SqliteDatabase(tmp_path / "a.db")
    with store.write() as connection:
        connection.execute("CREATE TABLE t (n INTEGER)")

    def interrupted(error: type[BaseException]) -> None:
        with store.write() as connection:
            connection.execute("INSERT INTO t VALUES (1)")
            raise error

    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error):
            interrupted(error)
    store._writer.execute("BEGIN IMMEDIATE")  # as Ctrl-C between BEGIN and the block leaves it
    with store.write() as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone()[0] == 0
    store.close()


def test_readers_see_one_moment_while_a_writer_goes_on(tmp_path: Path) -> None:
    store = SqliteDatabase(tmp_path / "a.db")
    with store.write() as connection:
        connection.execute("CREATE TABLE t (n INTEGER)")

    def write() -> None:
        with store.write() as connection:
            connection.execute("INSERT INTO t VALUES (1)")

    with store.read() as reader:
        before = reader.execute("SELECT count(*) FROM t").fetchone()[0]
        writer = threading.Thread(target=write)
        writer.start()
        writer.join(timeout=10)
        assert reader.execute("SELECT count(*) FROM t").fetchone()[0] == before == 0
    with store.read() as reader:
        assert reader.execute("SELECT count(*) FROM t").fetchone()[0] == 1
    store.close()
