"""Law 1: the same content gives the same digest everywhere; one changed byte gives another."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.bundle.components import Component, component_of, release_digest
from fairway.bundle.files import BundleFile, scan, tree_digest
from fairway.bundle.overlay import Overlay, PinnedPrompt, ResolvedModel, ResolvedTool, effective_digest
from fairway.bundle.tools import Risk
from fairway.errors import ConflictError, NotFoundError, UserError
from fairway.units import Digest, EnvironmentName

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "digests.json").read_text())
FILES = {path: spec["content"] for path, spec in VECTORS["files"].items()}
MODES = {path: spec["mode"] for path, spec in VECTORS["files"].items()}

Repository = Callable[..., Path]
Git = Callable[..., str]


def expected(components: dict[Component, Digest]) -> dict[str, str]:
    return {component.value: digest for component, digest in components.items()}


def commit_vectors(root: Path, git: Git, *, order: list[str]) -> None:
    for path in order:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if MODES[path] == "120000":
            target.symlink_to(FILES[path])
        else:
            target.write_text(FILES[path])
            target.chmod(0o755 if MODES[path] == "100755" else 0o644)
        git(root, "add", path)


def test_the_golden_vectors_hold(make_repository: Repository, git: Git) -> None:
    root = make_repository({}, commit=False)
    commit_vectors(root, git, order=sorted(FILES))
    git(root, "commit", "-q", "-m", "one")
    bundle = scan(root)
    assert expected(dict(bundle.components)) == VECTORS["components"]
    assert bundle.digest == VECTORS["release"]
    assert bundle.instrument == VECTORS["instrument"]


def test_the_vectors_follow_from_the_contract_by_hand() -> None:
    """The contract once more, with hashlib and json alone: sorted [path, mode, sha256] as canonical JSON."""

    def sha(content: bytes) -> str:
        return "sha256:" + hashlib.sha256(content).hexdigest()

    def canonical(value: object) -> bytes:
        return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()

    digests = {}
    for component in (*Component, None):
        rows = sorted([p, MODES[p], sha(FILES[p].encode())] for p in FILES if component_of(p) is component)
        digests[component.value if component else "instrument"] = sha(canonical(rows))
    assert digests.pop("instrument") == VECTORS["instrument"]
    assert digests == VECTORS["components"]
    assert sha(canonical(digests)) == VECTORS["release"]


def test_order_umask_times_and_ancestry_do_not_matter(make_repository: Repository, git: Git) -> None:
    one = make_repository({}, name="one", commit=False)
    commit_vectors(one, git, order=sorted(FILES))
    git(one, "commit", "-q", "-m", "all at once")

    old_umask = os.umask(0o077)
    try:
        other = make_repository({}, name="other", commit=False)
        for number, path in enumerate(sorted(FILES, reverse=True)):
            commit_vectors(other, git, order=[path])
            git(other, "commit", "-q", "-m", f"one by one {number}")
    finally:
        os.umask(old_umask)
    for path in FILES:
        os.utime(other / path, (1, 1), follow_symlinks=False)

    a, b = scan(one), scan(other)
    assert a.digest == b.digest == VECTORS["release"]
    assert a.components == b.components
    assert a.instrument == b.instrument
    assert a.commit_sha != b.commit_sha


def test_a_clone_with_crlf_line_ends_has_the_same_digest(make_repository: Repository, git: Git, tmp_path: Path) -> None:
    root = make_repository({"fairway.yaml": "version: 1\nagent: {}\n", "app.py": "a\nb\n"})
    git(tmp_path, "-c", "core.autocrlf=true", "clone", "-q", str(root), "clone")
    git(tmp_path / "clone", "config", "core.autocrlf", "true")
    assert b"\r\n" in (tmp_path / "clone" / "app.py").read_bytes()
    assert scan(tmp_path / "clone").digest == scan(root).digest


@pytest.mark.parametrize("path", sorted(FILES))
def test_one_changed_byte_changes_its_component_and_no_other(make_repository: Repository, git: Git, path: str) -> None:
    root = make_repository({}, commit=False)
    commit_vectors(root, git, order=sorted(FILES))
    git(root, "commit", "-q", "-m", "one")
    target = root / path
    if MODES[path] == "120000":
        target.unlink()
        target.symlink_to(FILES[path] + "x")
    else:
        target.write_text(FILES[path] + "x")
    git(root, "commit", "-q", "-am", "changed")
    bundle = scan(root)
    changed = {c.value for c, digest in bundle.components.items() if digest != VECTORS["components"][c.value]}
    component = component_of(path)
    assert changed == (set() if component is None else {component.value})
    assert (bundle.digest != VECTORS["release"]) == (component is not None)
    assert (bundle.instrument != VECTORS["instrument"]) == (component is None)
    assert not bundle.digest.startswith("dev:")


def test_the_executable_bit_changes_the_digest(make_repository: Repository, git: Git) -> None:
    root = make_repository({"run.sh": "echo\n"})
    before = scan(root).digest
    (root / "run.sh").chmod(0o755)
    git(root, "commit", "-q", "-am", "executable")
    assert scan(root).digest != before


def test_other_bits_of_the_mode_do_not(make_repository: Repository) -> None:
    root = make_repository({"app.py": "x\n"})
    before = scan(root).digest
    (root / "app.py").chmod(0o600)
    assert scan(root).digest == before


def test_the_two_unicode_forms_of_a_name_are_one_path(make_repository: Repository) -> None:
    composed, decomposed = "caf\u00e9.py", "cafe\u0301.py"
    one = scan(make_repository({composed: "x"}, name="one"))
    other = scan(make_repository({decomposed: "x"}, name="other"))
    assert one.digest == other.digest
    assert other.read(composed) == b"x"


def test_two_names_that_are_the_same_text_are_refused(make_repository: Repository) -> None:
    root = make_repository({"caf\u00e9.py": "x", "cafe\u0301.py": "y"})
    with pytest.raises(UserError, match="different Unicode forms"):
        scan(root)


def test_a_name_that_is_not_utf8_is_refused(make_repository: Repository, git: Git) -> None:
    root = make_repository({"a.py": "x"})
    with open(os.fsencode(root) + b"/\xff.py", "wb") as file:
        file.write(b"x")
    git(root, "add", "-A")
    with pytest.raises(UserError, match=r"\\xff\.py is not UTF-8"):
        scan(root)


@given(
    st.lists(
        st.tuples(st.text(min_size=1, max_size=8), st.sampled_from(["100644", "100755"]), st.binary(max_size=4)),
        unique_by=lambda row: row[0],
        max_size=8,
    ),
    st.randoms(use_true_random=False),
)
def test_a_digest_does_not_depend_on_the_order_of_files(rows: list[tuple[str, str, bytes]], random: object) -> None:
    files = [
        BundleFile(path=p, mode=m, digest=Digest("sha256:" + hashlib.sha256(c).hexdigest()), component=Component.CODE)
        for p, m, c in rows
        if not any(0xD800 <= ord(char) <= 0xDFFF for char in p)
    ]
    shuffled = list(files)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert tree_digest(files) == tree_digest(shuffled)


# -- dirty trees ------------------------------------------------------------------------------------------------------


def test_a_changed_file_marks_its_component_and_the_whole_dev(make_repository: Repository) -> None:
    root = make_repository({"app.py": "x\n", "models.yaml": "version: 1\n"})
    clean = scan(root)
    (root / "models.yaml").write_text("version: 1\nroles: {}\n")
    dirty = scan(root)
    assert dirty.dirty
    assert dirty.changes == ("models.yaml",)
    assert dirty.digest.startswith("dev:")
    assert dirty.components[Component.MODELS].startswith("dev:")
    assert dirty.components[Component.CODE] == clean.components[Component.CODE]
    assert dirty.read("models.yaml") == b"version: 1\nroles: {}\n"


def test_the_dev_digest_covers_what_stands_in_the_work_tree(make_repository: Repository, git: Git) -> None:
    root = make_repository({"app.py": "x\n"})
    (root / "app.py").write_text("y\n")
    dirty = scan(root).digest
    git(root, "commit", "-q", "-am", "second")
    assert dirty == "dev:" + scan(root).digest


@pytest.mark.parametrize("change", ["untracked", "staged", "deleted", "staged and deleted"])
def test_whatever_differs_from_the_commit_is_dirty(make_repository: Repository, git: Git, change: str) -> None:
    root = make_repository({"app.py": "x\n", "other.py": "z\n"})
    clean = scan(root)
    match change:
        case "untracked":
            (root / "new.py").write_text("n\n")
        case "staged":
            (root / "new.py").write_text("n\n")
            git(root, "add", "new.py")
        case "deleted":
            (root / "app.py").unlink()
        case _:
            git(root, "rm", "-q", "app.py")
    dirty = scan(root)
    assert dirty.digest.startswith("dev:")
    assert dirty.digest != "dev:" + clean.digest
    assert dirty.commit_sha == clean.commit_sha


def test_leftovers_of_tools_and_the_state_folder_are_no_change(make_repository: Repository) -> None:
    root = make_repository({"app.py": "x\n"})
    clean = scan(root)
    for path in (".fairway/ledger.db", "__pycache__/app.cpython-311.pyc", ".venv/lib/x.py", ".pytest_cache/v"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("x")
    assert scan(root).digest == clean.digest
    assert not scan(root).dirty


def test_ignored_files_are_no_change(make_repository: Repository) -> None:
    root = make_repository({".gitignore": "*.log\n", "app.py": "x\n"})
    (root / "debug.log").write_text("x")
    assert not scan(root).dirty


def test_without_git_the_files_have_a_dev_digest(tmp_path: Path) -> None:
    (tmp_path / "fairway.yaml").write_text("version: 1\n")
    (tmp_path / "evals").mkdir()
    (tmp_path / "evals" / "a.yaml").write_text("x")
    bundle = scan(tmp_path)
    assert bundle.dirty
    assert bundle.commit_sha is None
    assert bundle.digest.startswith("dev:sha256:")
    assert [file.path for file in bundle.files] == ["evals/a.yaml", "fairway.yaml"]


def test_before_the_first_commit_the_digest_is_dev(make_repository: Repository) -> None:
    bundle = scan(make_repository({"app.py": "x"}, commit=False))
    assert bundle.commit_sha is None
    assert bundle.digest.startswith("dev:")


def test_a_project_its_repository_ignores_is_read_as_files(
    make_repository: Repository, write_files: Callable[..., None]
) -> None:
    root = make_repository({".gitignore": "build/\n"})
    write_files(root / "build" / "agent", {"fairway.yaml": "version: 1\n"})
    bundle = scan(root / "build" / "agent")
    assert [file.path for file in bundle.files] == ["fairway.yaml"]
    assert bundle.digest.startswith("dev:")


# -- where the content comes from -------------------------------------------------------------------------------------


def test_a_project_in_a_subfolder_is_only_its_subtree(make_repository: Repository) -> None:
    files = {"fairway.yaml": "version: 1\n", "prompts/a/1.0.0.yaml": "x", "app.py": "y"}
    alone = make_repository(files, name="alone")
    nested = make_repository({"README": "r", **{f"agents/support/{p}": c for p, c in files.items()}}, name="nested")
    (nested / "README").write_text("changed outside of the project")
    bundle = scan(nested / "agents" / "support")
    assert bundle.digest == scan(alone).digest
    assert not bundle.dirty
    (nested / "agents" / "support" / "app.py").write_text("z")
    assert scan(nested / "agents" / "support").changes == ("app.py",)


def test_a_revision_is_read_whatever_the_work_tree_holds(make_repository: Repository, git: Git) -> None:
    root = make_repository({"app.py": "x\n"})
    first = scan(root)
    git(root, "tag", "v1.0.0")
    (root / "app.py").write_text("y\n")
    git(root, "commit", "-q", "-am", "second")
    (root / "app.py").write_text("dirty\n")
    tagged = scan(root, rev="v1.0.0")
    assert tagged.digest == first.digest
    assert tagged.commit_sha == first.commit_sha
    assert tagged.read("app.py") == b"x\n"


@pytest.mark.parametrize("rev", ["v9", "--all", "HEAD~7", ""])
def test_an_unknown_revision_is_named(make_repository: Repository, rev: str) -> None:
    root = make_repository({"app.py": "x\n"})
    with pytest.raises(NotFoundError, match="there is no revision"):
        scan(root, rev=rev)


def test_git_variables_of_a_hook_do_not_lead_astray(
    make_repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_repository({"app.py": "x\n"}, name="one")
    other = make_repository({"other.py": "y\n"}, name="other")
    clean = scan(root)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    assert scan(root) == clean


def test_an_unfinished_merge_is_refused(make_repository: Repository, git: Git) -> None:
    root = make_repository({"app.py": "x\n"})
    git(root, "checkout", "-q", "-b", "side")
    (root / "app.py").write_text("side\n")
    git(root, "commit", "-q", "-am", "side")
    git(root, "checkout", "-q", "main")
    (root / "app.py").write_text("main\n")
    git(root, "commit", "-q", "-am", "main")
    with pytest.raises(Exception, match="exit status"):
        git(root, "merge", "side")
    with pytest.raises(ConflictError, match=r"app\.py has an unresolved merge conflict"):
        scan(root)


def test_symlinks_are_their_target_and_submodules_their_commit(make_repository: Repository, git: Git) -> None:
    inner = make_repository({"lib.py": "x"}, name="inner")
    root = make_repository({"app.py": "x\n"}, name="outer", commit=False)
    (root / "link").symlink_to("app.py")
    git(root, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "vendor")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "x")
    bundle = scan(root)
    modes = {file.path: file.mode for file in bundle.files}
    assert modes["link"] == "120000"
    assert modes["vendor"] == "160000"
    assert bundle.read("link") == b"app.py"
    with pytest.raises(UserError, match="submodule"):
        bundle.read("vendor")


def test_contents_are_those_of_the_scan_or_a_conflict(make_repository: Repository) -> None:
    root = make_repository({"app.py": "x\n"})
    (root / "app.py").write_text("y\n")
    bundle = scan(root)
    (root / "app.py").write_text("z\n")
    with pytest.raises(ConflictError, match=r"app\.py changed while it was read"):
        bundle.read("app.py")


def test_contents_of_every_file_come_back_whole(make_repository: Repository) -> None:
    files = {f"data/{number}.bin": bytes([number]) * (number * 1000) for number in range(40)}
    bundle = scan(make_repository(files))
    assert {file.path: content for file, content in bundle.contents()} == files


# -- the cache --------------------------------------------------------------------------------------------------------


def test_a_second_scan_reads_no_blob_and_agrees(make_repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_repository({"app.py": "x\n", "b.py": "y\n"})
    (root / ".fairway").mkdir()
    first = scan(root)
    monkeypatch.setattr("fairway.bundle.git.hash_blobs", lambda root, oids: pytest.fail("read a known blob"))
    assert scan(root) == first


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"blobs": {}, "checksum": 3}', b"\xff"])
def test_a_damaged_cache_is_ignored(make_repository: Repository, damage: bytes) -> None:
    root = make_repository({"app.py": "x\n"})
    (root / ".fairway").mkdir()
    first = scan(root)
    (root / ".fairway" / "cache" / "blobs.json").write_bytes(damage)
    assert scan(root) == first


def test_an_altered_entry_of_the_cache_is_ignored(make_repository: Repository) -> None:
    root = make_repository({"app.py": "x\n"})
    (root / ".fairway").mkdir()
    first = scan(root)
    cache = root / ".fairway" / "cache" / "blobs.json"
    digest = first.files[0].digest
    cache.write_text(cache.read_text().replace(digest, "sha256:" + "0" * 64))
    assert scan(root) == first


def test_scanning_leaves_no_state_folder_behind(make_repository: Repository) -> None:
    root = make_repository({"app.py": "x\n"})
    scan(root)
    assert not (root / ".fairway").exists()


def test_a_scan_of_fifty_files_is_quick(make_repository: Repository) -> None:
    root = make_repository({f"src/{number}.py": f"{number}\n" * 50 for number in range(50)})
    (root / ".fairway").mkdir()
    scan(root)
    times = []
    for _ in range(5):
        started = time.perf_counter()
        scan(root)
        times.append(time.perf_counter() - started)
    assert min(times) < 0.25, times  # about 0.02 s on a quiet machine


# -- releases and effective digests -----------------------------------------------------------------------------------


def test_a_release_needs_all_five_components() -> None:
    with pytest.raises(ValueError, match="missing: prompts"):
        release_digest({c: Digest("sha256:" + "0" * 64) for c in Component if c is not Component.PROMPTS})


def overlay(**changes: object) -> Overlay:
    values: dict[str, object] = {
        "environment": EnvironmentName("production"),
        "models": {
            "main": ResolvedModel(
                provider="openai", model="m-1", base_url=None, api_key="env:KEY", parameters={"top_p": 1}
            )
        },
        "roles": {"orchestrator": "main"},
        "prompts": {"support": PinnedPrompt(version="1.0.0", path="p", sha256=Digest("sha256:" + "1" * 64))},
        "tools": {"lookup": ResolvedTool(enabled=True, risk=Risk.LOW, mock=False, timeout_seconds=5.0)},
        "temperature": 0.0,
        "max_tokens": 4096,
        "timeout_seconds": 60.0,
        "log_level": "INFO",
    }
    return Overlay(**{**values, **changes})  # type: ignore[arg-type]


RELEASE = Digest("sha256:" + "a" * 64)


def test_the_golden_effective_digest_holds() -> None:
    assert effective_digest(RELEASE, overlay()) == VECTORS["effective"]


@pytest.mark.parametrize(
    "change",
    [{"environment": EnvironmentName("staging")}, {"log_level": "DEBUG"}],
    ids=["another environment", "another log level"],
)
def test_environments_that_behave_the_same_have_the_same_effective_digest(change: dict[str, object]) -> None:
    assert effective_digest(RELEASE, overlay(**change)) == VECTORS["effective"]


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.1},
        {"max_tokens": 1},
        {"timeout_seconds": 1.0},
        {"roles": {}},
        {"prompts": {}},
        {"tools": {}},
        {"models": {}},
        {"variables": {"A": "b"}},
    ],
    ids=str,
)
def test_whatever_changes_behaviour_changes_the_effective_digest(change: dict[str, object]) -> None:
    assert effective_digest(RELEASE, overlay(**change)) != VECTORS["effective"]


def test_a_dev_release_has_a_dev_effective_digest() -> None:
    assert effective_digest(Digest("dev:" + RELEASE), overlay()) == "dev:" + VECTORS["effective"]
