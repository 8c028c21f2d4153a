"""Opening a ledger: on a local disk, of a schema this code knows, made or migrated when asked to."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from fairway.clock import Clock
from fairway.errors import ConflictError, NotFoundError, PermanentError, TransientError, UserError
from fairway.ledger.database import SqliteDatabase, connect, copy_database, errors, open_file
from fairway.ledger.migration import upgrade
from fairway.ledger.placement import refuse_network_filesystem
from fairway.ledger.schema import APPLICATION_ID, REVISIONS, TABLES, TRIGGERS
from fairway.ledger.sql_ledger import SqlLedger

_SHARED_FIRST, _SHARED_LENGTH = 0x4000_0002, 510
"""The bytes SQLite locks while a connection reads, in WAL mode as long as it is open (its file format, "Locking")."""


def open_ledger(
    path_or_url: Path | str, *, clock: Clock | None = None, keys: Path | None = None, migrate: bool = True
) -> SqlLedger:
    """Open a ledger, making it when it is not there and never was.

    Args:
        path_or_url: A file, ``sqlite:///<file>``.
        clock: Gives the time of leases and of the chain; by default the database's own.
        keys: Folder of the signing key; by default ``keys`` beside the file.
        migrate: Bring an older schema up to date, after a copy of the file; when false, one that is missing or older
            is refused.

    Raises:
        UserError: ``ledger_on_network``; ``ledger_older`` or ``ledger_not_found`` without ``migrate``; ``ledger_url``.
        PermanentError: ``ledger_missing`` when something beside it shows that there was one; ``ledger_newer``,
            ``not_a_ledger``, ``ledger_corrupt``, ``ledger_unreadable``, ``disk_full``.
    """
    path = _path(path_or_url)
    refuse_network_filesystem(path)
    if migrate:
        _make_folder(path.parent)
    _check_readable(path)
    if (revision := _revision(path)) != REVISIONS[-1]:
        if not migrate:
            _refuse_lost(path)
            raise _not_current(path, revision)
        with _alone(path):
            _refuse_lost(path)
            # Another process may have done it while we waited.
            _bring_up_to_date(path, _revision(path))
    return SqlLedger(SqliteDatabase(path), keys=keys or path.parent / "keys", clock=clock)


def restore_ledger(backup: Path, target: Path, *, actor: str, keys: Path | None = None) -> Path | None:
    """Put a backup in the place of a ledger that nobody has open.

    The ledger that is there is moved aside with its file of signed heads, not deleted, however damaged it is: what it
    holds beyond the backup is lost to the new one, and the heads prove what that was. The restored ledger records the
    restore.

    Returns:
        Where the old ledger is now; ``None`` when there was none.

    Raises:
        NotFoundError: When there is no such backup.
        ConflictError: When somebody has the ledger open (``code="ledger_open"``).
        PermanentError: When the backup is damaged, not a ledger, or newer than this code.
    """
    if not backup.is_file():
        raise NotFoundError(f"there is no backup {backup}", code="backup_not_found")
    _known_revision(backup, _revision(backup))
    _make_folder(target.parent)
    with _alone(target):
        # The copy is made first: a backup that cannot be read, or a full disk, leaves everything as it was.
        copied = target.with_name(f".{target.name}.restored-{secrets.token_hex(6)}")
        try:
            copy_database(backup, copied)
            aside = _move_aside(target)
            copied.replace(target)
        finally:
            copied.unlink(missing_ok=True)
    with open_ledger(target, keys=keys) as ledger:
        ledger.append_audit("restore", backup.name, actor, {"replaced": aside and aside.name}, datetime.now(UTC))
    return aside


def _move_aside(target: Path) -> Path | None:
    """Rename a ledger and what belongs to it, also when only the signed heads or the log of one are left.

    Returns:
        Where the ledger is now; ``None`` when there was none.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    aside = target.with_name(f"{target.stem}.before-restore-{stamp}{target.suffix}")
    existed = target.exists()
    log, kept_log = (file.with_name(file.name + "-wal") for file in (target, aside))
    if existed and log.is_file():
        os.link(log, kept_log)  # SQLite removes the log of a file it cannot read
    try:
        settled = not existed or _settle(target)
    except ConflictError:
        kept_log.unlink(missing_ok=True)
        raise
    if existed and settled:
        kept_log.unlink(missing_ok=True)
    # The file itself goes last: a restore that was cut short still finds it and can be run again.
    for one, other in (
        (target.with_suffix(".heads"), aside.with_suffix(".heads")),
        *((target.with_name(target.name + end), aside.with_name(aside.name + end)) for end in ("-wal", "-shm", "")),
    ):
        if one.exists():
            one.replace(other)
    return aside if existed else None


def _path(path_or_url: Path | str) -> Path:
    if isinstance(path_or_url, Path):
        return path_or_url
    scheme, separator, rest = path_or_url.partition("://")
    if not separator:
        return Path(path_or_url)
    if scheme != "sqlite" or not rest.startswith("/"):
        raise UserError(
            f"a ledger at {scheme}:// is not supported",
            code="ledger_url",
            hint="write a file, or sqlite:///relative/file, or sqlite:////absolute/file",
        )
    return Path(rest[1:])


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PermanentError(
            f"cannot make the folder {folder}: {error.strerror}", code="ledger_unreadable", hint="check who owns it"
        ) from error


def _check_readable(path: Path) -> None:
    try:
        # Asked, not opened: closing any descriptor of the file would let go of every lock that SQLite holds on it in
        # this process (POSIX), and another process could then take the write-ahead log away from under a writer.
        if path.exists() and not os.access(path, os.R_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    except OSError as error:
        raise PermanentError(
            f"cannot read the ledger {path}: {error.strerror}", code="ledger_unreadable", hint="check who owns it"
        ) from error


def _revision(path: Path) -> str | None:
    """Schema revision of a file; ``None`` when there is nothing in it.

    Raises:
        PermanentError: When it is a database of something else, damaged, or newer than this code.
    """
    if not path.exists() or path.stat().st_size == 0:
        return None
    with errors(path):
        connection = open_file(path)
        try:
            names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not names:
                return None
            if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
                raise PermanentError(
                    f"{path} is a database, but not a Fairway ledger",
                    code="not_a_ledger",
                    hint="name another file, or move this one away",
                )
            found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        finally:
            connection.close()
    return _known_revision(path, None if found is None else found[0])


def _known_revision(path: Path, revision: str | None) -> str:
    if revision not in REVISIONS:
        raise PermanentError(
            f"the ledger {path} was written by a newer Fairway (schema {revision}, this one knows {REVISIONS[-1]})",
            code="ledger_newer",
            hint="upgrade Fairway on this machine: pip install --upgrade fairway",
        )
    assert revision is not None
    return revision


def _not_current(path: Path, revision: str | None) -> UserError:
    if revision is None:
        return NotFoundError(f"there is no ledger at {path}", code="ledger_not_found", hint="fairway run makes one")
    return UserError(
        f"the ledger {path} has the older schema {revision}",
        code="ledger_older",
        hint="any command that writes to it brings it up to date, after a backup",
    )


def _refuse_lost(path: Path) -> None:
    """Do nothing when the ledger is there, or never was.

    Raises:
        PermanentError: When it is gone or empty (``code="ledger_missing"``): a new one in its place would forget what
            is stable and what was blocked.
    """
    # What it left is looked at first: a ledger that another process makes meanwhile is there before its heads are.
    left = [one for one in (path.with_suffix(".heads"), path.parent / "gateway" / "table.json") if one.exists()]
    if left and _revision(path) is None:
        names = " and ".join(str(one.relative_to(path.parent)) for one in left)
        raise PermanentError(
            f"the ledger {path} is gone, but there was one: {names} beside it came of it",
            code="ledger_missing",
            hint=f"restore a backup: fairway audit restore <file>; to begin anew on purpose, move {names} away",
        )


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time makes, migrates or restores a ledger; the lock ends with the process."""
    try:
        lock = path.with_name(path.name + ".lock").open("a")
    except OSError as error:
        raise PermanentError(
            f"a ledger cannot be made or brought up to date at {path}: {error.strerror}",
            code="ledger_read_only",
            hint="its file system or its folder is read-only: copy it to a folder you can write",
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _bring_up_to_date(path: Path, revision: str | None) -> None:
    if revision == REVISIONS[-1]:
        return
    if revision is None:
        _create(path)
        return
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    try:
        copy_database(path, path.with_name(f"{path.name}.schema-{revision}-{stamp}.bak"))
    except ConflictError:
        pass  # the copy of an attempt in this very second is as good
    upgrade(path)


def _create(path: Path) -> None:
    connection = connect(path)
    with errors(path):
        try:
            connection.execute("BEGIN IMMEDIATE")
            for statement in (*TABLES, *TRIGGERS):
                connection.execute(statement)
            connection.execute("INSERT INTO alembic_version (version_num) VALUES (?)", (REVISIONS[-1],))
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute("COMMIT")
        finally:
            connection.close()


def _settle(path: Path) -> bool:
    """Bring the write-ahead log into the file, so that it can be moved alone; false when the file is damaged.

    Raises:
        ConflictError: While somebody has the ledger open (``code="ledger_open"``).
    """
    try:
        with errors(path):
            connection = sqlite3.connect(path, timeout=0.5, isolation_level=None)
            try:
                connection.execute("PRAGMA journal_mode=DELETE")
            finally:
                connection.close()
    except TransientError as error:
        raise _in_use(path) from error
    except PermanentError as error:
        if _is_locked(path):
            raise _in_use(path) from error
        return False
    return True


def _is_locked(path: Path) -> bool:
    """Whether another process has a database open that SQLite cannot read any more: it holds SQLite's shared lock."""
    try:
        with path.open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, _SHARED_LENGTH, _SHARED_FIRST)
    except BlockingIOError:
        return True
    except OSError:
        return False  # not a file, or not ours to open: nothing a lock could tell
    return False


def _in_use(path: Path) -> ConflictError:
    return ConflictError(
        f"{path} is in use", code="ledger_open", hint="stop what uses it (fairway up) and restore again"
    )
