from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.security.environment_dumps import find_environment_dumps
from fairway.security.findings import Severity
from fairway.security.worker import scan_job


@pytest.mark.parametrize(
    "code",
    [
        "print(os.environ)",
        "print(dict(os.environ))",
        "print('env', os.environ.items())",
        "print({**os.environ})",
        "print({k: v for k, v in os.environ.items()})",
        "print(f'started with {os.environ}')",
        "print('started with %s' % os.environ)",
        "print(json.dumps(dict(os.environ)))",
        "print(*os.environ.items())",
        "pprint(os.environ)",
        "sys.stdout.write(str(os.environ))",
        "logging.info(os.environ)",
        "logger.debug('environment', extra=dict(os.environ))",
        "log.bind(env=os.environ.copy()).info('x')",
        "env = os.environ.copy()\nprint(env)",
        "print(sorted(system.environ.values()))",
        "print(environ)",
        "def f():\n    env: dict = dict(os.environ)\n    logger.info('x', env)",
        "@app.get('/debug')\ndef debug():\n    return dict(os.environ)",
        "@router.post('/x')\nasync def debug():\n    return {'env': dict(os.environ)}",
    ],
)
def test_showing_the_whole_environment_is_high(code):
    source = f"import os, sys, logging\nimport os as system\nfrom os import environ\n{code}\n"
    found = find_environment_dumps(source, "app.py")
    assert [finding.severity for finding in found] == [Severity.HIGH]
    assert found[0].rule == "environment/dump"
    assert found[0].line is not None
    assert found[0].line > 3


def test_returning_it_from_a_plain_function_is_medium():
    (found,) = find_environment_dumps("import os\ndef child():\n    return {**os.environ, 'A': '1'}\n", "a.py")
    assert (found.severity, found.line) == (Severity.MEDIUM, 3)


@pytest.mark.parametrize(
    "code",
    [
        "print(os.environ['HOME'])",
        "print(os.environ.get('HOME'))",
        "logger.info(os.environ['PORT'])",
        "subprocess.run(['x'], env=dict(os.environ))",
        "env = {**os.environ, 'A': '1'}\nsubprocess.run(['x'], env=env)",
        "def f():\n    env = dict(os.environ)\n    env['A'] = '1'\n    return run(env)",
        "print({k: v for k, v in os.environ.items() if k.startswith('APP_')})",
        "for name in os.environ:\n    pass",
        "print(other.environ)",
        "print(len(os.environ))",
        "def f(environ):\n    return environ",
        "def f():\n    env = dict(os.environ)\ndef g(env):\n    print(env)",
    ],
)
def test_using_the_environment_is_fine(code):
    assert find_environment_dumps(f"import os, subprocess\n{code}\n", "a.py") == []


@pytest.mark.parametrize("code", [b"def f(:\n", b"x = '\0'\n", b"(" * 5000, b"\xff\xfe"])
def test_code_that_cannot_be_parsed_is_a_finding_and_never_a_pass(tmp_path, code):
    (tmp_path / "a.py").write_bytes(code)
    found = scan_job(tmp_path, [], ["a.py"])["findings"]
    assert [(finding["rule"], finding["severity"]) for finding in found] == [("scan/not-parsed", "HIGH")]


@given(st.text(alphabet="os.environ(){}[]*,:=\n print", max_size=60))
def test_any_text_is_code_with_findings_or_no_code(source):
    try:
        find_environment_dumps(source, "a.py")
    except (SyntaxError, ValueError):
        pass
