"""The access log of a project's gateway is where the project says."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairway.project.load import load_project
from fairway.supervise.processes import log_options


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
    (tmp_path / "fairway.yaml").write_text(
        f'version: 1\nagent: {{name: shop}}\nservice: {{command: "sh app.sh {{port}}"}}\n{said}\n'
    )
    project = load_project(tmp_path)
    assert log_options(project) == tuple(option.replace("{root}", str(tmp_path)) for option in options)
