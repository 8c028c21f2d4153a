"""``fairway flag``, ``sla``, ``rollback`` and ``checklist``: what they print, refuse and exit with."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fairway.cli.main import cli
from fairway.errors import FairwayError
from fairway.ledger import open_ledger

PROJECT = """\
version: 1
agent: {name: shop}
service: {command: "python app.py"}
evals: {suites: []}
flags:
  refunds: {type: share, environments: [production], tenants: [acme]}
  dark: {default: true, expires: "2020-01-01"}
people:
  roles: {release_manager: [ada@example.org], auditor: [grace@example.org]}
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "fairway.yaml").write_text(PROJECT)
    (tmp_path / "app.py").write_text("print('hello')\n")
    for arguments in (["init", "-q"], ["config", "user.email", "ada@example.org"], ["config", "user.name", "Ada"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, catch_exceptions=True)


def value(*arguments: str) -> Any:
    done = run(*arguments, "-o", "json")
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


def refused(*arguments: str) -> FairwayError:
    done = run(*arguments)
    assert isinstance(done.exception, FairwayError), done.output
    return done.exception


def test_a_flag_is_set_shown_and_taken_back_with_who_and_why(root: Path) -> None:
    assert value("flag", "list")[1]["value"] == "off"
    assert value("flag", "set", "refunds", "10%", "--reason", "trial")["value"] == "10%"
    assert value("flag", "set", "refunds", "on", "--tenant", "acme", "--reason", "asked")["tenants"] == {"acme": "on"}
    assert value("flag", "unset", "refunds", "--reason", "over")["value"] == "off"
    shown = value("flag", "show", "refunds")
    assert [(one["value"], one["tenant"], one["actor"]) for one in shown["history"]] == [
        ("10%", "", "ada@example.org"),
        ("on", "acme", "ada@example.org"),
        (None, "", "ada@example.org"),
    ]
    assert shown["tenants"] == {"acme": "on"}
    with open_ledger(root / ".fairway" / "ledger.db") as ledger:
        assert ledger.verify_audit().ok


def test_an_expired_flag_goes_on_and_is_complained_about(root: Path) -> None:
    assert "on (default; expired 2020-01-01" in run("flag", "list").stdout
    assert "expired: dark" in run("doctor").stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("flag", "set", "refund", "on", "--reason", "x"), "flag_not_found"),
        (("flag", "set", "refunds", "maybe", "--reason", "x"), "flag_value"),
        (("flag", "set", "refunds", "on", "--reason", " "), "reason_needed"),
        (("flag", "set", "refunds", "on", "--tenant", "other", "--reason", "x"), "flag_tenant"),
        (("flag", "set", "refunds", "on", "--environment", "staging", "--reason", "x"), "flag_environment"),
        (("flag", "set", "refunds", "on", "--environment", "moon", "--reason", "x"), "environment_not_found"),
        (("flag", "set", "dark", "10%", "--reason", "x"), "flag_value"),
        (("sla", "report"), "no_stable"),
        (("sla", "report", "--version", "9.9.9"), "release_not_found"),
        (("sla", "report", "--month", "November"), "bad_month"),
        (("sla", "report", "--month", "2026-11", "--version", "1.0.0"), "bad_option"),
        (("sla", "report", "--month", "2026-11", "--figures"), "bad_option"),
        (("rollback", "--rehearse"), "no_previous"),
        (("rollback", "--rehearse", "--dry-run"), "bad_option"),
        (("rollback", "--yes"), "bad_option"),
        (("rollback", "--plan", "direct"), "bad_option"),
        (("rollback", "--flag", "refunds", "--to", "1.0.0"), "bad_option"),
        (("rollback", "--database", "--reason", "x"), "no_database_commands"),
        (("rollback", "--only", "prompts"), "no_stable"),
        (("rollback", "show"), "no_rollback"),
        (("rollback", "close", "--note", "x"), "no_rollback"),
        (("release", "derive", "--from", "1.0.0", "--only", "prompts"), "bad_option"),
        (("release", "derive", "--from", "1.0.0", "--only", "prompts=1.1.0"), "release_not_found"),
        (("checklist", "before"), "release_not_found"),
        (("checklist", "during"), "no_rollout"),
        (("checklist", "after"), "no_stable"),
        (("checklist", "confirm", "dcos", "--note", "x"), "item_not_found"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_code_and_exit_2(
    root: Path, arguments: tuple[str, ...], code: str
) -> None:
    error = refused(*arguments)
    assert (error.code, error.exit_code) == (code, 2)


def test_who_may_not_set_a_flag_may_not_and_turning_one_off_is_for_more(root: Path) -> None:
    subprocess.run(["git", "config", "user.email", "grace@example.org"], cwd=root, check=True)
    assert refused("flag", "set", "refunds", "on", "--reason", "x").code == "role_missing"
    assert refused("flag", "set", "refunds", "off", "--reason", "x").code == "role_missing", (
        "an auditor changes nothing"
    )


def test_a_rollback_by_flag_turns_it_off_for_every_tenant_and_is_on_record(root: Path) -> None:
    run("flag", "set", "refunds", "50%", "--reason", "trial")
    run("flag", "set", "refunds", "on", "--tenant", "acme", "--reason", "asked")
    done = value("rollback", "--flag", "refunds", "--reason", "refunds twice")
    shown = value("flag", "show", "refunds")
    assert (shown["value"], shown["tenants"]) == ("off", {"acme": "off"})
    (record,) = value("rollback", "list")
    assert (record["incident"], record["status"], record["recovery"]) == (done["incident"], "open", "NO_DATA")
    assert refused("rollback", "close", "--note", "the new rules").code == "recovery_unknown"
    assert value("rollback", "close", "--note", "the new rules", "--unverified")["recovery"] == "NO_DATA"


def test_a_flag_that_is_off_already_is_called_that_and_opens_no_second_incident(root: Path) -> None:
    run("flag", "set", "refunds", "50%", "--reason", "trial")
    first = value("rollback", "--flag", "refunds", "--reason", "refunds twice")
    again = value("rollback", "--flag", "refunds", "--reason", "pressed twice")
    assert (first["already"], again["already"], again["incident"]) == (False, True, first["incident"])
    assert "already off in production: ada@example.org" in run("rollback", "--flag", "refunds").stdout
    assert len(value("rollback", "list")) == 1
    assert len(value("flag", "show", "refunds")["history"]) == 2
    run("flag", "set", "refunds", "on", "--tenant", "acme", "--reason", "asked")
    assert value("rollback", "--flag", "refunds", "--reason", "for acme too")["already"] is False


@pytest.mark.parametrize(
    "declared",
    [
        "refunds: {type: share, environments: [production], tenants: [other]}",
        "refunds: {type: share, environments: [staging], tenants: [acme]}",
        "another: {type: share}",
    ],
    ids=["the tenant is gone", "the environment is gone", "the flag is gone"],
)
def test_a_rollback_by_flag_is_not_refused_for_what_is_declared_by_now(root: Path, declared: str) -> None:
    run("flag", "set", "refunds", "50%", "--reason", "trial")
    run("flag", "set", "refunds", "on", "--tenant", "acme", "--reason", "asked")
    known = "refunds: {type: share, environments: [production], tenants: [acme]}"
    (root / "fairway.yaml").write_text(PROJECT.replace(known, declared))
    done = value("rollback", "--flag", "refunds", "--reason", "refunds twice")
    assert done["tenants"] == ["acme"]
    assert [one["incident"] for one in value("rollback", "list")] == [done["incident"]]
    (root / "fairway.yaml").write_text(PROJECT)
    shown = value("flag", "show", "refunds")
    assert (shown["value"], shown["tenants"]) == ("off", {"acme": "off"})


def test_a_setting_of_a_flag_that_is_gone_can_be_taken_back_and_not_made(root: Path) -> None:
    run("flag", "set", "refunds", "on", "--tenant", "acme", "--reason", "asked")
    known = "  refunds: {type: share, environments: [production], tenants: [acme]}\n"
    (root / "fairway.yaml").write_text(PROJECT.replace(known, ""))
    assert refused("flag", "set", "refunds", "on", "--reason", "x").code == "flag_not_found"
    assert value("flag", "unset", "refunds", "--tenant", "acme", "--reason", "over")["tenants"] == {}
    assert refused("flag", "unset", "refunds", "--reason", "over").code == "flag_not_found", "nothing of it is set"


def test_a_dry_run_with_nothing_to_go_back_to_says_so_and_lists_the_kinds(root: Path) -> None:
    way = value("rollback", "--dry-run")
    assert (way["to"], way["kind"], way["intact"]) == (None, None, False)
    assert way["kinds"][0]["kind"] == "traffic"
    assert value("sla", "report", "--month", "2026-11")["success_rate"] is None
