from __future__ import annotations

import asyncio
import sys
import time

import pytest

from fairway.security.command import ToolError, run_tool
from fairway.security.findings import Severity
from fairway.security.python_static import scan_python
from fairway.security.scan import scan_release
from fairway.security.worker import scan_job

SHELL = "import subprocess\n\n\ndef run(line):\n    subprocess.run(line, shell=True)\n"
PASSWORD = "correct" + "-horse-9"


def write(root, files: dict[str, str]) -> list[str]:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return list(files)


async def test_every_scanner_looks_at_the_files_and_their_findings_come_together(tmp_path):
    files = write(
        tmp_path,
        {
            "app/run.py": SHELL,
            "app/env.py": "import os\nprint(os.environ)\n",
            "app/login.py": f'def f(password="{PASSWORD}"):\n    return password\n',
            "tool": "#!/usr/bin/env python3\n" + SHELL,
            ".env": "A=b\n",
            "-odd.py": SHELL,
            "README.md": "Hello\n",
        },
    )
    result = await scan_release(tmp_path, files)
    found = {(finding.rule, finding.file, finding.severity) for finding in result.findings}
    assert ("B602", "app/run.py", Severity.HIGH) in found
    assert ("B602", "tool", Severity.HIGH) in found
    assert ("B602", "-odd.py", Severity.HIGH) in found
    assert ("environment/dump", "app/env.py", Severity.HIGH) in found
    assert ("secret/file", ".env", Severity.CRITICAL) in found
    assert any(rule == "B107" and file == "app/login.py" for rule, file, _ in found)
    assert (result.broken, result.scanned) == ((), 7)
    assert PASSWORD not in repr(result)


async def test_the_project_can_neither_hide_a_file_from_bandit_nor_replace_a_module(tmp_path):
    files = write(
        tmp_path,
        {
            ".bandit": "[bandit]\nexclude: /app\nskips: B602\n",
            "pyproject.toml": '[tool.bandit]\nskips = ["B602"]\n',
            "setup.cfg": "[bandit]\nskips: B602\n",
            "bandit.py": "raise SystemExit(0)\n",
            "json.py": "raise SystemExit(0)\n",
            "yaml.py": "raise SystemExit(0)\n",
            "app/run.py": SHELL,
        },
    )
    result = await scan_release(tmp_path, files)
    assert result.broken == ()
    assert [(finding.rule, finding.file) for finding in result.findings if finding.severity is Severity.HIGH] == [
        ("B602", "app/run.py")
    ]


@pytest.mark.parametrize("comment", ["# nosec", "# nosec B602", "#nosec: B602, B404", "# nosec - fixed input"])
async def test_a_comment_silences_nothing_at_high(tmp_path, comment):
    files = write(tmp_path, {"a.py": SHELL.replace("shell=True)", f"shell=True)  {comment}")})
    result = await scan_release(tmp_path, files)
    (found,) = (finding for finding in result.findings if finding.severity is Severity.HIGH)
    assert (found.rule, found.line) == ("B602", 5)
    assert "waiver" in found.message


@pytest.mark.parametrize(
    ("comment", "silent"),
    [("# nosec", True), ("# nosec B101", True), ("# nosec assert_used", True), ("# nosec B602", False), ("", False)],
)
async def test_a_comment_below_high_is_honoured_and_counted(tmp_path, comment, silent):
    files = write(tmp_path, {"a.py": f"def f(x):\n    assert x  {comment}\n    return x\n"})
    result = await scan_release(tmp_path, files)
    assert ([finding.rule for finding in result.findings], result.silenced) == (([], 1) if silent else (["B101"], 0))


async def test_python_too_large_to_be_looked_at_is_a_finding_that_needs_a_waiver(tmp_path, monkeypatch):
    monkeypatch.setattr("fairway.security.worker.LARGEST_FILE", 20)
    write(tmp_path, {"big.py": "import os\nprint(os.environ)\n"})
    (found,) = scan_job(tmp_path, [], ["big.py"])["findings"]
    assert (found["rule"], found["severity"], found["file"]) == ("scan/too-large", "HIGH", "big.py")


async def test_bandit_itself_says_what_it_could_not_read(tmp_path):
    findings, _ = await scan_python(tmp_path, write(tmp_path, {"a.py": "def f(:\n"}), timeout_seconds=30)
    assert [(finding.rule, finding.file) for finding in findings] == [("scan/not-parsed", "a.py")]


async def test_a_whole_report_of_a_scanner_that_ended_badly_does_not_count(tmp_path):
    report = {"results": [], "errors": [], "metrics": {"./a.py": {}, "_totals": {}}}
    code = f"import json; print(json.dumps({report!r})); raise SystemExit(2)"
    with pytest.raises(ToolError, match="ended with 2"):
        await scan_python(tmp_path, ["a.py"], timeout_seconds=30, command=(sys.executable, "-c", code))


async def test_code_that_is_no_python_is_told_by_every_scanner(tmp_path):
    result = await scan_release(tmp_path, write(tmp_path, {"a.py": "def f(:\n"}))
    assert {finding.rule for finding in result.findings} == {"scan/not-parsed"}


FAKES = {
    "missing": ("no-such-program-anywhere",),
    "crashed": (sys.executable, "-c", "raise SystemExit(2)"),
    "silent": (sys.executable, "-c", ""),
    "garbage": (sys.executable, "-c", "print('all fine')"),
    "empty-report": (sys.executable, "-c", 'print(\'{"results": [], "errors": [], "metrics": {}}\')'),
    "odd-report": (sys.executable, "-c", "print('[1]')"),
}


@pytest.mark.parametrize("command", FAKES.values(), ids=FAKES)
async def test_a_scanner_that_is_missing_or_broken_is_named_and_never_a_clean_result(tmp_path, command):
    files = write(tmp_path, {"app/run.py": SHELL, ".env": "A=b\n"})
    without_bandit = await scan_release(tmp_path, files, bandit=command)
    assert without_bandit.broken[0].startswith("bandit: ")
    assert [finding.rule for finding in without_bandit.findings if finding.file == ".env"] == ["secret/file"]
    without_own = await scan_release(tmp_path, files, worker=command)
    assert without_own.broken[0].startswith("secret scan: ")


async def test_a_scanner_that_takes_too_long_is_ended_with_everything_it_started(tmp_path):
    mark = tmp_path / "alive"
    child = f"import time, pathlib; time.sleep(1); pathlib.Path({str(mark)!r}).touch()"
    code = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    began = time.monotonic()
    with pytest.raises(ToolError, match=r"not done within 0\.5 s"):
        await run_tool([sys.executable, "-c", code], cwd=tmp_path, timeout_seconds=0.5)
    assert time.monotonic() - began < 5
    await asyncio.sleep(1.2)
    assert not mark.exists()


async def test_a_cancelled_scan_leaves_no_process(tmp_path):
    code = "import pathlib, os, time; pathlib.Path('pid').write_text(str(os.getpid())); time.sleep(60)"
    task = asyncio.create_task(run_tool([sys.executable, "-c", code], cwd=tmp_path, timeout_seconds=30))
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    import os

    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


async def test_a_scanner_gets_no_secret_of_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_API_KEY", "value-of-a-secret")
    ended = await run_tool([sys.executable, "-c", "import os; print(os.environ)"], cwd=tmp_path, timeout_seconds=10)
    assert b"value-of-a-secret" not in ended.output
