"""Law 12: every record up to the last signed head is as it was written, or verify says which is not."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairway.canonical import canonical_json, sha256_digest
from fairway.errors import FairwayError
from fairway.ledger import SqlLedger, open_ledger
from fairway.ledger.heads import read_heads
from fairway.ledger.records import AuditReport, DeploymentRecord, DeploymentStatus, SignedHead
from fairway.ledger.session import GENESIS, link
from fairway.ledger.sql_ledger import SIGN_EVERY
from fairway.release.required import Required, lacking
from fairway.release.trust import local_key
from fairway.release.values import Component, Evidence, Manifest, SignedRelease
from fairway.rollout.port import JournalEntry
from fairway.rollout.requests import Answer, AnswerKind, Request, Verb
from fairway.traffic.fence import Fence
from fairway.units import AgentName, Digest, EnvironmentName, RouteId, Verdict

ROUTE = RouteId(agent=AgentName("shop"), environment=EnvironmentName("production"))
NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
WHOLE = Digest("sha256:" + "a" * 64)

MANIFEST = Manifest(
    agent=AgentName("shop"), release_version="1.2.0", tag="v1.2.0", commit_sha="c" * 40,
    components=dict.fromkeys(Component, WHOLE), release_digest=WHOLE, effective={}, tree=WHOLE, prompts={}, tools=(),
    models={}, created_at=NOW, publisher="ada",
)  # fmt: skip


def event(seq: int, **changes: Any) -> JournalEntry:
    entry = JournalEntry(
        route=ROUTE, fence=Fence(term=1, seq=seq), at=NOW, kind="advance", code="ok", reason="why", actor="controller",
        state={"step": seq}, decision={"n": seq}, snapshot=canonical_json({"seq": seq}),
    )  # fmt: skip
    return replace(entry, **changes)


def fill(ledger: SqlLedger) -> None:
    """One record of every kind, and some twice."""
    lease = ledger.acquire_lease(ROUTE, "one", seconds=60)
    assert lease is not None
    for name in ("r1", "r2"):
        ledger.submit(Request(id=name, route=ROUTE, verb=Verb.PAUSE, actor="ada", at=NOW))
    ledger.journal(event(1, answers=(Answer(request_id="r1", kind=AnswerKind.APPLIED, seq=1),)), lease)
    ledger.add_release(SignedRelease(manifest=MANIFEST, envelope="{}"))
    ledger.add_evidence([Evidence(kind="t", release=WHOLE, verdict=Verdict.PASS, produced_by="x", at=NOW)])
    running = DeploymentRecord(
        id="d", agent=AgentName("shop"), environment=EnvironmentName("staging"), namespace="staging", release=WHOLE,
        image_tag="1.2.0", status=DeploymentStatus.RUNNING, operator="ada", started_at=NOW,
    )  # fmt: skip
    ledger.record_deployment(running)
    ledger.record_deployment(replace(running, status=DeploymentStatus.FAILED))
    ledger.record_run("run", {"status": "passed"})
    ledger.append_audit("login", "console", "ada", {"from": "here"}, NOW)
    ledger.journal(event(2), lease)


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    with open_ledger(folder / "ledger.db") as ledger:
        fill(ledger)
    return folder


@pytest.fixture
def folder(golden: Path, tmp_path: Path) -> Path:
    return copy(golden, tmp_path / "copy")


def copy(golden: Path, target: Path) -> Path:
    shutil.copytree(golden, target)
    return target


def verify(folder: Path, **options: Any) -> AuditReport:
    with open_ledger(folder / "ledger.db") as ledger:
        return ledger.verify_audit(**options)


def tamper(folder: Path, *statements: str) -> None:
    """What somebody with the file and no key can do."""
    connection = sqlite3.connect(folder / "ledger.db")
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_a_ledger_that_was_left_alone_is_proved_to_its_last_row(folder: Path) -> None:
    report = verify(folder)
    assert report.ok
    assert (report.rows, report.proved_to, report.unsigned, report.erased) == (11, 11, 0, 0)


def test_every_write_is_a_row_of_the_chain(folder: Path) -> None:
    with open_ledger(folder / "ledger.db") as ledger:
        kinds = [entry.row.kind for entry in ledger.audit_log()]
        written = ["lease", "request", "request", "event", "release", "evidence", "deployment", "deployment"]
        assert kinds == [*written, "run", "login", "event"]
        first = ledger.audit_log(limit=1)[0]
        assert first.row.prev_hash == GENESIS
        assert first.payload == {"route": "shop/production", "holder": "one", "term": 1}
        assert [entry.row.seq for entry in ledger.audit_log(after=3, limit=2)] == [4, 5]


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("UPDATE audit SET actor = 'eve' WHERE seq = 3", "altered"),
        ("UPDATE audit SET at = '2026-01-01T00:00:00.000000Z' WHERE seq = 3", "altered"),
        ("UPDATE audit SET hash = prev_hash WHERE seq = 3", "altered"),
        ("DELETE FROM audit WHERE seq = 3", "removed"),
        ("DELETE FROM audit WHERE seq = 1", "removed"),
        ("DELETE FROM audit WHERE seq = (SELECT max(seq) FROM audit)", "truncated"),
        ("DELETE FROM audit", "truncated"),
        ("DELETE FROM payloads WHERE digest = (SELECT payload_digest FROM audit WHERE seq = 3)", "payload_missing"),
        ("DELETE FROM payloads WHERE digest = (SELECT snapshot FROM events WHERE seq = 1)", "payload_altered"),
        ("UPDATE payloads SET body = replace(body, 'ada', 'eve')", "payload_altered"),
        ("UPDATE events SET seq = 7 WHERE seq = 2", "record_altered"),
        ("UPDATE events SET term = 7 WHERE seq = 2", "record_altered"),
        ("UPDATE events SET snapshot = NULL WHERE seq = 2", "record_altered"),
        ("UPDATE events SET payload = (SELECT payload FROM events WHERE seq = 1) WHERE seq = 2", "record_altered"),
        ("DELETE FROM events WHERE seq = 2", "record_missing"),
        ("UPDATE requests SET answer = 'applied', answer_seq = 9 WHERE id = 'r2'", "record_altered"),
        ("UPDATE requests SET answer = 'pending', answer_seq = NULL WHERE id = 'r1'", "record_altered"),
        ("UPDATE requests SET environment = 'staging' WHERE id = 'r1'", "record_altered"),
        ("DELETE FROM requests WHERE id = 'r2'", "record_missing"),
        ("UPDATE releases SET digest = 'sha256:b'", "record_altered"),
        ("DELETE FROM releases", "record_missing"),
        ("UPDATE evidence SET release = 'sha256:b'", "record_altered"),
        ("UPDATE deployments SET environment = 'production'", "record_altered"),
        ("UPDATE runs SET id = 'other'", "record_altered"),
        ("INSERT INTO evidence SELECT seq, 'sha256:b', 'x', payload_digest FROM audit WHERE kind = 'login'",
         "record_inserted"),
        ("UPDATE heads SET hash = (SELECT hash FROM audit WHERE seq = 1)", "bad_head"),
        ("UPDATE heads SET signature = 'zz'", "bad_head"),
    ],
)  # fmt: skip
def test_what_was_done_to_the_file_is_named(folder: Path, statement: str, kind: str) -> None:
    tamper(folder, statement)
    report = verify(folder)
    assert not report.ok
    assert kind in {problem.kind for problem in report.problems}
    assert report.proved_to < 11


def test_two_rows_that_changed_places_are_found(folder: Path) -> None:
    columns = ("at", "kind", "subject", "actor", "payload_digest", "prev_hash", "hash")
    swap = ", ".join(f"{c} = (SELECT {c} FROM old WHERE old.seq = 9 - audit.seq)" for c in columns)
    tamper(
        folder,
        "CREATE TABLE old AS SELECT * FROM audit",
        f"UPDATE audit SET {swap} WHERE seq IN (4, 5)",
        "DROP TABLE old",
    )
    assert not verify(folder).ok


def test_a_chain_rewritten_from_one_row_on_contradicts_its_signed_head(folder: Path) -> None:
    rewrite(folder, actor="eve")
    report = verify(folder)
    assert {problem.kind for problem in report.problems} == {"altered"}
    assert "rewritten" in report.problems[0].message


def test_a_rewritten_chain_without_its_head_is_found_by_the_file_beside_it(folder: Path) -> None:
    rewrite(folder, actor="eve")
    tamper(folder, "DELETE FROM heads")
    assert not verify(folder).ok


def test_without_any_head_nothing_is_proved_but_one_kept_elsewhere_still_finds_it(folder: Path) -> None:
    with open_ledger(folder / "ledger.db") as ledger:
        anchor = list(ledger_heads(ledger))[-1]
    rewrite(folder, actor="eve")
    tamper(folder, "DELETE FROM heads")
    (folder / "ledger.heads").unlink()
    report = verify(folder)
    assert (report.ok, report.proved_to, report.unsigned) == (True, 0, 11)
    assert not verify(folder, anchors=[anchor]).ok


def test_a_head_signed_by_a_stranger_proves_nothing(folder: Path) -> None:
    rewrite(folder, actor="eve")
    tamper(folder, "DELETE FROM heads")
    (folder / "ledger.heads").unlink()
    with open_ledger(folder / "ledger.db", keys=folder / "other-keys") as ledger:
        ledger.sign_head()
    report = verify(folder)
    assert {problem.kind for problem in report.problems} == {"bad_head"}
    assert report.proved_to == 0


def test_half_a_line_beside_the_ledger_spoils_no_other_but_is_refused_in_a_file_somebody_names(folder: Path) -> None:
    file = folder / "ledger.heads"
    with file.open("a") as lines:
        lines.write('{"seq": 99')
    with open_ledger(folder / "ledger.db") as ledger:
        ledger.append_audit("note", "x", "ada", {}, NOW)
    report = verify(folder)
    assert (report.ok, report.proved_to) == (True, 12)
    assert [head.seq for head in read_heads(file, torn=True)] == [11, 12]
    with pytest.raises(FairwayError) as caught:
        list(read_heads(file))
    assert caught.value.code == "malformed_head"


TABLES = {
    "audit": ("at", "kind", "subject", "actor", "payload_digest", "prev_hash", "hash"),
    "events": ("agent", "environment", "snapshot", "payload"),
    "requests": ("id", "agent", "environment", "answer", "answer_code", "answer_message", "payload"),
    "releases": ("agent", "version", "digest", "tag", "commit_sha", "payload"),
    "evidence": ("release", "kind", "payload"),
    "deployments": ("id", "agent", "environment", "payload"),
    "runs": ("id", "payload"),
    "heads": ("hash", "at", "key_id", "signature"),
    "payloads": ("digest", "body"),
}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
@given(data=st.data())
def test_no_byte_of_any_record_changes_unnoticed(data: st.DataObject, golden: Path, tmp_path: Path) -> None:
    table = data.draw(st.sampled_from(sorted(TABLES)))
    column = data.draw(st.sampled_from(TABLES[table]))
    folder = tmp_path / "byte"
    shutil.rmtree(folder, ignore_errors=True)
    copy(golden, folder)
    tamper(folder)
    connection = sqlite3.connect(folder / "ledger.db")
    rows = connection.execute(
        f"SELECT rowid, CAST({column} AS BLOB) FROM {table} WHERE length({column}) > 0"
    ).fetchall()
    if rows:
        row, value = data.draw(st.sampled_from(rows))
        changed = bytearray(value)
        changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        cast = "?" if column == "body" else "CAST(? AS TEXT)"
        connection.execute(f"UPDATE {table} SET {column} = {cast} WHERE rowid = ?", (bytes(changed), row))
        connection.commit()
    connection.close()
    assert verify(folder).ok == (not rows)


def test_an_erased_body_leaves_a_provable_chain_that_says_who_erased_it(folder: Path) -> None:
    with open_ledger(folder / "ledger.db") as ledger:
        row = next(entry.row for entry in ledger.audit_log() if entry.row.kind == "event")
        ledger.erase_payload(row.payload_digest, actor="ada", reason="asked by the person")
        assert next(e for e in ledger.audit_log() if e.row.seq == row.seq).payload is None
        assert [entry.fence.seq for entry in ledger.events(ROUTE)] == [2]
        last = ledger.audit_log()[-1]
        assert (last.row.kind, last.row.actor) == ("erase", "ada")
    report = verify(folder)
    assert report.ok
    assert report.erased == 1
    assert report.proved_to == report.rows


def test_an_erased_finding_is_unknown_and_never_lets_an_older_pass_count_again(folder: Path) -> None:
    failed = Evidence(kind="t", release=WHOLE, verdict=Verdict.FAIL, produced_by="x", at=NOW)
    with open_ledger(folder / "ledger.db") as ledger:
        ledger.add_evidence([failed])
        row = [entry.row for entry in ledger.audit_log() if entry.row.kind == "evidence"][-1]
        ledger.erase_payload(row.payload_digest, actor="ada", reason="asked by the person")
        found = ledger.list_evidence(WHOLE)
        assert [(one.kind, one.verdict) for one in found] == [("t", Verdict.PASS), ("t", Verdict.ERROR)]
        later = max(one.at for one in found)
        required = Required(kinds=("t",))
        assert lacking(required, found, release=WHOLE, effective={}, now=later) == {"t": "ERROR"}
    assert verify(folder).ok


def test_what_is_still_needed_cannot_be_erased(folder: Path) -> None:
    with open_ledger(folder / "ledger.db") as ledger:
        log = ledger.audit_log()
        needed = [e.row for e in log if e.row.kind == "release" or e.row.subject in ("r2", "shop/production#2")]
        assert len(needed) == 3
        for row in needed:
            with pytest.raises(FairwayError) as caught:
                ledger.erase_payload(row.payload_digest, actor="ada", reason="x")
            assert caught.value.code == "payload_in_use"


def test_the_chain_refuses_accidental_changes(folder: Path) -> None:
    connection = sqlite3.connect(folder / "ledger.db")
    for table in ("audit", "events", "heads"):
        for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET rowid = rowid + 100"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(statement)
    connection.close()


def test_heads_are_signed_on_the_way_so_that_a_killed_process_leaves_little_unproved(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "ledger.db")
    for n in range(SIGN_EVERY + 5):
        ledger.append_audit("note", str(n), "ada", {}, NOW)
    report = ledger.verify_audit()
    assert (report.rows, report.proved_to, report.unsigned) == (SIGN_EVERY + 5, SIGN_EVERY, 5)
    ledger._database.close()


def test_a_key_nobody_can_read_and_a_head_that_cannot_be_kept_block_no_record(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    ledger = open_ledger(tmp_path / "ledger.db", keys=keys)
    local_key(keys)
    (keys / "local.key").chmod(0o644)
    for n in range(SIGN_EVERY + 1):
        ledger.append_audit("note", str(n), "ada", {}, NOW)
    (keys / "local.key").chmod(0o600)
    ledger.heads_file.mkdir()
    for last in ("due", "closing"):
        ledger.append_audit("note", last, "ada", {}, NOW)
    with pytest.raises(FairwayError) as caught:
        ledger.close()
    assert caught.value.code == "heads_file"
    ledger.heads_file.rmdir()
    with open_ledger(tmp_path / "ledger.db", keys=keys) as again:
        assert (again.last_row(), again.verify_audit().proved_to) == (SIGN_EVERY + 3, SIGN_EVERY + 3)


def test_reading_signs_nothing(folder: Path) -> None:
    before = (folder / "ledger.heads").read_bytes()
    with open_ledger(folder / "ledger.db") as ledger:
        ledger.audit_log()
    assert (folder / "ledger.heads").read_bytes() == before


def test_the_hash_of_a_row_is_the_documented_one() -> None:
    row = link(
        seq=1, at="2026-11-20T09:00:00.000000Z", kind="login", subject="console", actor="ada",
        payload_digest="sha256:" + "0" * 64, prev_hash=GENESIS,
    )  # fmt: skip
    # printf '[1,"2026-11-20T09:00:00.000000Z","login","console","ada","sha256:000…","000…"]' | sha256sum
    assert row.hash == "a71e51a3712c46c5899b4dbd3655e5fb3bf298155cb3b885775307bbcbf1e128"


def test_a_row_inserted_behind_the_last_head_that_follows_from_nothing_is_found(folder: Path) -> None:
    connection = sqlite3.connect(folder / "ledger.db")
    body = canonical_json({})
    row = link(seq=12, at="x", kind="note", subject="s", actor="eve", payload_digest=sha256_digest(body), prev_hash="0")
    connection.execute("INSERT INTO payloads VALUES (?, ?)", (row.payload_digest, body))
    connection.execute(
        "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (row.seq, row.at, row.kind, row.subject, row.actor, row.payload_digest, row.prev_hash, row.hash),
    )
    connection.commit()
    connection.close()
    report = verify(folder)
    assert [(problem.seq, problem.kind) for problem in report.problems] == [(12, "altered")]
    assert (report.proved_to, report.unsigned) == (11, 1)


def test_a_forged_row_whose_body_is_of_another_kind_is_said_without_a_traceback(folder: Path) -> None:
    connection = sqlite3.connect(folder / "ledger.db")
    last = connection.execute("SELECT seq, hash FROM audit ORDER BY seq DESC").fetchone()
    for n, (kind, body) in enumerate([("event", b"[]"), ("release", b"{}"), ("request", b"not json"), ("run", b"1")]):
        digest = sha256_digest(body)
        row = link(
            seq=last[0] + 1 + n, at="x", kind=kind, subject="s", actor="eve", payload_digest=digest, prev_hash=last[1]
        )
        connection.execute("INSERT INTO payloads VALUES (?, ?)", (digest, body))
        connection.execute(
            "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (row.seq, row.at, row.kind, row.subject, row.actor, row.payload_digest, row.prev_hash, row.hash),
        )
        last = (last[0], row.hash)
    connection.commit()
    connection.close()
    report = verify(folder)
    assert {problem.kind for problem in report.problems} == {"unreadable", "record_missing"}
    assert report.proved_to == 11


def test_an_own_kind_of_record_cannot_be_forged(folder: Path) -> None:
    with open_ledger(folder / "ledger.db") as ledger, pytest.raises(FairwayError) as caught:
        ledger.append_audit("release", "x", "eve", {}, NOW)
    assert caught.value.code == "reserved_kind"


def rewrite(folder: Path, *, actor: str) -> None:
    """Change who made the third row and hash everything after it anew."""
    connection = sqlite3.connect(folder / "ledger.db")
    connection.row_factory = sqlite3.Row
    tamper(folder)
    previous = GENESIS
    for row in connection.execute("SELECT * FROM audit ORDER BY seq").fetchall():
        values = {**dict(row), "prev_hash": previous}
        values.pop("hash")
        if row["seq"] == 3:
            values["actor"] = actor
        new = link(**values)
        connection.execute(
            "UPDATE audit SET actor = ?, prev_hash = ?, hash = ? WHERE seq = ?",
            (new.actor, new.prev_hash, new.hash, new.seq),
        )
        previous = new.hash
    connection.commit()
    connection.close()


def ledger_heads(ledger: SqlLedger) -> Iterator[SignedHead]:
    yield from read_heads(ledger.heads_file)
