"""The access log of a project's gateway is where the project says."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairway.errors import ProjectFileError
from fairway.project.load import Project, load_project
from fairway.supervise.entrance import look_at_access_log
from fairway.supervise.processes import log_options


def project(folder: Path, said: str) -> Project:
    (folder / "fairway.yaml").write_text(
        f'version: 1\nagent: {{name: shop}}\nservice: {{command: "sh app.sh {{port}}"}}\n{said}\n'
    )
    return load_project(folder)


@pytest.mark.parametrize(
    ("said", "options"),
    [
        ("", ()),
        ("gateway: {access_log: access.jsonl}", ("--access-log", "{root}/access.jsonl")),
        ("gateway: {access_log: /var/log/front.jsonl}", ("--access-log", "/var/log/front.jsonl")),
        ("gateway: {access_log: '-'}", ("--access-log", "-")),
    ],
)
def test_a_path_is_the_projects(tmp_path: Path, said: str, options: tuple[str, ...]) -> None:
    assert log_options(project(tmp_path, said)) == tuple(option.replace("{root}", str(tmp_path)) for option in options)


@pytest.mark.parametrize(
    ("log", "why"),
    [("gone/access.jsonl", "there is no folder"), ("fairway.yaml/x", "there is no folder"), ("folder", "a folder")],
)
def test_one_that_cannot_be_written_is_told_with_its_line_before_anything_is_served(
    tmp_path: Path, log: str, why: str
) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ProjectFileError, match=rf"fairway\.yaml:4:23: gateway\.access_log: .*{why}"):
        list(look_at_access_log(project(tmp_path, f"gateway: {{access_log: {log}}}")))


@pytest.mark.parametrize("log", ["access.jsonl", ".fairway/logs/access.jsonl", "'-'"])
def test_looking_at_one_that_can_be_written_makes_nothing(tmp_path: Path, log: str) -> None:
    [check] = look_at_access_log(project(tmp_path, f"gateway: {{access_log: {log}}}"))
    assert check.name == "access log"
    assert [path.name for path in tmp_path.iterdir()] == ["fairway.yaml"]
