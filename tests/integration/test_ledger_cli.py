"""``fairway release`` and ``fairway audit`` on a small project of one's own."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fairway.bundle.files import scan
from fairway.cli.main import cli
from fairway.errors import FairwayError, RefusedError
from fairway.ledger import open_ledger
from fairway.ledger.comparison import first_difference
from fairway.project.load import load_project
from fairway.release.materialise import materialise, verify_release
from fairway.release.required import CHECKS, Required
from fairway.release.store import FileContentStore
from fairway.release.tree import read_tree
from fairway.release.trust import trusted_keys
from fairway.release.values import Evidence
from fairway.rollout.port import JournalEntry
from fairway.stages.packaging import package
from fairway.testing.memory_ledger import MemoryLedger
from fairway.traffic.fence import Fence
from fairway.units import Verdict

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)

FILES = {
    "fairway.yaml": "version: 1\nagent:\n  name: shop\nservice:\n  command: python app.py\n"
    "pipeline:\n  stages:\n    build_image:\n      evidence: [unit_test]\n",
    "app.py": "print('hello')\n",
    "run.sh": "#!/bin/sh\nexec python app.py\n",
    "evals/cases.yaml": "cases: []\n",
    ".gitignore": ".fairway/\n",
}


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(root: Path, **files: str) -> str:
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "change", "--allow-empty")
    return git(root, "rev-parse", "HEAD")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "shop"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    git(root, "config", "user.name", "Ada")
    git(root, "config", "user.email", "ada@example.org")
    for name, content in FILES.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(content)
    (root / "run.sh").chmod(0o755)
    (root / "link.py").symlink_to("app.py")
    commit(root)
    return root


def cut(root: Path, ledger: MemoryLedger, version: str | None = None, **changes: Any) -> Any:
    project = load_project(root)
    store = FileContentStore(project.state.blobs)
    options = {"evidence_required": Required(kinds=()), "now": NOW} | changes
    return package(project, ledger, store, version=version, **options)


def code_of(action: Any) -> str:
    with pytest.raises(FairwayError) as caught:
        action()
    return caught.value.code


def test_a_commit_becomes_a_release_that_verifies_and_is_the_committed_files(root: Path, tmp_path: Path) -> None:
    ledger = MemoryLedger()
    release = cut(root, ledger, "v1.0.0")
    project = load_project(root)
    store = FileContentStore(project.state.blobs)
    assert verify_release(release, store, trusted_keys(project.state.keys)) == release.manifest
    folder = materialise(release.manifest.tree, store, tmp_path / "arms")
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()} - {".fairway-complete"}
    assert found == {"fairway.yaml", "app.py", "run.sh", "link.py", ".gitignore"}
    assert (folder / "run.sh").stat().st_mode & 0o111
    assert release.manifest.publisher == "ada@example.org"
    assert release.manifest.authors == ("ada@example.org",)
    assert set(release.manifest.effective) == {"dev", "test", "staging", "production"}
    assert ledger.list_releases(project.name) == (release,)


def test_the_same_version_again_is_the_same_release_and_heals_the_store(root: Path) -> None:
    ledger = MemoryLedger()
    release = cut(root, ledger, "1.0.0")
    store = FileContentStore(load_project(root).state.blobs)
    lost = read_tree(store.get(release.manifest.tree))[0].digest
    store.path(lost).unlink()
    assert cut(root, ledger, "1.0.0", now=datetime.now(UTC)) == release
    assert store.has(lost)


def test_uncommitted_changes_a_taken_version_and_a_tag_elsewhere_are_refused(root: Path) -> None:
    ledger = MemoryLedger()
    cut(root, ledger, "1.0.0")
    git(root, "tag", "v2.0.0")
    (root / "app.py").write_text("print('changed')\n")
    with pytest.raises(RefusedError, match=r"uncommitted changes in app\.py"):
        cut(root, ledger, "1.1.0")
    commit(root)
    assert code_of(lambda: cut(root, ledger, "1.0.0")) == "version_taken"
    assert code_of(lambda: cut(root, ledger, "2.0.0")) == "tag_elsewhere"
    assert code_of(lambda: cut(root, ledger, "next")) == "bad_version"
    assert cut(root, ledger).manifest.release_version.startswith("2.0.1-dev.1+g")


def test_a_changed_case_changes_no_release_and_a_changed_file_does(root: Path) -> None:
    ledger = MemoryLedger()
    first = cut(root, ledger, "1.0.0").manifest.release_digest
    commit(root, evals__cases="")
    (root / "evals/cases.yaml").write_text("cases: [1]\n")
    commit(root)
    assert cut(root, ledger, "1.0.1").manifest.release_digest == first
    commit(root, **{"app.py": "print('bye')\n"})
    assert cut(root, ledger, "1.1.0").manifest.release_digest != first


def test_nothing_is_stored_or_recorded_without_its_evidence(root: Path) -> None:
    ledger = MemoryLedger()
    assert (
        code_of(lambda: cut(root, ledger, "1.0.0", evidence_required=Required(kinds=("unit_test",))))
        == "missing_evidence"
    )
    assert ledger.list_releases(load_project(root).name) == ()
    assert not load_project(root).state.blobs.exists()


def test_authors_are_those_since_what_production_serves(root: Path) -> None:
    ledger = MemoryLedger()
    project = load_project(root)
    stable = cut(root, ledger, "1.0.0")
    git(root, "config", "user.email", "eve@example.org")
    commit(root, **{"app.py": "1\n"})
    assert cut(root, ledger, "1.1.0").manifest.authors == ("eve@example.org",)
    git(root, "config", "user.email", "bob@example.org")
    commit(root, **{"app.py": "2\n"})
    assert cut(root, ledger, "1.2.0-rc1").manifest.authors == ("bob@example.org",)
    route = project.route("production")
    lease = ledger.acquire_lease(route, "c", seconds=60)
    assert lease is not None
    state = {"stable": {"release": stable.manifest.release_digest}}
    entry = JournalEntry(
        route=route, fence=Fence(term=1, seq=1), at=NOW, kind="finish", code="c", reason="r", actor="a", state=state,
        decision={},
    )  # fmt: skip
    ledger.journal(entry, lease)
    # 1.1.0 never went live: who wrote it is an author of 1.2.0 too.
    assert cut(root, ledger, "1.2.0").manifest.authors == ("bob@example.org", "eve@example.org")


def run(root: Path, *arguments: str, code: int = 0) -> Any:
    done = CliRunner().invoke(cli, [*arguments, "--project", str(root), "-o", "json"], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    assert (done.return_value or 0) == code, done.output
    return json.loads(done.stdout)


def record_evidence(root: Path, *kinds: str) -> None:
    evidence = Evidence(
        kind="unit_test", release=scan(root).digest, verdict=Verdict.PASS, produced_by="pytest", at=NOW,
        figures={"passed": 3},
    )  # fmt: skip
    with open_ledger(root / ".fairway/ledger.db") as ledger:
        ledger.add_evidence([replace(evidence, kind=kind) for kind in kinds])


def test_releases_by_hand_from_the_command_line(root: Path) -> None:
    with pytest.raises(RefusedError, match="unit_test"):
        run(root, "release", "create", "v1.0.0")
    record_evidence(root, "unit_test", "cost_gate")
    with pytest.raises(RefusedError, match="security_scan"):  # what fairway.yaml lists adds to the checks
        run(root, "release", "create", "v1.0.0")
    record_evidence(root, *CHECKS)
    made = run(root, "release", "create", "v1.0.0")
    assert made["release_version"] == "1.0.0"
    assert made["evidence"] == dict.fromkeys(sorted(CHECKS), "PASS")
    commit(root, **{"app.py": "print('bye')\n", "new.py": "1\n"})
    record_evidence(root, *CHECKS)
    run(root, "release", "create", "v1.1.0")
    rows = run(root, "release", "list")
    assert [(row["release_version"], row["prev_version"], row["status"]) for row in rows] == [
        ("1.1.0", "1.0.0", "released"),
        ("1.0.0", None, "released"),
    ]
    assert run(root, "release", "show", "v1.0.0")["commit_sha"] == made["commit_sha"]
    found = run(root, "release", "diff", "1.0.0", "1.1.0")
    code = found["components"][0]
    assert (code["component"], code["added"], code["modified"]) == ("code", ["new.py"], ["app.py"])
    assert [row["ok"] for row in run(root, "release", "verify")] == [True, True]
    assert run(root, "audit", "verify")["ok"] is True

    store = FileContentStore(root / ".fairway/store")
    with open_ledger(root / ".fairway/ledger.db") as ledger:
        release = ledger.find_release(load_project(root).name, "1.1.0")
    path = store.path(read_tree(store.get(release.manifest.tree))[1].digest)
    path.chmod(0o600)
    path.write_bytes(b"import evil\n")
    assert [row["code"] for row in run(root, "release", "verify", "1.1.0", code=1)] == ["corrupt_blob"]


def test_the_audit_from_the_command_line(root: Path, tmp_path: Path) -> None:
    record_evidence(root, "unit_test", "cost_gate")
    rows = run(root, "audit", "log")
    assert [row["kind"] for row in rows] == ["evidence", "evidence"]
    assert rows[0]["payload"]["figures"] == {"passed": 3}
    assert run(root, "audit", "log", "--after", "1")[0]["seq"] == 2
    assert [row["seq"] for row in run(root, "audit", "log", "--limit", "1")] == [2]
    assert [row["seq"] for row in run(root, "audit", "log", "--after", "0", "--limit", "1")] == [1]
    assert run(root, "audit", "log", "--kind", "deployment") == []
    assert len(run(root, "audit", "log", "--kind", "evidence")) == 2
    anchor = tmp_path / "kept.heads"
    shutil.copy(root / ".fairway/ledger.heads", anchor)
    assert run(root, "audit", "verify", "--head", str(anchor))["proved_to"] == 2
    nothing = {"events": 0, "replayed": 0, "first": None, "different": [], "boundary": []}
    replayed = run(root, "audit", "replay")
    assert (replayed["gates"]["blocks"], replayed["gates"]["different"]) == (0, [])
    assert replayed == {**nothing, "other_engine_count": 0, "other_engine": [], "gates": replayed["gates"]}
    run(root, "audit", "backup", str(tmp_path / "backup.db"))
    record_evidence(root)
    assert run(root, "audit", "restore", str(tmp_path / "backup.db"), "--yes")["replaced"] is not None
    assert [row["kind"] for row in run(root, "audit", "log")] == ["evidence", "evidence", "restore"]
    assert run(root, "audit", "verify")["ok"] is True

    connection = sqlite3.connect(root / ".fairway/ledger.db")
    connection.execute("DROP TRIGGER audit_no_delete")
    connection.execute("DELETE FROM audit WHERE seq = 2")
    connection.commit()
    connection.close()
    report = run(root, "audit", "verify", code=1)
    assert "removed" in {problem["kind"] for problem in report["problems"]}


def test_a_ledger_in_use_is_not_replaced(root: Path, tmp_path: Path) -> None:
    record_evidence(root)
    run(root, "audit", "backup", str(tmp_path / "backup.db"))
    with open_ledger(root / ".fairway/ledger.db") as ledger:
        ledger.routes()
        assert code_of(lambda: run(root, "audit", "restore", str(tmp_path / "backup.db"), "--yes")) == "ledger_open"
        ledger.record_run("still works", {})


def test_reading_a_project_without_a_ledger_makes_none(root: Path) -> None:
    assert code_of(lambda: run(root, "audit", "verify")) == "ledger_not_found"
    assert not (root / ".fairway").exists()


def test_text_for_people(root: Path) -> None:
    record_evidence(root, *CHECKS)
    for arguments in (
        ("release", "create", "1.0.0"), ("release", "list"), ("release", "show", "1.0.0"), ("release", "verify"),
        ("release", "diff", "1.0.0", "1.0.0"), ("audit", "log"), ("audit", "verify"), ("audit", "replay"),
    ):  # fmt: skip
        done = CliRunner().invoke(cli, [*arguments, "--project", str(root)], standalone_mode=False)
        assert done.exception is None
        assert done.stdout.strip()
        assert "{" not in done.stdout
    done = CliRunner().invoke(cli, ["release", "show", "1.0.0", "--envelope", "--project", str(root)])
    assert set(json.loads(done.stdout)) == {"payload", "payloadType", "signatures"}


@pytest.mark.parametrize(
    ("recorded", "replayed", "path"),
    [
        ({"a": 1}, {"a": 1.0000000000001}, None),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, "a[1].b"),
        ({"a": 1}, {}, "a"),
        ({"a": [1]}, {"a": [1, 2]}, "a.length"),
        ({"a": True}, {"a": 1}, "a"),
        ({"a": None}, {"a": 0}, "a"),
        ({"a": 1.0}, {"a": 1.001}, "a"),
    ],
)
def test_the_first_difference_of_two_decisions_is_named(recorded: Any, replayed: Any, path: str | None) -> None:
    found = first_difference(recorded, replayed)
    assert (None if found is None else found.path) == path
