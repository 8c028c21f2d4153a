"""Versions and tags (SPEC B1)."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.bundle.git import read_index
from fairway.errors import UserError
from fairway.release.history import authors_since, commit_sha, commit_version
from fairway.release.versions import Version, VersionKind, dev_version

numbers = st.integers(0, 999_999_999)


@st.composite
def versions(draw: st.DrawFn) -> Version:
    kind = draw(st.sampled_from(VersionKind))
    number, name = 0, ""
    if kind in (VersionKind.CANDIDATE, VersionKind.DEV):
        number = draw(numbers)
    if kind is VersionKind.ROLLBACK:
        number = draw(st.integers(1, 999_999_999))
    if kind is VersionKind.GRAY:
        name = draw(st.from_regex(r"[a-z0-9]{1,32}", fullmatch=True))
    if kind is VersionKind.DEV:
        name = draw(st.from_regex(r"[0-9a-f]{7,40}", fullmatch=True))
    return Version(
        major=draw(st.integers(0, 3)), minor=draw(numbers), patch=draw(numbers), kind=kind, number=number, name=name
    )


@given(versions())
def test_what_is_written_is_read_back_in_any_case_as_tag_and_as_image_tag(version: Version) -> None:
    for form in (str(version), version.tag, version.image_tag, version.tag.upper()):
        assert Version.parse(form) == version
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", version.image_tag)


@given(versions(), versions(), versions())
def test_the_order_is_total(a: Version, b: Version, c: Version) -> None:
    assert (a < b) + (a == b) + (b < a) == 1
    if a <= b and b <= c:
        assert a <= c


def test_the_order_is_the_documented_one() -> None:
    ordered = ["3.2.9", "3.3.0-dev.4+g1a2b3c4", "3.3.0-gray-a", "3.3.0-gray-b", "3.3.0-rc1", "3.3.0-rc2"]
    ordered += ["3.3.0-rc10", "3.3.0", "3.3.0-r1", "3.3.0-r2", "3.3.1"]
    parsed = [Version.parse(text) for text in ordered]
    parsed.reverse()
    assert [str(version) for version in sorted(parsed)] == ordered


@pytest.mark.parametrize(
    "text",
    ["", "3.2", "v3.2.1.4", "v03.2.1", "3.2.1-rc", "3.2.1-rc01", "3.2.1-r0", "3.2.1-gray-", "3.2.1-beta", "latest",
     "3.2.1+g1234567", "٣.2.1", "3.2.1-dev.1+gxyz", "vv1.2.3", "1.2.3-gray-a_b", "1.2.3\nx"],
)  # fmt: skip
def test_anything_else_is_refused_with_the_forms_that_exist(text: str) -> None:
    with pytest.raises(UserError) as caught:
        Version.parse(text)
    assert caught.value.code == "bad_version"
    assert "v3.3.0-rc1" in (caught.value.hint or "")


def test_a_dev_version_lies_between_the_last_release_and_the_next() -> None:
    last, following = Version.parse("1.2.0"), Version.parse("1.2.1-rc1")
    assert last < dev_version(last, 5, "ab" * 20) < following
    assert str(dev_version(None, 5, "ab" * 20)) == "0.0.0-dev.5+gabababababab"


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "config", "user.name", "Ada")
    git(tmp_path, "config", "user.email", "Ada@example.org")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "one")
    return tmp_path


def test_every_commit_has_a_version_of_its_own(repo: Path) -> None:
    seen = {str(commit_version(repo))}
    git(repo, "tag", "V1.0.0")
    assert str(commit_version(repo)) == "1.0.0"
    git(repo, "tag", "not-a-version")
    git(repo, "checkout", "-q", "-b", "side")
    git(repo, "commit", "-q", "--allow-empty", "-m", "side")
    seen.add(str(commit_version(repo)))
    git(repo, "tag", "v2.0.0-rc1")
    git(repo, "checkout", "-q", "main")
    git(repo, "commit", "-q", "--allow-empty", "-m", "main")
    seen.add(str(commit_version(repo)))
    assert len(seen) == 3
    assert all(version.startswith(("0.0.0-dev.1+g", "1.0.1-dev.1+g")) for version in seen)
    assert str(commit_version(repo, "side")) == "2.0.0-rc1"


def test_authors_are_those_of_the_commits_since_the_previous_release(repo: Path) -> None:
    first = commit_sha(repo)
    git(repo, "-c", "user.email=Grace@example.org", "commit", "-q", "--allow-empty", "-m", "two")
    assert authors_since(repo, "HEAD", first) == ("grace@example.org",)
    assert authors_since(repo, "HEAD", None) == ("ada@example.org", "grace@example.org")
    assert authors_since(repo, "HEAD", "0" * 40) == ("ada@example.org", "grace@example.org")


def test_a_folder_without_commits_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        commit_version(tmp_path)
    assert caught.value.code == "no_commit"


@pytest.mark.parametrize("ending", ["kill -INT $$; sleep 5", "exit 130"])
def test_a_git_that_ended_by_ctrl_c_is_an_interrupt_and_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    git = tmp_path / "git"
    git.write_text(f"#!/bin/sh\n{ending}\n")
    git.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    # Started in the background the tests ignore SIGINT, and what they start would inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for action in (lambda: commit_version(tmp_path, "HEAD"), lambda: read_index(tmp_path)):
            with pytest.raises(KeyboardInterrupt):
                action()
    finally:
        signal.signal(signal.SIGINT, before)
