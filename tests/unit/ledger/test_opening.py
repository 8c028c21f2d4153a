"""Opening, making, migrating, backing up and restoring a ledger (SPEC F6)."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from fairway.errors import FairwayError, PermanentError
from fairway.ledger import open_ledger, restore_ledger
from fairway.ledger.database import SqliteDatabase
from fairway.ledger.migration import MIGRATIONS, upgrade
from fairway.ledger.placement import filesystem_of, refuse_network_filesystem
from fairway.ledger.schema import REVISIONS
from fairway.rollout.requests import Request, Verb
from fairway.units import AgentName, EnvironmentName, RouteId

ROUTE = RouteId(agent=AgentName("shop"), environment=EnvironmentName("production"))
NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


def ask(name: str) -> Request:
    return Request(id=name, route=ROUTE, verb=Verb.PAUSE, actor="ada", at=NOW)


def failure(action: Callable[[], object]) -> FairwayError:
    with pytest.raises(FairwayError) as caught:
        action()
    return caught.value


def shape(path: Path) -> dict[str, object]:
    """Everything SQLite knows of the schema, without its spelling."""
    connection = sqlite3.connect(path)
    found: dict[str, object] = {"application": connection.execute("PRAGMA application_id").fetchone()}
    for kind, name, table in connection.execute("SELECT type, name, tbl_name FROM sqlite_master").fetchall():
        if kind == "table":
            columns = connection.execute(f"PRAGMA table_info({name})").fetchall()
            keys = connection.execute(f"PRAGMA foreign_key_list({name})").fetchall()
            indexes = [
                [column[2] for column in connection.execute(f"PRAGMA index_info({index[1]})").fetchall()]
                + list(index[2:4])
                for index in connection.execute(f"PRAGMA index_list({name})").fetchall()
            ]
            found[name] = (columns, keys, sorted(indexes, key=str))
        elif kind == "trigger":
            sql = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (name,)).fetchone()
            found[name] = (table, sql)
    connection.close()
    return found


def migrated(path: Path, revision: str) -> Path:
    sqlite3.connect(path).close()
    upgrade(path, revision)
    return path


def test_a_fresh_ledger_has_the_schema_the_migrations_make(tmp_path: Path) -> None:
    open_ledger(tmp_path / "fresh.db").close()
    assert shape(tmp_path / "fresh.db") == shape(migrated(tmp_path / "migrated.db", "head"))


def test_the_revisions_the_code_knows_are_those_of_the_migrations() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    scripts = list(ScriptDirectory.from_config(config).walk_revisions())
    assert [script.revision for script in reversed(scripts)] == list(REVISIONS)


def test_an_older_ledger_is_copied_and_brought_up_to_date_with_its_records(tmp_path: Path) -> None:
    path = migrated(tmp_path / "ledger.db", "0001")
    error = failure(lambda: open_ledger(path, migrate=False))
    assert error.code == "ledger_older"
    with open_ledger(path) as ledger:
        ledger.record_run("r", {"status": "passed"})
        assert ledger.verify_audit().ok
    copies = list(tmp_path.glob("*.bak"))
    assert len(copies) == 1
    assert "deployments" not in shape(copies[0])
    assert "deployments" in shape(path)


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = migrated(tmp_path / "ledger.db", "0001")
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE runs (mine TEXT)")
    connection.commit()
    connection.close()
    before = shape(path)
    with pytest.raises(Exception, match="runs"):
        open_ledger(path)
    assert shape(path) == before


def test_a_newer_ledger_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    open_ledger(path).close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    content = path.read_bytes()
    error = failure(lambda: open_ledger(path))
    assert error.code == "ledger_newer"
    assert "pip install --upgrade" in (error.hint or "")
    assert path.read_bytes() == content


def test_what_is_no_ledger_is_named_and_left_alone(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"this is not a database, and long enough to be looked at" * 100)
    assert failure(lambda: open_ledger(garbage)).code == "ledger_corrupt"
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE songs (title TEXT)")
    connection.commit()
    connection.close()
    assert failure(lambda: open_ledger(other)).code == "not_a_ledger"
    assert failure(lambda: open_ledger(tmp_path)).code == "ledger_unreadable"
    (tmp_path / "file").write_text("x")
    assert failure(lambda: open_ledger(tmp_path / "file" / "ledger.db")).code == "ledger_unreadable"


def test_a_damaged_page_is_said_without_a_traceback(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with open_ledger(path) as ledger:
        for n in range(50):
            ledger.submit(ask(f"r{n}"))
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(bytes(content))

    def use() -> None:
        with open_ledger(path) as ledger:
            ledger.pending(ROUTE)

    assert failure(use).code in ("ledger_corrupt", "ledger_failed")


def test_there_is_no_ledger_to_read_before_there_is_one(tmp_path: Path) -> None:
    assert failure(lambda: open_ledger(tmp_path / "ledger.db", migrate=False)).code == "ledger_not_found"
    assert not (tmp_path / "ledger.db").exists()


def test_addresses_that_are_understood(tmp_path: Path) -> None:
    open_ledger(f"sqlite:///{tmp_path}/a.db").close()
    open_ledger(str(tmp_path / "b.db")).close()
    assert (tmp_path / "a.db").exists()
    assert (tmp_path / "b.db").exists()
    assert failure(lambda: open_ledger("postgresql://host/db")).code == "ledger_url"


MOUNTS = """/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sdb1 /home/ada/local ext4 rw 0 0
me@host: /mnt/with\\040space fuse.sshfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/var/x", "ext4"), ("/home/ada/p/ledger.db", "nfs4"), ("/home/ada/local/l.db", "ext4"),
     ("/mnt/with space/l.db", "fuse.sshfs"), ("/homes/l.db", "ext4")],
)  # fmt: skip
def test_the_file_system_of_a_path_is_that_of_its_deepest_mount(path: str, kind: str) -> None:
    assert filesystem_of(Path(path), MOUNTS) == kind


def test_a_network_file_system_is_refused(tmp_path: Path) -> None:
    error = failure(lambda: refuse_network_filesystem(Path("/home/ada/p/ledger.db"), MOUNTS))
    assert error.code == "ledger_on_network"
    assert "nfs4" in error.message
    refuse_network_filesystem(Path("/var/x"), MOUNTS)
    refuse_network_filesystem(tmp_path)


def test_a_full_disk_is_said_and_nothing_is_half_written(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with open_ledger(path) as ledger:
        ledger.submit(ask("before"))
        database: SqliteDatabase = ledger._database
        with database.write() as connection:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
        database._writer.execute(f"PRAGMA max_page_count = {pages + 1}")
        error = failure(lambda: ledger.record_run("big", {"text": "x" * 100_000}))
        assert error.code == "disk_full"
        assert ledger.list_runs() == ()
        database._writer.execute("PRAGMA max_page_count = 1000000")
        ledger.record_run("big", {"text": "x" * 100_000})
        assert ledger.verify_audit().ok


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    open_ledger(path).close()
    path.chmod(0o000)
    before = os.geteuid()
    if before == 0:  # the superuser may read everything, so be somebody else for a moment
        os.seteuid(65534)
    try:
        assert failure(lambda: open_ledger(path)).code == "ledger_unreadable"
    finally:
        os.seteuid(before)


def test_a_closed_ledger_says_so(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "ledger.db")
    ledger.close()
    ledger.close()
    assert failure(lambda: ledger.routes()).code == "ledger_closed"
    assert failure(lambda: ledger.submit(ask("x"))).code == "ledger_closed"


def test_a_backup_is_a_ledger_that_proves_itself(tmp_path: Path) -> None:
    path, copy = tmp_path / "ledger.db", tmp_path / "copy.db"
    with open_ledger(path) as ledger:
        ledger.submit(ask("one"))
        ledger.backup(copy)
        ledger.submit(ask("two"))
        assert failure(lambda: ledger.backup(copy)).code == "backup_exists"
    with open_ledger(copy, migrate=False) as found:
        assert [request.id for request in found.pending(ROUTE)] == ["one"]
        assert found.verify_audit().ok
    assert sorted(p.name for p in tmp_path.glob("*.db")) == ["copy.db", "ledger.db"]


def test_a_restored_ledger_says_that_it_was_and_the_old_one_is_kept(tmp_path: Path) -> None:
    path, copy = tmp_path / "ledger.db", tmp_path / "copy.db"
    with open_ledger(path) as ledger:
        ledger.submit(ask("one"))
        ledger.backup(copy)
        ledger.submit(ask("lost"))
    aside = restore_ledger(copy, path, actor="ada")
    assert aside is not None
    with open_ledger(path) as found:
        assert [request.id for request in found.pending(ROUTE)] == ["one"]
        assert found.audit_log()[-1].row.kind == "restore"
        assert found.verify_audit().ok
    with open_ledger(aside, migrate=False) as old:
        assert [request.id for request in old.pending(ROUTE)] == ["one", "lost"]
        assert old.heads_file.exists()
        assert old.verify_audit().proved_to == 2
    assert failure(lambda: restore_ledger(tmp_path / "nothing", path, actor="ada")).code == "backup_not_found"


@pytest.mark.parametrize("harm", ["overwritten", "half of it gone", "emptied", "another database", "a folder"])
def test_a_backup_takes_the_place_of_a_damaged_ledger_which_is_kept(tmp_path: Path, harm: str) -> None:
    path, copy = tmp_path / "ledger.db", tmp_path / "copy.db"
    with open_ledger(path) as ledger:
        ledger.submit(ask("one"))
        ledger.backup(copy)
        ledger.submit(ask("lost"))
    log = tmp_path / "ledger.db-wal"
    if harm == "another database":
        path.unlink()
        sqlite3.connect(path).execute("CREATE TABLE other (x)").connection.close()
    elif harm == "a folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes({"overwritten": b"x" * 9000, "emptied": b""}.get(harm, path.read_bytes()[:6000]))
        log.write_bytes(b"what was left of the log")
    aside = restore_ledger(copy, path, actor="ada")
    assert aside is not None
    assert aside.exists()
    assert aside.with_suffix(".heads").exists()
    with open_ledger(path) as found:
        assert [request.id for request in found.pending(ROUTE)] == ["one"]
        assert found.audit_log()[-1].row.kind == "restore"
        assert found.verify_audit().ok
    if harm == "overwritten":
        assert aside.read_bytes() == b"x" * 9000
        assert aside.with_name(aside.name + "-wal").read_bytes() == b"what was left of the log"


def test_signed_heads_of_a_ledger_that_is_gone_do_not_speak_against_the_restored_one(tmp_path: Path) -> None:
    path, copy = tmp_path / "ledger.db", tmp_path / "copy.db"
    with open_ledger(path) as ledger:
        ledger.submit(ask("one"))
        ledger.backup(copy)
        ledger.submit(ask("lost"))
    heads = path.with_suffix(".heads").read_bytes()
    path.rename(tmp_path / "bad.db")
    assert restore_ledger(copy, path, actor="ada") is None
    with open_ledger(path) as found:
        assert found.verify_audit().ok
    assert [file.read_bytes() for file in tmp_path.glob("ledger.before-restore-*.heads")] == [heads]


def test_a_damaged_backup_or_a_damaged_ledger_in_use_leaves_everything_as_it_was(tmp_path: Path) -> None:
    path, copy, bad = tmp_path / "ledger.db", tmp_path / "copy.db", tmp_path / "bad.db"
    with open_ledger(path) as ledger:
        ledger.submit(ask("one"))
        ledger.backup(copy)
    bad.write_bytes(b"x" * 9000)
    before = {file.name for file in tmp_path.iterdir()}
    assert failure(lambda: restore_ledger(bad, path, actor="ada")).code == "ledger_corrupt"
    hold = (
        "import sys, pathlib\nfrom fairway.ledger import open_ledger\n"
        "ledger = open_ledger(pathlib.Path(sys.argv[1]))\nledger.routes()\nprint('open', flush=True)\ninput()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        whole = path.read_bytes()
        path.write_bytes(b"x" * len(whole))
        assert failure(lambda: restore_ledger(copy, path, actor="ada")).code == "ledger_open"
        path.write_bytes(whole)
        holder.kill()
    assert before <= {file.name for file in tmp_path.iterdir()}
    assert not list(tmp_path.glob("*before-restore*"))
    assert not list(tmp_path.glob(".*"))


def test_a_backup_that_cannot_be_copied_leaves_the_ledger_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, copy = tmp_path / "ledger.db", tmp_path / "copy.db"
    with open_ledger(path) as ledger:
        ledger.submit(ask("one"))
        ledger.backup(copy)

    def full(*_: Path) -> None:
        raise PermanentError("the disk is full", code="disk_full")

    monkeypatch.setattr("fairway.ledger.opening.copy_database", full)
    assert failure(lambda: restore_ledger(copy, path, actor="ada")).code == "disk_full"
    with open_ledger(path, migrate=False) as found:
        assert [request.id for request in found.pending(ROUTE)] == ["one"]
        assert found.heads_file.exists()


@pytest.mark.parametrize("emptied", [False, True])
@pytest.mark.parametrize("left", ["ledger.heads", "gateway/table.json"])
def test_a_ledger_that_is_gone_is_not_silently_begun_anew(tmp_path: Path, left: str, emptied: bool) -> None:
    path, trace = tmp_path / "ledger.db", tmp_path / left
    with open_ledger(path) as ledger:
        ledger.submit(ask("one"))
    heads = tmp_path / "ledger.heads"
    if heads != trace:
        heads.unlink()
        trace.parent.mkdir()
        trace.write_text("{}")
    path.unlink()
    if emptied:
        path.touch()
    for migrate in (True, False):
        error = failure(lambda migrate=migrate: open_ledger(path, migrate=migrate))
        assert error.code == "ledger_missing"
        assert "fairway audit restore" in (error.hint or "")
        assert left in (error.hint or "")
    assert path.exists() is emptied
    trace.rename(tmp_path / "kept")
    with open_ledger(path) as anew:
        assert anew.verify_audit().rows == 0


def test_reading_an_open_ledger_needs_no_sqlalchemy_and_little_time(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with open_ledger(path) as ledger:
        ledger.submit(ask("one"))
    script = (
        "import time, sys; began = time.process_time()\n"
        "from fairway.ledger import open_ledger\n"
        "from fairway.units import RouteId\n"
        "ledger = open_ledger(sys.argv[1])\n"
        "ledger.pending(RouteId(agent='shop', environment='production'))\n"
        "ledger.close()\n"
        "assert not {'sqlalchemy', 'alembic', 'pydantic'} & set(sys.modules), 'too much imported'\n"
        "print(time.process_time() - began)\n"
    )
    taken = min(
        float(
            subprocess.run([sys.executable, "-c", script, str(path)], check=True, capture_output=True, text=True).stdout
        )
        for _ in range(3)
    )
    # The promise is 150 ms with compiled modules, as installed; where nothing may be cached, compiling comes on top.
    assert taken < (0.4 if sys.dont_write_bytecode else 0.15)


def test_opening_it_again_in_one_process_takes_no_lock_from_the_first(tmp_path: Path) -> None:
    """A process that closes last tidies the write-ahead log away; it must see that somebody still writes."""
    path = tmp_path / "ledger.db"
    with open_ledger(path) as first:
        with open_ledger(path):
            pass
        program = f"import pathlib, fairway.ledger as l; l.open_ledger(pathlib.Path({str(path)!r})).close()"
        subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
        assert path.with_name("ledger.db-wal").exists(), "another process thought that it was alone"
        first.append_audit("note", "x", "ada", {}, datetime.now(UTC))
        assert first.verify_audit().ok
