from __future__ import annotations

import json

import pytest

from fairway.security.findings import Severity
from fairway.security.secrets import redact, scan_secrets

# put together here, so that no scanner takes this file for a leak
OPENAI = "sk-" + "proj-" + "Zk4hT9wQx2LmN8vB5cRt7yUi"
ANTHROPIC = "sk-" + "ant-api03-" + "Qw3rTy5uIo7pAs9dFg1hJk2l"
AWS = "AKIA" + "Q3EGRZJ7XW2LMN5P"
GITHUB = "ghp_" + "a8Kd02mZq7Lx4Vn1Rb6Ty9Wc3Ef5Gh0Jk2Pu"
SLACK = "xoxb-" + "2874019365-" + "aBcDeFgHiJkLmNoPqRsTuVwX"
GOOGLE = "AIza" + "SyD4iE2xVSpkLLOXoyqT-RuPwywN3ScDAhE"
PASSWORD = "hunter" + "2-Quietly"
KEY_HEAD = "-----BEGIN RSA " + "PRIVATE KEY-----"


def scan(tmp_path, files: dict[str, str]):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return scan_secrets(tmp_path, list(files))[0]


@pytest.mark.parametrize("secret", [OPENAI, ANTHROPIC, AWS, GITHUB, SLACK, GOOGLE])
@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("app.py", 'KEY = "{}"'),
        ("prompts/p.yaml", "template: use {} now"),
        ("notes.md", "key {}."),
        ("x.bin", "\0{}\0"),
    ],
)
def test_a_providers_key_is_critical_wherever_it_stands_and_is_never_shown(tmp_path, secret, file, line):
    findings = scan(tmp_path, {file: "one\n" + line.format(secret) + "\n"})
    found = [finding for finding in findings if finding.severity is Severity.CRITICAL]
    assert found
    assert {(finding.file, finding.line) for finding in found} == {(file, 2)}
    report = json.dumps([finding.to_json() for finding in findings])
    assert secret not in report
    assert secret[4:12] not in report
    assert secret[:4] in report


def test_a_private_key_is_critical(tmp_path):
    (found, *_) = scan(tmp_path, {"deploy.txt": f"{KEY_HEAD}\nMIIB\n"})
    assert (found.rule, found.severity) == ("secret/private-key", Severity.CRITICAL)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("app.py", f'password = "{PASSWORD}"\n'),
        ("app.py", f'DATABASE = "postgresql://shop:{PASSWORD}@db.internal/shop"\n'),
        ("config.yaml", f"password: {PASSWORD}\n"),
        ("config.json", f'{{"api_key": "{PASSWORD}"}}\n'),
    ],
)
def test_a_hard_coded_password_is_high_and_never_shown(tmp_path, file, text):
    findings = scan(tmp_path, {file: text})
    assert Severity.HIGH in {finding.severity for finding in findings}
    assert PASSWORD not in json.dumps([finding.to_json() for finding in findings])


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("models.yaml", "models:\n  small:\n    api_key: env:OPENAI_API_KEY\n"),
        ("app.py", 'import os\napi_key = os.environ["OPENAI_API_KEY"]\n'),
        ("app.py", 'password = get_password("shop")\n'),
        ("prompts.lock", 'support: {"1.0.0": "sha256:' + "0f1e2d3c4b5a6978" * 4 + '"}\n'),
        ("uv.lock", 'hash = "sha256:' + "9c8b7a6f5e4d3c2b" * 4 + '"\n'),
        ("docs.md", "Set OPENAI_API_KEY to your key, for example `export OPENAI_API_KEY=...`.\n"),
        ("app.py", 'password = "${SHOP_PASSWORD}"\n'),
    ],
)
def test_references_digests_and_documentation_are_no_secrets(tmp_path, file, text):
    assert scan(tmp_path, {file: text}) == []


@pytest.mark.parametrize("value", ["not-needed", "test-key", "mock", "your-api-key", "changeme", "<api-key>"])
def test_a_placeholder_is_at_most_low(tmp_path, value):
    findings = scan(tmp_path, {"app.py": f'api_key = "{value}"\n'})
    assert {finding.severity for finding in findings} <= {Severity.LOW}


def test_a_random_looking_text_is_told_but_does_not_gate(tmp_path):
    findings = scan(tmp_path, {"app.py": 'SALT = "q7Zx/2LpVw9+TnRk4sJcYb8HmGfDe3UaXoQi5Kt6"\n'})
    assert {finding.severity for finding in findings} == {Severity.MEDIUM}


@pytest.mark.parametrize("name", [".env", "deploy/.env.production", "id_rsa", "certs/server.key"])
def test_a_committed_file_of_secrets_is_critical(tmp_path, name):
    findings = scan(tmp_path, {name: "x\n"})
    assert ("secret/file", Severity.CRITICAL) in {(finding.rule, finding.severity) for finding in findings}


@pytest.mark.parametrize("name", [".env.example", ".env.template", "environment.py"])
def test_an_example_of_such_a_file_is_fine(tmp_path, name):
    assert scan(tmp_path, {name: "SHOP_PASSWORD=\n"}) == []


@pytest.mark.parametrize(
    "text", ['K = "{}"  # pragma: allowlist secret\n', '# pragma: allowlist nextline secret\nK = "{}"\n']
)
def test_a_comment_does_not_silence_what_is_high_or_worse(tmp_path, text):
    (found,) = scan(tmp_path, {"app.py": text.format(AWS)})
    assert found.severity is Severity.CRITICAL
    assert "waiver" in found.message
    (found,) = scan(tmp_path, {"app.py": text.replace("K =", "password =").format(PASSWORD)})
    assert found.severity is Severity.HIGH
    assert "waiver" in found.message


@pytest.mark.parametrize(
    "line", ["KEY = 'sk-test-" + "placeholder-0000'", "H = '" + "Zk4hT9wQx2LmN8vB5cRt7yUiAq3ErfG6WsXd1Pz0Jo" + "'"]
)
def test_a_comment_below_high_is_honoured(tmp_path, line):
    found = scan(tmp_path, {"app.py": f"{line}\n"})
    assert found
    assert not any(finding.severity in (Severity.HIGH, Severity.CRITICAL) for finding in found)
    assert scan(tmp_path, {"app.py": f"{line}  # pragma: allowlist secret\n"}) == []


@pytest.mark.parametrize("before", [0, 5, 90, 97, 100, 250])
def test_a_large_file_is_looked_through_block_by_block_for_keys(tmp_path, monkeypatch, before):
    monkeypatch.setattr("fairway.security.secrets.LARGEST_FILE", 64)
    monkeypatch.setattr("fairway.security.secrets._BLOCK", 100)
    monkeypatch.setattr("fairway.security.secrets._OVERLAP", 80)
    content = b"\n" * before + b"\xff " + AWS.encode() + b"\n" + b"." * 300
    (tmp_path / "data.bin").write_bytes(content)
    findings, partly = scan_secrets(tmp_path, ["data.bin"])
    assert partly == ["data.bin"]
    found = {(finding.rule, finding.severity, finding.line, finding.message) for finding in findings}
    assert [(rule, severity, line) for rule, severity, line, _ in found] == [
        ("secret/aws-key", Severity.CRITICAL, before + 1)
    ]


def test_a_large_file_without_a_key_has_no_finding(tmp_path, monkeypatch):
    monkeypatch.setattr("fairway.security.secrets.LARGEST_FILE", 10)
    (tmp_path / "data.csv").write_text("x" * 11)
    assert scan_secrets(tmp_path, ["data.csv"]) == ([], ["data.csv"])


def test_links_are_not_followed(tmp_path):
    (tmp_path / "outside").write_text(OPENAI)
    (tmp_path / "root").mkdir()
    (tmp_path / "root/link.py").symlink_to("../outside")
    assert scan_secrets(tmp_path / "root", ["link.py"]) == ([], [])


def test_a_short_secret_is_not_shown_at_all():
    assert redact("hunter2") == "…"
    assert redact(OPENAI) == "sk-p…"


def test_a_match_at_the_end_of_a_block_is_judged_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("fairway.security.secrets.LARGEST_FILE", 64)
    monkeypatch.setattr("fairway.security.secrets._BLOCK", 100)
    monkeypatch.setattr("fairway.security.secrets._OVERLAP", 80)
    placeholder = b"sk-" + b"abcdefghijklmnopqr" + b"-placeholder"
    for before in range(60, 100):
        (tmp_path / "data.bin").write_bytes(b"." * (before - 1) + b" " + placeholder + b" " + b"." * 300)
        assert {finding.severity for finding in scan_secrets(tmp_path, ["data.bin"])[0]} == {Severity.LOW}
