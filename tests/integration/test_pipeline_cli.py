from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from fairway.ledger import open_ledger

SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"fine")
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
PROJECT = """
version: 1
agent: {{name: shop}}
service:
  command: "python server.py {{port}}"
  health: /health
  ready: /health
pipeline:
  stages:
    unit_test: {{command: "python -c pass"}}
    prompt_regression: {{enabled: false, reason: a service without prompts}}
    security_scan: {{enabled: false, reason: scanned elsewhere}}
    e2e_test: {{requests: [{{path: /health, expect: {{contains: fine}}}}]}}
    {own}
"""
GIT = {
    "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.org", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull,
}  # fmt: skip


@dataclass
class Agent:
    """A service nobody wrote with Fairway in mind, in a repository of its own."""

    root: Path

    def git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=self.root, check=True, capture_output=True, env={**os.environ, **GIT})

    def commit(self, own: str = "") -> None:
        (self.root / "fairway.yaml").write_text(PROJECT.format(own=own))
        (self.root / "server.py").write_text(SERVER)
        (self.root / ".gitignore").write_text(".fairway/\n")
        if not (self.root / ".git").exists():
            self.git("init", "-q", "-b", "main")
        self.git("add", "-A")
        self.git("commit", "-qm", "change", "--allow-empty")

    def start(self, *arguments: str, command: tuple[str, ...] = ("run",)) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "fairway", *command, *arguments],
            cwd=self.root, env={**os.environ, **GIT}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, *arguments: str) -> tuple[int, str, str]:
        return self.fairway("run", *arguments)

    def fairway(self, *command: str) -> tuple[int, str, str]:
        process = self.start(command=command)
        out, err = process.communicate(timeout=120)
        assert "Traceback" not in out + err, out + err
        return process.returncode, out, err

    def report(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        code, out, err = self.run("-o", "json", *arguments)
        assert out, err
        return code, json.loads(out)


def statuses(report: dict[str, Any]) -> dict[str, str]:
    return {stage["stage"]: stage["status"] for stage in report["stages"]}


def wait(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    root = tmp_path / "shop"
    root.mkdir()
    return Agent(root)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """A stage of one's own that counts its starts in ``starts``, says its pid, and waits until ``open`` is there."""
    folder = tmp_path / "gate"
    folder.mkdir()
    yield folder
    (folder / "open").touch()


def slow(gate: Path) -> str:
    script = f"echo $$ >> {gate}/starts; while [ ! -e {gate}/open ]; do sleep 0.05; done"
    return (
        f'quick: {{command: [sh, -c, "echo x >> {gate}/quick"], cache: false}}\n'
        f'    slow: {{command: [sh, -c, "{script}"], cache: false, after: [quick, unit_test]}}'
    )


@pytest.mark.slow
def test_a_foreign_service_goes_through_and_nothing_changed_is_told_at_once(agent: Agent, tmp_path: Path) -> None:
    agent.commit()
    code, report = agent.report("--report-dir", str(tmp_path / "reports"))
    assert code == 0, report
    found = statuses(report)
    passed = {"prepare", "static_analysis", "unit_test", "cost_gate", "build_image", "deploy_staging", "smoke_test"}
    assert {stage for stage in (*passed, "e2e_test") if found[stage] == "passed"} >= passed - {"cost_gate"} | {
        "e2e_test"
    }
    assert found["tool_integration"] == found["canary_deploy"] == "skipped"
    assert "tag the commit, or pass --version" in report["note"]
    suite = ElementTree.parse(tmp_path / "reports" / "junit.xml").getroot().find("testsuite")
    assert suite is not None
    assert suite.get("failures") == suite.get("errors") == "0"
    assert "| e2e_test | ✅ passed |" in (tmp_path / "reports" / "report.md").read_text()
    assert json.loads((tmp_path / "reports" / "report.json").read_text()) == report

    copies = [path.parent.name for path in (agent.root / ".fairway" / "runs").glob("*/stages/*/tree")]
    assert copies == []  # a passed stage keeps its reports, not its copy of every file

    code, again = agent.report()
    assert code == 0
    assert set(statuses(again).values()) == {"cached", "skipped"}
    assert again["run_id"] != report["run_id"]

    (agent.root / "server.py").write_text(SERVER + "#")
    _, changed = agent.report("--only", "static_analysis")
    assert statuses(changed) == {"static_analysis": "passed"}


@pytest.mark.slow
def test_a_run_killed_in_the_middle_goes_on_from_what_passed_and_leaves_nothing_running(
    agent: Agent, gate: Path
) -> None:
    agent.commit(slow(gate))
    killed = agent.start("--to", "slow")
    wait(lambda: (gate / "starts").exists() and (gate / "starts").read_text().strip())
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    orphan = int((gate / "starts").read_text().split()[0])
    (gate / "open").touch()
    code, report = agent.report("--resume")
    assert code == 0, report
    assert statuses(report) == {
        "prepare": "cached", "unit_test": "cached", "quick": "cached", "slow": "passed",
    }  # fmt: skip
    assert (gate / "quick").read_text() == "x\n"  # what passed before the kill did not run again
    assert len((gate / "starts").read_text().split()) == 2
    wait(lambda: not lives(orphan), 10)
    assert len(list((agent.root / ".fairway" / "runs").iterdir())) == 1  # the same run went on


@pytest.mark.slow
def test_ctrl_c_stops_what_runs_keeps_what_passed_and_leaves_no_process(agent: Agent, gate: Path) -> None:
    agent.commit(slow(gate))
    process = agent.start("-o", "json", "--to", "slow")
    wait(lambda: (gate / "starts").exists() and (gate / "starts").read_text().strip())
    family = psutil.Process(process.pid).children(recursive=True)
    assert family
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    report = json.loads(out)
    assert statuses(report) == {
        "prepare": "passed", "unit_test": "passed", "quick": "passed", "slow": "cancelled",
    }  # fmt: skip
    wait(lambda: not any(lives(child.pid) for child in family), 10)


@pytest.mark.slow
def test_a_run_is_not_resumed_when_it_was_about_something_else(agent: Agent) -> None:
    agent.commit('bad: {command: "false"}')
    assert agent.run("--to", "bad")[0] == 1
    (agent.root / "server.py").write_text(SERVER + "# changed\n")
    code, _, err = agent.run("--resume")
    assert code == 2
    assert "the files changed since run" in err


@pytest.mark.slow
def test_a_stage_that_says_no_exits_1_and_the_report_says_where_to_read(agent: Agent) -> None:
    agent.commit('bad: {command: [sh, -c, "echo not today; exit 4"]}')
    code, out, _ = agent.run()
    assert code == 1
    assert "bad: exit code 4: not today" in out
    assert "fairway run --resume" in out
    assert "build_image" in out
    assert "not run: bad did not pass" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["--only", "unit_tset"], "did you mean 'unit_test'?", id="unknown stage"),
        pytest.param(["--from", "e2e_test", "--to", "prepare"], "no stage lies between", id="nothing between"),
        pytest.param(["--version", "one"], "one", id="no version"),
        pytest.param(["--resume"], "there is no run to resume", id="nothing to resume"),
        pytest.param(["--environment", "stging"], "staging", id="unknown environment"),
    ],
)
def test_what_cannot_be_asked_exits_2_and_says_what_can(agent: Agent, arguments: list[str], said: str) -> None:
    agent.commit()
    code, _, err = agent.run(*arguments)
    assert code == 2, err
    assert said in err


def test_uncommitted_changes_are_not_released(agent: Agent) -> None:
    agent.commit()
    (agent.root / "server.py").write_text("changed")
    code, _, err = agent.run("--version", "1.0.0")
    assert code == 2
    assert "cannot release 1.0.0: uncommitted changes in server.py" in err


def test_without_a_repository_or_a_commit_a_release_is_refused_and_says_what_it_needs(agent: Agent) -> None:
    agent.commit()
    shutil.rmtree(agent.root / ".git")
    for command in (("run", "--version", "1.0.0"), ("release", "create", "1.0.0")):
        code, _, err = agent.fairway(*command)
        assert code == 2
        assert "a release needs a git repository" in err
        assert "git init" in err
    agent.git("init", "-q")
    code, _, err = agent.run("--version", "1.0.0")
    assert code == 2
    assert "git holds none of this project yet" in err


def own_project(agent: Agent, more: str, files: dict[str, str]) -> None:
    """Commit files, with sections of ``fairway.yaml`` besides."""
    agent.commit()
    for name, text in files.items():
        (agent.root / name).parent.mkdir(parents=True, exist_ok=True)
        (agent.root / name).write_text(text)
    with (agent.root / "fairway.yaml").open("a") as file:
        file.write(more)
    agent.git("add", "-A")
    agent.git("commit", "-qm", "more")


MOCKED = "version: 1\nmodels: {main: {provider: mock, model: mock-1}}\nroles: {orchestrator: main}\n"


@pytest.mark.parametrize(
    ("more", "suite", "said"),
    [
        pytest.param(
            "", "cases:\n- id: a\n  inputt: hello\n", "evals/suites/a.yaml:3:3: cases[0].inputt: unknown", id="key"
        ),
        pytest.param(
            "evals:\n  suites:\n  - evals/suites/a.yaml\n  - evals/suites/b.yaml\n",
            "cases: []\n",
            "fairway.yaml:18:5: evals.suites[1]: there is no suite evals/suites/b.yaml",
            id="missing",
        ),
        pytest.param(
            "evals: {judge: {model: main, rubric: evals/rubric.md}}\n",
            "cases:\n- {id: a, input: hello, rubric: It greets.}\n",
            "fairway.yaml:15:38: evals.judge.rubric: there is no file evals/rubric.md",
            id="no rubric",
        ),
    ],
)
def test_a_mistake_in_a_suite_exits_2_and_names_its_place(agent: Agent, more: str, suite: str, said: str) -> None:
    own_project(agent, more, {"evals/suites/a.yaml": suite, "models.yaml": MOCKED.replace("mock", "openai")})
    code, out, err = agent.run()
    assert code == 2, out + err
    assert said in err
    assert agent.run("--only", "prepare")[0] == 0


@pytest.mark.parametrize(
    ("more", "scenario", "said"),
    [
        pytest.param("", {}, "there is no scenario evals/mock-llm.yaml", id="missing"),
        pytest.param("llm: {mock: {scenario: m.yaml}}\n", {}, "fairway.yaml:15:24: llm.mock.scenario", id="named"),
        pytest.param(
            "",
            {"evals/mock-llm.yaml": "version: 1\nrules:\n- when: {}\n  replyy: hello\n"},
            "evals/mock-llm.yaml:4:3: rules[0].replyy: ",
            id="wrong key",
        ),
    ],
)
def test_a_mistake_in_the_mock_models_scenario_exits_2_and_names_its_place(
    agent: Agent, more: str, scenario: dict[str, str], said: str
) -> None:
    own_project(agent, more, {"models.yaml": MOCKED, **scenario})
    code, out, err = agent.run("--version", "1.0.0")
    assert code == 2, out + err
    assert said in err
    assert "did not start" not in out + err


@pytest.mark.slow
def test_a_version_that_is_taken_is_refused_before_the_first_stage_and_the_same_content_is_not(agent: Agent) -> None:
    agent.commit()
    code, out, err = agent.run("--version", "1.0.0", "--to", "build_image")
    assert code == 0, out + err
    code, report = agent.report("--version", "1.0.0", "--to", "build_image", "--no-cache")
    assert (code, statuses(report)["build_image"]) == (0, "cached")
    (agent.root / "more.py").write_text("")
    agent.commit()
    runs = len(list((agent.root / ".fairway" / "runs").iterdir()))
    code, out, err = agent.run("--version", "1.0.0", "--to", "build_image")
    assert code == 2
    assert "cannot release 1.0.0: it is released already with other content" in err
    assert "--resume" not in out + err
    assert len(list((agent.root / ".fairway" / "runs").iterdir())) == runs
    assert agent.run("--version", "1.0.0", "--only", "unit_test")[0] == 0


def test_stages_of_ones_own_that_wait_for_each_other_exit_2(agent: Agent) -> None:
    agent.commit("one: {command: 'true', after: [two]}\n    two: {command: 'true', after: [one]}")
    code, _, err = agent.run()
    assert code == 2
    assert "wait for each other" in err


def recorded(agent: Agent) -> dict[str, str]:
    """The newest verdict of each kind in the ledger."""
    with open_ledger(agent.root / ".fairway" / "ledger.db") as ledger:
        rows = [entry.payload for entry in ledger.audit_log(limit=1000, kind="evidence")]
    return {row["kind"]: row["verdict"] for row in rows}


@pytest.mark.slow
def test_a_run_of_a_clean_commit_leaves_what_a_release_by_hand_needs_and_a_failure_takes_it_back(agent: Agent) -> None:
    agent.commit('mine: {command: [sh, -c, "test ! -e tests/broken"], after: [prepare]}')
    assert agent.run()[0] == 0
    wanted = {"static_analysis", "unit_test", "tool_integration", "cost_gate", "smoke_test", "e2e_test", "mine"}
    assert recorded(agent) == dict.fromkeys({*wanted, "deploy_staging"}, "PASS") | {"tool_integration": "NO_DATA"}

    # A ledger that is gone is written again, however little has changed since.
    for file in (agent.root / ".fairway").glob("ledger.*"):
        file.unlink()
    assert agent.run()[0] == 0
    assert set(recorded(agent)) >= wanted
    assert agent.fairway("release", "create", "v1.0.0")[0] == 0

    # Another instrument, the same release: what it finds is newer.
    (agent.root / "tests").mkdir()
    (agent.root / "tests" / "broken").write_text("")
    agent.git("add", "-A")
    agent.git("commit", "-qm", "a test that fails")
    assert agent.run()[0] == 1
    assert recorded(agent)["mine"] == "FAIL"
    agent.git("checkout", "-q", "HEAD^")
    assert agent.run()[0] == 0
    assert recorded(agent)["mine"] == "PASS"  # taken anew: the kept pass is older than the failure
