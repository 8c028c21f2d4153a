"""The SQLite file under a ledger: one writer at a time, short reads, every failure with a code.

Plain ``sqlite3`` rather than SQLAlchemy, which takes longer to import than the whole budget of a command that only
reads (150 ms); migrations, which are rare, use Alembic and SQLAlchemy. Write-ahead log, ``synchronous=FULL``: what was
committed survives a power cut. ``BEGIN IMMEDIATE``: a transaction that will write has the right to from its start.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from fairway.errors import ConflictError, FairwayError, PermanentError, TransientError

BUSY_SECONDS = 5.0
"""How long a writer waits for another process."""

_KEPT_READERS = 4


class SqliteDatabase:
    """A file and its connections; any thread may use it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writing = threading.Lock()
        self._readers_lock = threading.Lock()
        self._readers: list[sqlite3.Connection] = []
        self._closed = False
        self._writer = connect(path)

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction: committed when the block ends, undone when it raises.

        Raises:
            TransientError: When another process kept the file for longer than ``BUSY_SECONDS`` (``ledger_busy``).
            PermanentError: ``disk_full``, ``ledger_corrupt``, ``ledger_read_only``, ``ledger_unreadable``.
        """
        with self._writing:
            if self._closed:
                raise PermanentError("the ledger is closed", code="ledger_closed")
            with errors(self._path):
                if self._writer.in_transaction:  # interrupted between BEGIN and the block, Ctrl-C can do that
                    self._writer.execute("ROLLBACK")
                self._writer.execute("BEGIN IMMEDIATE")
                try:
                    yield self._writer
                    self._writer.execute("COMMIT")
                except BaseException:
                    if self._writer.in_transaction:
                        self._writer.execute("ROLLBACK")
                    raise

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A view of one moment; writers go on meanwhile."""
        connection = self._borrow()
        try:
            with errors(self._path):
                connection.execute("BEGIN")
                try:
                    yield connection
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
        finally:
            self._give_back(connection)

    def backup(self, target: Path) -> None:
        """Copy everything committed so far to a new file.

        Raises:
            ConflictError: When ``target`` exists (``code="backup_exists"``).
        """
        copy_database(self._path, target)

    def close(self) -> None:
        """Close every connection; a second time does nothing."""
        with self._writing:
            self._closed = True
            self._writer.close()
        with self._readers_lock:
            for reader in self._readers:
                reader.close()
            self._readers.clear()

    def _borrow(self) -> sqlite3.Connection:
        with self._readers_lock:
            if self._closed:
                raise PermanentError("the ledger is closed", code="ledger_closed")
            if self._readers:
                return self._readers.pop()
        return connect(self._path)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._readers_lock:
            if not self._closed and len(self._readers) < _KEPT_READERS:
                self._readers.append(connection)
                return
        connection.close()


def connect(path: Path) -> sqlite3.Connection:
    """A connection with the pragmas every Fairway process uses; transactions are begun by hand.

    Where its folder cannot be written, as on a read-only file system, it reads and does not write.

    Raises:
        PermanentError: When the file cannot be opened or is no database.
    """
    with errors(path):
        connection = open_file(path)
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute("PRAGMA synchronous=FULL")
            if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal" and not reads_only(path):
                connection.execute("PRAGMA journal_mode=WAL")
        except BaseException:
            connection.close()
            raise
        return connection


def reads_only(path: Path) -> bool:
    """Whether a ledger is there that can only be read: nothing can be made beside it, where SQLite keeps its log."""
    if not path.exists() or _may_write(path.parent):
        return False
    return not all(_may_write(path.with_name(path.name + end)) for end in ("", "-wal", "-shm"))


def _may_write(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def open_file(path: Path) -> sqlite3.Connection:
    """The file as SQLite opens it; for reading alone where nothing can be written.

    Raises:
        sqlite3.Error: When it cannot be opened.
        PermanentError: When what was written last cannot be read without writing (``code="ledger_read_only"``).
    """
    if not reads_only(path):
        return sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        return _reading(path, "mode=ro")
    except sqlite3.OperationalError as error:
        log = path.with_name(path.name + "-wal")
        if log.exists() and log.stat().st_size:
            raise PermanentError(
                f"{path} lies where nothing can be written, and its last records are still in {log.name},"
                " which SQLite reads only where it may write",
                code="ledger_read_only",
                hint=f"copy {path.name} and {log.name} to a folder you can write;"
                " fairway audit verify --ledger <the copy> proves it",
            ) from error
        # No log, so the file is all there is, and nobody can write it by this mount: SQLite may skip its locks.
        return _reading(path, "mode=ro&immutable=1")


def _reading(path: Path, how: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?{how}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def errors(path: Path) -> Iterator[None]:
    """Name what SQLite says; constraint violations become conflicts."""
    try:
        yield
    except sqlite3.Error as error:
        raise _named(path, error) from error


def _named(path: Path, error: sqlite3.Error) -> FairwayError:
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return TransientError(
            f"the ledger is busy: another process has been writing to it for {BUSY_SECONDS:.0f} s",
            code="ledger_busy",
            retry_after=1.0,
        )
    if code == sqlite3.SQLITE_FULL:
        return PermanentError(
            "the disk is full; the ledger kept everything it had and wrote nothing new",
            code="disk_full",
            hint="free some space and run the same command again; nothing was half-written",
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return PermanentError(
            f"{path} is damaged or is not a ledger ({error})",
            code="ledger_corrupt",
            hint="restore a backup: fairway audit restore <file>; the damaged one is kept beside it",
        )
    if code == sqlite3.SQLITE_READONLY:
        return PermanentError(
            f"{path} cannot be written: it is read-only",
            code="ledger_read_only",
            hint="its file system or its folder is; what only reads works: rollout status, audit verify, release list",
        )
    if code == sqlite3.SQLITE_CONSTRAINT:
        return ConflictError(f"the ledger refused a record: {error}", code="ledger_constraint")
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_AUTH):
        return PermanentError(
            f"cannot read or write the ledger {path} ({error})",
            code="ledger_unreadable",
            hint="check that the folder exists and who owns it",
        )
    return PermanentError(f"the ledger {path} failed: {error}", code="ledger_failed")


def copy_database(source: Path, target: Path) -> None:
    """Copy a database, as of one moment, with SQLite's backup; ``target`` appears whole or not at all.

    Raises:
        ConflictError: When ``target`` exists (``code="backup_exists"``).
    """
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
    try:
        with errors(target):
            reader, writer = open_file(source), sqlite3.connect(temporary)
            try:
                reader.backup(writer)
            finally:
                writer.close()
                reader.close()
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        try:
            os.link(temporary, target)
        except FileExistsError as error:
            raise ConflictError(f"{target} exists already", code="backup_exists", hint="name another file") from error
    except OSError as error:
        raise PermanentError(f"cannot write {target}: {error.strerror}", code="backup_failed") from error
    finally:
        for name in (temporary.name, f"{temporary.name}-wal", f"{temporary.name}-shm", f"{temporary.name}-journal"):
            temporary.with_name(name).unlink(missing_ok=True)
