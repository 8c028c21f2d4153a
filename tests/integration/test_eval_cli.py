"""``fairway eval`` from a user's hands: a small real agent over HTTP, the command as a process, its files and codes."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from xml.etree import ElementTree

import pytest

from fairway.cli.main import main
from fairway.scaffold import make_project
from fairway.stages.process import PREFIX
from fairway.targets.local.process import MARKER

CASES = 70


@dataclass
class Agent:
    """A service on loopback whose answers a test writes; counts what it was asked."""

    url: str
    answer: Callable[[str], str]
    delay: float = 0.0
    asked: Counter[str] = field(default_factory=Counter)


@pytest.fixture
def agent() -> Iterator[Agent]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["content-length"])))["message"]
            made.asked[message] += 1
            time.sleep(made.delay)
            body = json.dumps({"response": made.answer(message), "tools": []}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: object) -> None:
            """A client that was killed goes away in the middle of an answer."""

    server = Server(("127.0.0.1", 0), Handler)
    made = Agent(url=f"http://127.0.0.1:{server.server_address[1]}/chat", answer=lambda message: f"hello {message}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


@dataclass
class Ended:
    code: int
    out: str
    err: str

    @property
    def told(self) -> dict:
        return json.loads(self.out)


@dataclass
class Shell:
    """The command, as a person or a CI job runs it in a folder."""

    folder: Path

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "fairway", "eval", *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONWARNINGS": "error"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> Ended:
        """The command in this process, through the same border; a process of its own costs a third of a second."""
        out, err, code = io.StringIO(), io.StringIO(), 0
        with pytest.MonkeyPatch.context() as patched, redirect_stdout(out), redirect_stderr(err):
            patched.chdir(self.folder)
            patched.setattr(sys, "argv", ["fairway", "eval", *arguments])
            try:
                main()
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else 1
        return Ended(code, out.getvalue(), err.getvalue())

    def runs(self) -> list[dict]:
        return self.run("history", "-o", "json").told["runs"]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    lines = (f'- {{id: c{n}, input: "{n}", expected_keywords: [hello]}}\n' for n in range(CASES))
    (tmp_path / "cases.yaml").write_text("".join(lines))
    return Shell(tmp_path)


def run(shell: Shell, agent: Agent, *more: str) -> Ended:
    return shell.run("run", "cases.yaml", "--target", agent.url, "--target-version", "1", "--no-cache", *more)


def test_each_verdict_has_its_exit_code_and_is_in_the_json(shell: Shell, agent: Agent):
    passed = run(shell, agent, "-o", "json")
    assert (passed.code, passed.told["verdict"]) == (0, "PASS")
    agent.answer = lambda _: "no"
    failed = run(shell, agent, "-o", "json", "--target-version", "2")
    assert (failed.code, failed.told["verdict"]) == (1, "FAIL")
    (shell.folder / "few.yaml").write_text('- {id: a, input: "1", expected_keywords: ["no"]}\n')
    few = ("run", "few.yaml", "--target", agent.url, "-o", "json")
    open_yet = shell.run(*few, "--baseline", agent.url)
    assert (open_yet.code, open_yet.told["verdict"]) == (2, "INCONCLUSIVE")
    refused = shell.run("run", "missing.yaml", "--target", agent.url, "-o", "json")
    assert (refused.code, refused.told["error"]["code"]) == (3, "eval_suite")
    assert shell.run("run", "--no-such-option").code == 3, "2 means INCONCLUSIVE and nothing else"
    unreachable = shell.run("run", "few.yaml", "--target", "http://127.0.0.1:9/chat", "-o", "json")
    assert (unreachable.code, unreachable.told["verdict"]) == (3, "ERROR")


def test_what_a_function_prints_is_no_part_of_the_result(shell: Shell):
    (shell.folder / "chatty.py").write_text(
        "print('loaded')\n\ndef say(message):\n    print(message)\n    return 'hello'\n"
    )
    ended = shell.run("run", "cases.yaml", "--target", "python:chatty.py:say", "-o", "json")
    assert (ended.code, ended.told["verdict"]) == (0, "PASS")
    assert "loaded" in ended.err


def test_a_bug_of_ours_has_no_exit_code_of_a_verdict(shell: Shell, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("fairway.cli.eval.reading.find_folder", broken)
    ended = shell.run("compare", "blessed")
    assert (ended.code, "RuntimeError: a bug" in ended.err) == (3, True)


def test_a_regression_against_the_last_run_is_found_and_named_in_every_report(shell: Shell, agent: Agent):
    assert run(shell, agent).code == 0
    agent.answer = lambda message: "no" if int(message) < 20 else f"hello {message}"
    files = {name: f"report.{name}" for name in ("junit", "html", "markdown", "json")}
    options = [part for name, file in files.items() for part in (f"--{name}", file)]
    found = run(shell, agent, "--target-version", "2", "--baseline", "latest", *options)
    assert found.code == 1
    assert found.out.startswith("REGRESSION")
    texts = {name: (shell.folder / file).read_text() for name, file in files.items()}
    suites = ElementTree.fromstring(texts["junit"])
    assert len(suites.findall(".//testcase/failure")) == 21, "twenty cases, and the gate itself"
    assert json.loads(texts["json"])["verdict"] == "REGRESSION"
    assert "REGRESSION" in texts["markdown"]
    assert texts["html"].startswith("<!doctype html>")
    assert sum(agent.asked.values()) == 2 * CASES, "the last run was not asked again"
    first, second = (row["run_id"] for row in reversed(shell.runs()))
    compared = shell.run("compare", first, second, "-o", "json")
    assert (compared.code, compared.told["verdict"]) == (1, "REGRESSION")
    itself = shell.run("compare", second, "-o", "json")
    assert (itself.code, itself.told["error"]["code"]) == (3, "eval_option"), "the latest run is that very run"


def test_running_again_until_it_is_green_does_not_help(shell: Shell, agent: Agent):
    (shell.folder / "cases.yaml").write_text('- {id: a, input: "1", expected_keywords: [hello], critical: true}\n')
    agent.answer = lambda _: "no"
    assert run(shell, agent).code == 1
    agent.answer = lambda _: "hello"
    again = run(shell, agent, "-o", "json")
    assert again.code == 1
    assert run(shell, agent, "--target-version", "2").code == 0, "what was mended is another subject"
    assert [row["attempt"] for row in reversed(shell.runs())] == [1, 2, 1]


def test_a_blessed_run_is_what_later_ones_are_compared_with_until_the_suites_change(shell: Shell, agent: Agent):
    assert shell.run("compare", "blessed", "-o", "json").code == 3
    assert run(shell, agent).code == 0
    blessed = shell.run("bless", "--actor", "ada", "--reason", "reviewed", "-o", "json")
    assert (blessed.code, blessed.told["actor"], blessed.told["reason"]) == (0, "ada", "reviewed")
    compared = run(shell, agent, "--target-version", "2", "--baseline", "blessed", "-o", "json")
    assert (compared.code, compared.told["verdict"]) == (0, "PASS")
    suite = shell.folder / "cases.yaml"
    suite.write_text(suite.read_text() + '- {id: more, input: "99", expected_keywords: [hello]}\n')
    changed = run(shell, agent, "--baseline", "blessed", "-o", "json")
    assert (changed.code, changed.told["error"]["code"]) == (3, "eval_no_baseline")


def test_a_blessed_run_is_no_attempt_of_what_is_compared_with_it(shell: Shell, agent: Agent):
    assert run(shell, agent).code == 0
    assert shell.run("bless", "--reason", "good").code == 0
    agent.answer = lambda message: "no" if int(message) < 5 else f"hello {message}"
    drifted = run(shell, agent, "--baseline", "blessed", "-o", "json")
    assert (drifted.code, drifted.told["verdict"]) == (1, "REGRESSION"), "the same version, and not the same any more"
    assert shell.run("score", "latest", "-o", "json").told["verdict"] == "REGRESSION"


def test_what_is_no_baseline_is_blessed_only_with_a_reason_that_stays_on_record(shell: Shell, agent: Agent):
    assert shell.run("run", "cases.yaml", "--target", agent.url).code == 0
    refused = shell.run("bless", "--reason", "it looks fine", "-o", "json")
    assert (refused.code, refused.told["error"]["code"]) == (2, "eval_not_blessed")
    assert "nobody knows which version" in refused.told["error"]["message"]
    forced = shell.run("bless", "--reason", "it looks fine", "--override", "the only one there is", "-o", "json")
    assert forced.code == 0
    assert "nobody knows which version of the subject it examined" in forced.told["overridden"]


def test_a_blessed_run_that_was_edited_afterwards_is_refused(shell: Shell, agent: Agent):
    assert run(shell, agent).code == 0
    run_id = shell.run("bless", "--reason", "good", "-o", "json").told["run_id"]
    results = shell.folder / ".fairway" / "evals" / run_id / "results.json"
    results.write_text(results.read_text().replace("hello 1", "hello 2"))
    refused = run(shell, agent, "--target-version", "2", "--baseline", "blessed", "-o", "json")
    assert (refused.code, refused.told["error"]["code"]) == (3, "eval_baseline_changed")


def test_shards_merged_have_the_verdict_and_the_results_of_the_unsharded_run(shell: Shell, agent: Agent):
    agent.answer = lambda message: "no" if int(message) % 9 == 0 else f"hello {message}"
    whole = run(shell, agent, "-o", "json").told
    shards = []
    for part in (1, 2):
        run(shell, agent, "--shard", f"{part}/2")
        shards.append(shell.runs()[0]["run_id"])
    other = Shell(shell.folder / "elsewhere")
    other.folder.mkdir()
    folders = [str(shell.folder / ".fairway" / "evals" / run_id) for run_id in shards]
    missing = other.run("merge", folders[0], "-o", "json")
    assert (missing.code, missing.told["error"]["code"]) == (3, "eval_merge")
    doubled = other.run("merge", folders[0], folders[0], folders[1], "-o", "json")
    assert "more than once" in doubled.told["error"]["message"]
    merged = other.run("merge", *reversed(folders), "-o", "json")
    assert merged.told["verdict"] == whole["verdict"]
    assert merged.told["reasons"] == whole["reasons"]
    assert [_found(case) for case in merged.told["cases"]] == [_found(case) for case in whole["cases"]]
    again = other.run("merge", *folders, "-o", "json")
    assert again.told["verdict"] == merged.told["verdict"]
    assert len(other.runs()) == 1, "the same shards merged again are no further attempt"
    here = shell.run("merge", *shards, "-o", "json")
    assert shell.run("show", "-o", "json").told["title"] == here.told["title"], "what was merged last is the latest"
    suite = shell.folder / "cases.yaml"
    suite.write_text(suite.read_text().replace("c1,", "c1, critical: true,"))
    run(shell, agent, "--shard", "2/2")
    mixed = other.run("merge", folders[0], str(shell.folder / ".fairway" / "evals" / shell.runs()[0]["run_id"]))
    assert mixed.code == 3
    assert "different" in mixed.err


def test_shards_take_no_adaptive_repeats_and_merge_under_one_margin_only(shell: Shell, agent: Agent):
    refused = run(shell, agent, "--shard", "1/2", "--adaptive", "--baseline", agent.url)
    assert (refused.code, "a shard knows its own only" in refused.err) == (3, True)
    assert run(shell, agent).code == 0
    for part, margin in (("1/2", "0.05"), ("2/2", "0.2")):
        run(shell, agent, "--shard", part, "--margin", margin)
    mixed = shell.run("merge", *(row["run_id"] for row in shell.runs() if row["shard"]))
    assert (mixed.code, "different --margin" in mixed.err) == (3, True)


def _found(case: dict) -> tuple[object, ...]:
    return case["suite"], case["case_id"], case["candidate"]["outcome"]


def test_a_run_that_was_killed_goes_on_without_asking_twice(shell: Shell, agent: Agent):
    agent.delay = 0.03
    process = shell.start("run", "cases.yaml", "--target", agent.url, "--target-version", "1", "--no-cache")
    _until(lambda: sum(agent.asked.values()) >= 20)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    asked = Counter(agent.asked)
    agent.delay = 0.0
    resumed = shell.run("run", "--resume", "-o", "json")
    assert (resumed.code, len(resumed.told["cases"])) == (0, CASES)
    assert len(agent.asked) == CASES
    twice = sum(count - 1 for count in agent.asked.values())
    assert twice <= 4, "only what was on its way when it was killed may be asked again"
    assert sum(asked.values()) >= 20
    over = shell.run("run", "--resume")
    assert over.code == 3
    assert "no evaluation was cut short" in over.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_stops_a_run_that_is_still_starting_its_agent_stops_the_agent(shell: Shell, number: signal.Signals):
    (shell.folder / "fairway.yaml").write_text(
        "version: 1\nagent: {name: shop}\nservice: {command: 'python app.py {port}'}\nevals: {suites: [cases.yaml]}\n"
    )
    pid_file = shell.folder / "agent.pid"
    (shell.folder / "app.py").write_text(
        f"import os, pathlib, time\npathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()))\ntime.sleep(60)\n"
    )
    process = shell.start("run")
    _until(lambda: pid_file.exists() and pid_file.read_text() != "")
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, "stopped before anything was asked" in err) == (130, True), err
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
    assert list((shell.folder / ".fairway" / "evals").iterdir()) == []


def test_what_a_killed_run_left_behind_is_ended_by_the_next_one(shell: Shell):
    (shell.folder / "fairway.yaml").write_text(
        "version: 1\nagent: {name: shop}\nservice: {command: 'python app.py {port}'}\nevals: {suites: [cases.yaml]}\n"
    )
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    marked = {**os.environ, MARKER: f"{PREFIX}{gone.pid}#0#0"}
    left = subprocess.Popen(["sleep", "60"], env=marked, start_new_session=True)
    try:
        assert shell.run("run", "--judge", "openai:x").code == 3
        assert left.wait(timeout=5) == -signal.SIGKILL
    finally:
        left.kill()
        left.wait()


def test_a_run_goes_on_against_what_it_was_compared_with_and_only_with_the_same(shell: Shell, agent: Agent):
    (shell.folder / "model.py").write_text(
        "import time\n\ndef say(message):\n    time.sleep(0.03)\n    return 'hello'\n"
    )
    assert run(shell, agent).code == 0
    began_with = shell.runs()[0]["run_id"]
    cut = ("run", "cases.yaml", "--target", "python:model:say", "--target-version", "2", "--no-cache")
    for baseline in ("latest", "blessed"):
        assert shell.run("bless", began_with, "--reason", "good").code == 0
        process = shell.start(*cut, "--baseline", baseline)
        _until(lambda: any(not row["ended"] for row in shell.runs()))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        stopped = next(row["run_id"] for row in shell.runs() if not row["ended"])
        assert run(shell, agent, "--target-version", "3").code == 0
        assert shell.run("bless", "latest", "--reason", "better").code == 0
        resumed = shell.run("run", "--resume", stopped, "-o", "json")
        if baseline == "latest":
            assert resumed.code == 0
            header = json.loads((shell.folder / ".fairway" / "evals" / stopped / "run.json").read_text())
            assert header["baseline_run"] == began_with
        else:
            assert (resumed.code, resumed.told["error"]["code"]) == (3, "eval_resume")


def test_ctrl_c_keeps_what_was_done_and_says_how_to_go_on(shell: Shell, agent: Agent):
    agent.delay = 0.03
    process = shell.start("run", "cases.yaml", "--target", agent.url, "--target-version", "1", "--no-cache")
    _until(lambda: sum(agent.asked.values()) >= 10)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "go on with: fairway eval run --resume" in err
    run_id = err.split("--resume ")[1].split()[0]
    agent.delay = 0.0
    anew = run(shell, agent)
    assert f"{run_id} on the same content was cut short" in anew.err
    assert "cut short" not in run(shell, agent, "--target-version", "2").err
    assert shell.run("run", "--resume", run_id).code == 0
    assert [(row["ended"], row["attempt"]) for row in shell.runs()] == [(True, 1), (True, 1), (True, 2)]


def test_a_run_is_scored_again_by_todays_suite_without_a_call(shell: Shell, agent: Agent):
    assert run(shell, agent).code == 0
    asked = sum(agent.asked.values())
    suite = shell.folder / "cases.yaml"
    suite.write_text(suite.read_text().replace("[hello]", "[hello, goodbye]"))
    again = shell.run("score", "latest", "-o", "json")
    assert (again.code, again.told["verdict"]) == (1, "FAIL")
    suite.write_text(suite.read_text().replace("[hello, goodbye]", "[hello]").replace('input: "7"', 'input: "77"'))
    never_asked = shell.run("score", shell.runs()[-1]["run_id"], "-o", "json")
    assert (never_asked.code, never_asked.told["verdict"]) != (0, "PASS"), "what was never asked is not passed"
    assert sum(agent.asked.values()) == asked


def test_scoring_the_good_attempt_again_leaves_no_bad_one_out(shell: Shell, agent: Agent):
    (shell.folder / "cases.yaml").write_text('- {id: a, input: "1", expected_keywords: [hello], critical: true}\n')
    agent.answer = lambda _: "no"
    assert run(shell, agent).code == 1
    agent.answer = lambda _: "hello"
    assert run(shell, agent).code == 1
    again = shell.run("score", "latest", "-o", "json")
    assert (again.code, again.told["verdict"]) == (1, "FAIL")


def test_what_another_version_of_a_script_measured_is_unknown_when_it_is_scored_again(shell: Shell, agent: Agent):
    script = shell.folder / "check.py"
    script.write_text("def get_assert(output, context):\n    return True\n")
    suite = shell.folder / "cases.yaml"
    suite.write_text('- {id: a, input: "1", assert: [{python: check.py}]}\n')
    assert run(shell, agent).code == 0
    first = shell.runs()[0]["run_id"]
    suite.write_text('- {id: a, input: "1", assert: [{contains: hello}, {python: check.py}]}\n')
    assert shell.run("score", first).code == 0, "the script is the same"
    script.write_text("def get_assert(output, context):\n    return False\n")
    again = shell.run("score", first, "-o", "json")
    assert (again.code, again.told["verdict"]) == (3, "ERROR")


def test_a_cached_rerun_asks_nobody_and_is_no_new_evidence(shell: Shell, agent: Agent):
    (shell.folder / "cases.yaml").write_text('- {id: a, input: "1", expected_keywords: [hello], critical: true}\n')
    (shell.folder / "agent.py").write_text("def answer(message, context):\n    return 'hello'\n")
    target = ("run", "cases.yaml", "--target", agent.url, "--target-version", "1")
    assert shell.run(*target).code == 0
    agent.answer = lambda _: "no"
    assert shell.run(*target).code == 0
    assert sum(agent.asked.values()) == 1
    assert shell.run(*target, "--no-cache").code == 1


def test_a_version_that_is_empty_names_no_version(shell: Shell, agent: Agent):
    for empty in ("", "  "):
        refused = shell.run("run", "cases.yaml", "--target", agent.url, "--target-version", empty, "-o", "json")
        assert (refused.code, refused.told["error"]["code"]) == (3, "eval_option")
    assert not agent.asked


def test_what_is_shown_of_a_kept_run_is_what_was_said_of_it(shell: Shell, agent: Agent):
    agent.answer = lambda message: "no" if message == "3" else f"hello {message}"
    told = run(shell, agent, "-o", "json").told
    shown = shell.run("show", "-o", "json")
    assert shown.code == 0
    assert (shown.told["verdict"], shown.told["reasons"]) == (told["verdict"], told["reasons"])
    assert "c3" in shell.run("show").out
    assert shell.run("show", "nonsense").code == 2


def test_lint_import_and_export_round_trip(shell: Shell):
    config = {
        "prompts": ["{{question}}"],
        "providers": ["echo"],
        "tests": [{"vars": {"question": "Hi"}, "assert": [{"type": "contains", "value": "Hi"}]}],
    }
    (shell.folder / "promptfooconfig.json").write_text(json.dumps(config))
    imported = shell.run("import", "promptfooconfig.json", "-o", "json")
    assert imported.code == 0, imported.err
    (file,) = imported.told["files"]
    assert shell.run("import", "promptfooconfig.json").code == 2, "what is there is not replaced"
    exported = shell.run("export", file, "--format", "jsonl")
    assert json.loads(exported.out)["input"] == "Hi"
    (shell.folder / "bad.yaml").write_text('- {id: a, input: "1", expected_keywords: [x], forbidden_keywords: [x]}\n')
    assert shell.run("lint").code == 0, "without a name, what the import wrote"
    nobody = shell.run("run", "--target", "http://127.0.0.1:9/chat", "-o", "json")
    assert [case["case_id"] for case in nobody.told["cases"]] == [json.loads(exported.out)["id"]]
    linted = shell.run("lint", "bad.yaml", "-o", "json")
    assert linted.code == 1
    assert any(finding["severity"] == "error" for finding in linted.told)
    assert shell.run("lint", "cases.yaml").code == 0


def test_the_latest_run_that_is_shown_is_said_not_to_be_the_last_one_that_began(shell: Shell, agent: Agent):
    run(shell, agent)
    assert shell.run("show").err == ""
    ended = shell.runs()[0]["run_id"]
    header = json.loads((shell.folder / ".fairway/evals" / ended / "run.json").read_text())
    killed = shell.folder / ".fairway/evals" / "29991231-235959-000000"
    killed.mkdir()
    (killed / "run.json").write_text(json.dumps({**header, "run_id": killed.name, "ended": False}))
    shown = shell.run("show")
    assert f"{killed.name} began later and has not ended: this is {ended}" in shown.err


def test_a_function_that_never_returns_is_trouble_and_does_not_keep_the_command_from_ending(shell: Shell):
    (shell.folder / "stuck.py").write_text("import time\n\ndef say(message):\n    time.sleep(3600)\n")
    process = shell.start(
        "run", "cases.yaml", "--case", "c1", "--target", "python:stuck:say", "--timeout", "0.2", "-o", "json"
    )
    try:
        told, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 3
    assert json.loads(told)["verdict"] == "ERROR"


def test_who_blesses_a_run_that_failed_is_told_so_and_other_repeats_are_another_baseline(shell: Shell, agent: Agent):
    agent.answer = lambda message: "no" if int(message) % 2 else f"hello {message}"
    assert run(shell, agent).code == 1
    assert shell.run("bless", "--reason", " ").code == 2
    assert "its own verdict was FAIL" in shell.run("bless", "--reason", "as released").out
    other = run(shell, agent, "--target-version", "2", "--baseline", "blessed", "--repeat", "2")
    assert other.code == 3
    assert "for these cases and repeats" in other.err


def test_what_only_a_project_has_is_refused_outside_one_and_not_left_out_in_silence(shell: Shell, agent: Agent):
    for option in (("--baseline", "stable"), ("--environment", "production")):
        refused = run(shell, agent, *option)
        assert refused.code == 3
        assert "fairway.yaml" in refused.err
    assert not agent.asked


def test_a_resumed_run_takes_no_other_target_suite_or_cap(shell: Shell, agent: Agent):
    run(shell, agent)
    for option in (("--target", "http://127.0.0.1:9/chat"), ("--spend", "1"), ("--tag", "x"), ("--judge", "openai:m")):
        refused = shell.run("run", "--resume", shell.runs()[0]["run_id"], *option)
        assert refused.code == 3
        assert f"takes no other: {option[0]}" in refused.err


def test_in_a_project_a_named_suite_and_target_go_by_what_the_project_says(shell: Shell, agent: Agent):
    make_project(shell.folder / "shop", commit=False)
    project = Shell(shell.folder / "shop")
    settings = project.folder / "fairway.yaml"
    mapped = "evals:\n  response: {text: /tools}\n"
    settings.write_text(settings.read_text().replace("evals:\n", mapped, 1))
    few = project.folder / "few.yaml"
    few.write_text("- {id: a, input: hi, expected_keywords: [hello]}\n")
    found = project.run("run", "few.yaml", "--target", agent.url, "-o", "json")
    assert found.code == 3
    assert "/tools" in found.out, "the reply is read where the project says"
    settings.write_text(settings.read_text().replace(mapped, "evals:\n  spend: 0.5\n", 1))
    capped = project.run("run", "few.yaml", "--target", agent.url, "-o", "json")
    assert capped.code == 3
    assert "and there is a cap" in capped.out, "its cap holds, and a price nobody knows stops the run"


def test_a_smoke_run_says_when_no_real_model_is_asked_and_a_judge_that_is_not_recorded_is_said_so(shell: Shell):
    make_project(shell.folder / "shop", commit=False)
    project = Shell(shell.folder / "shop")
    smoke = project.run("run", "--layer", "smoke", "--target", "prompt:support", "-o", "json")
    assert "no real model is asked" in smoke.err
    items = "rubric: friendly\nitems: [{id: a, input: hi, reply: hello, label: good}]\n"
    (project.folder / "items.yaml").write_text(items)
    settings = project.folder / "fairway.yaml"
    tried = "judge: {model: small, calibration: {items: items.yaml, record: record.json}}"
    settings.write_text(settings.read_text().replace("judge: {model: small}", tried))
    few = project.run("calibrate", "--record")
    assert few.code == 1
    assert "not recorded" in few.out
    assert not (project.folder / "record.json").exists()


def test_a_suite_that_the_project_leaves_out_is_told_and_a_new_project_leaves_none_out(shell: Shell, agent: Agent):
    make_project(shell.folder / "shop", commit=False)
    project = Shell(shell.folder / "shop")
    (project.folder / "evals" / "suites").mkdir()
    (project.folder / "evals" / "suites" / "mine.yaml").write_text("- {id: mine, input: hi, rubric: friendly}\n")
    asked = ("run", "--target", agent.url, "--case", "mine")
    assert "not played" not in project.run(*asked).err
    assert agent.asked == {"hi": 1}
    settings = project.folder / "fairway.yaml"
    settings.write_text(settings.read_text().replace("evals/suites/*, ", ""))
    assert "evals/suites/mine.yaml is not played" in project.run("run", "--target", agent.url, "--sample", "1").err
    rules = [(one["rule"], one["file"]) for one in project.run("lint", "-o", "json").told]
    assert ("suite/not-played", "evals/suites/mine.yaml") in rules


def test_a_run_that_its_cap_cut_short_never_passes_however_few_trials_are_missing(shell: Shell):
    (shell.folder / "priced.py").write_text('def say(message):\n    return {"text": "hello", "cost": 0.01}\n')
    cut = shell.run("run", "cases.yaml", "--target", "python:priced:say", "--spend", f"{(CASES - 1) / 100}")
    assert cut.code == 2
    assert "the run is not complete" in cut.out
    assert f"{CASES - 2} of {CASES}" in cut.out


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)
