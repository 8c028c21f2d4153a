"""`fairway cost` as a person and a program see it."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta

import pytest

from fairway.cli.main import main

PROJECT = """\
version: 1
agent: {name: shop}
service: {command: "python server.py {port}", health: /health, ready: /health}
"""
MODELS = "version: 1\nmodels:\n  small: {provider: openai, model: m-1, price: {input: 1, output: 2}}\n"


@pytest.fixture
def cost(tmp_path, monkeypatch, capsys):
    (tmp_path / "fairway.yaml").write_text(PROJECT + "costs: {logs: [calls.jsonl]}\n")
    (tmp_path / "models.yaml").write_text(MODELS)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["fairway", "cost", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        return int(caught.value.code or 0), captured.out + captured.err

    return call


def log(path, *, tokens: int = 1000, **calls_of_release: int) -> None:
    now = datetime.now(UTC)
    rows = [
        {
            "at": (now - timedelta(days=n % 6, hours=place)).isoformat(), "release": release, "task": f"{release}{n}",
            "request": "r", "model": "small", "tokens_in": tokens, "tokens_out": 0, "calls": calls,
        }
        for place, (release, calls) in enumerate(calls_of_release.items(), 1)
        for n in range(100)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_report_tells_releases_and_the_projection_and_judges_nothing(cost, tmp_path):
    log(tmp_path / "calls.jsonl", new=4, old=2)
    code, said = cost("report", "--by", "release", "-o", "json")
    told = json.loads(said)
    assert code == 0
    assert told["by"]["release"]["new"]["usd"] == "0.100000"
    assert told["comparison"]["calls_per_task"]["verdict"] == "FAIL"
    assert told["projection"]["verdict"] == "PASS"


def test_rows_that_cannot_be_read_are_told_with_file_line_and_reason(cost, tmp_path):
    (tmp_path / "calls.jsonl").write_text('{"model": "small", "ts": "2026-11-20T10:00:00Z"}\n')
    for command in ("report", "check"):
        assert "1 rows; calls.jsonl:1: says no time (at)" in cost(command)[1]


def test_a_check_passes_within_budget_and_says_no_to_a_new_loop(cost, tmp_path):
    log(tmp_path / "calls.jsonl", new=2, old=2)
    assert cost("check")[0] == 0
    log(tmp_path / "calls.jsonl", new=4, old=2)
    code, said = cost("check")
    assert code == 1
    assert "calls a task of new against old: 2.00 times" in said


def test_a_check_says_no_beyond_the_budget_and_without_enough_to_go_by(cost, tmp_path):
    log(tmp_path / "calls.jsonl", only=1)
    code, said = cost("check", "--requests-per-day", "600000", "-o", "json")
    assert (code, json.loads(said)["verdict"]) == (1, "FAIL")
    (tmp_path / "calls.jsonl").write_text("")
    code, said = cost("check", "-o", "json")
    assert (code, json.loads(said)["verdict"]) == (1, "NO_DATA")


def test_a_comparison_that_was_asked_for_has_to_pass(cost, tmp_path):
    log(tmp_path / "calls.jsonl", only=1)
    assert cost("check")[0] == 0
    code, said = cost("check", "--candidate", "only", "--baseline", "other", "-o", "json")
    assert (code, json.loads(said)["verdict"]) == (1, "NO_DATA")


def test_a_release_is_not_compared_with_itself(cost, tmp_path):
    log(tmp_path / "calls.jsonl", only=1)
    code, said = cost("check", "--candidate", "only", "--baseline", "only")
    assert code == 2
    assert "same release" in said


def test_a_name_that_cannot_be_written_does_not_break_the_report(cost, tmp_path):
    log(tmp_path / "calls.jsonl", only=1)
    row = {"at": (datetime.now(UTC) - timedelta(hours=1)).isoformat(), "release": "\ud800 \x1b[2J\nPASS", "cost": 1}
    with (tmp_path / "calls.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    code, said = cost("report")
    assert code == 0
    assert "\x1b" not in said
    assert "\nPASS" not in said


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("costs: {logs: [../calls.jsonl]}", "fairway.yaml:4:16: costs.logs[0]"),
        ("costs: {day: 7}", "did you mean 'days'?"),
        ("costs: {days: 2, minimum_days: 3}", "fairway.yaml:4:32: costs.minimum_days"),
        ("costs: {prices: {small: {input: -1, output: 1}}}", "fairway.yaml:4:33: costs.prices.small.input"),
        ("costs: {logs: [none.jsonl]}", "there is no call log none.jsonl"),
        ("", "no call log is named"),
    ],
)
def test_mistakes_exit_2_and_say_where(cost, tmp_path, section, said):
    (tmp_path / "fairway.yaml").write_text(PROJECT + section + "\n")
    code, told = cost("check")
    assert code == 2
    assert said in told
