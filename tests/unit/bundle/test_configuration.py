"""The config bundle an arm reads, the difference of two bundles, and files that must not travel."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from fairway.bundle.components import Component
from fairway.bundle.configuration import write_config_bundle
from fairway.bundle.diff import diff_files, text_diff
from fairway.bundle.files import scan
from fairway.bundle.lint import lint_files
from fairway.bundle.secret_shapes import find_secret, is_secret_file
from fairway.errors import PermanentError

Repository = Callable[..., Path]
Git = Callable[..., str]
FILES = {
    "fairway.yaml": "version: 1\n",
    "models.yaml": "m",
    "tools.yaml": "t",
    "prompts.lock": "l",
    "prompts/a/1.0.0.yaml": "p",
    "policies/x.md": "x",
    "app.py": "code",
    "evals/a.yaml": "e",
}


def test_the_config_bundle_holds_configuration_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    write_config_bundle(target, FILES, lambda path: FILES[path].encode(), {"version": 1})
    held = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert held == {
        "models.yaml", "tools.yaml", "prompts.lock", "prompts/a/1.0.0.yaml", "policies/x.md", "effective.json",
    }  # fmt: skip
    assert json.loads((target / "effective.json").read_text()) == {"version": 1}


def test_a_config_bundle_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    write_config_bundle(target, ["prompts/old.txt", "models.yaml"], lambda path: b"1", {})
    write_config_bundle(target, ["models.yaml"], lambda path: b"2", {})
    assert not (target / "prompts").exists()
    assert (target / "models.yaml").read_bytes() == b"2"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_write_that_fails_leaves_the_former_bundle(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    write_config_bundle(target, ["models.yaml"], lambda path: b"1", {})

    def broken(path: str) -> bytes:
        raise PermanentError("gone")

    with pytest.raises(PermanentError):
        write_config_bundle(target, ["models.yaml"], broken, {})
    assert (target / "models.yaml").read_bytes() == b"1"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_path_that_leaves_the_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="unsafe path"):
        write_config_bundle(tmp_path / "bundle", ["prompts/../../x"], lambda path: b"", {})
    assert not (tmp_path / "x").exists()


def test_a_difference_is_told_by_component(make_repository: Repository, git: Git) -> None:
    root = make_repository(FILES)
    old = scan(root)
    (root / "app.py").chmod(0o755)
    (root / "prompts/a/1.1.0.yaml").write_text("new")
    (root / "policies/x.md").unlink()
    (root / "evals/a.yaml").write_text("changed")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "second")
    found = diff_files(old.files, scan(root).files)
    assert found.components[Component.CODE].changed == ("app.py",)
    assert found.components[Component.PROMPTS].added == ("prompts/a/1.1.0.yaml",)
    assert found.components[Component.POLICIES].removed == ("policies/x.md",)
    assert found.instrument.changed == ("evals/a.yaml",)
    assert Component.MODELS not in found.components
    assert not diff_files(old.files, old.files)


def test_the_difference_of_texts_is_unified() -> None:
    assert text_diff(b"a\nb\n", b"a\nc\n", old_name="x", new_name="y").splitlines() == [
        "--- x", "+++ y", "@@ -1,2 +1,2 @@", " a", "-b", "+c",
    ]  # fmt: skip
    assert text_diff(b"a", b"a", old_name="x", new_name="y") == ""
    assert "binary files differ" in text_diff(b"\xff", b"a", old_name="x", new_name="y")


@pytest.mark.parametrize(
    ("path", "secret"),
    [
        (".env", True),
        ("deploy/.env.production", True),
        (".env.example", False),
        ("keys/id_rsa", True),
        ("keys/id_rsa.pub", False),
        ("tls/server.key", True),
        ("src/monkey.py", False),
        ("environment.py", False),
    ],
)
def test_files_that_hold_secrets_are_known_by_name(path: str, secret: bool) -> None:
    assert is_secret_file(path) is secret


# Written in two parts, so that this file itself holds no secret's shape.
SECRETS = {
    "a private key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "an API key": "sk-" + "proj-abcdefghijklmnopqrstuvwx",
    "an AWS access key": "AKIA" + "IOSFODNN7EXAMPLE",
    "a GitHub token": "ghp_" + "a" * 36,
}


@pytest.mark.parametrize(("what", "text"), SECRETS.items())
def test_secrets_are_known_by_shape_and_line(what: str, text: str) -> None:
    assert find_secret(f"one\ntwo {text}\n".encode()) == (what, 2)


@pytest.mark.parametrize("text", ["sk-short", "task-management-is-not-a-secret-key-at-all", "BEGIN PUBLIC KEY", ""])
def test_ordinary_words_are_no_secret(text: str) -> None:
    assert find_secret(text.encode()) is None


def test_secrets_links_and_submodules_are_kept_out_of_a_bundle(make_repository: Repository, git: Git) -> None:
    root = make_repository(
        {
            ".env": "X=1\n",
            "app.py": f"KEY = '{SECRETS['an API key']}'\n",
            "tests/fake.py": SECRETS["an API key"],  # no part of a release
            "fine.py": "x\n",
        },
        commit=False,
    )
    (root / "out").symlink_to("../../etc")
    (root / "absolute").symlink_to("/etc/passwd")
    (root / "inside").symlink_to("fine.py")
    git(root, "add", "-A", "-f")
    git(root, "commit", "-q", "-m", "x")
    findings = lint_files(scan(root))
    assert {(finding.rule, finding.file, finding.line) for finding in findings} == {
        ("bundle/secret-file", ".env", None),
        ("bundle/secret", "app.py", 1),
        ("bundle/symlink", "out", None),
        ("bundle/symlink", "absolute", None),
    }
    assert all(SECRETS["an API key"] not in f"{finding}" for finding in findings)


def test_a_clean_bundle_has_no_finding(make_repository: Repository) -> None:
    files: Mapping[str, str] = FILES
    assert lint_files(scan(make_repository(files))) == ()
