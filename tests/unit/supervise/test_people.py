"""What doctor says about people."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairway.project.load import load_project
from fairway.supervise.examined import CheckStatus
from fairway.supervise.people import look_at_people

BASE = """version: 1
agent: {name: shop}
service: {command: python app.py, health: /health, ready: /ready}
"""
PEOPLE = "people: {roles: {qa: [linus, Ada], release_manager: [ada], developer: [ken]}}\n"


@pytest.mark.parametrize(
    ("text", "status", "says"),
    [
        ("", CheckStatus.OK, "nobody is listed in people.roles: every local user has every role"),
        (PEOPLE, CheckStatus.OK, "developer 1, qa 2, release_manager 1; an abort is open to everybody"),
        (PEOPLE + "rollout: {approval: {quorum: 2}}\n", CheckStatus.OK, "qa 2"),
        (PEOPLE + "rollout: {approval: {quorum: 3}}\n", CheckStatus.FAIL, "needs 3 people and 2 may give one"),
        (PEOPLE + "rollout: {approval: {roles: [operator]}}\n", CheckStatus.FAIL, "needs 1 people and 0 may"),
        (PEOPLE + "rollout: {approval: none}\n", CheckStatus.OK, "qa 2"),
    ],
)
def test_doctor_says_who_is_listed_and_when_no_quorum_can_be_met(
    tmp_path: Path, text: str, status: CheckStatus, says: str
) -> None:
    (tmp_path / "fairway.yaml").write_text(BASE + text)
    (check,) = look_at_people(load_project(tmp_path))
    assert check.status is status
    assert says in check.detail
