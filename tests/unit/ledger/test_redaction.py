"""Law 11: secrets enter no ledger."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.canonical import canonical_json
from fairway.ledger.redaction import REDACTED, redact, redact_json, redact_text

SECRETS = {
    "openai": "sk-proj-" + "aB3" * 10,
    "github": "ghp_" + "aB3d" * 9,
    "github-fine": "github_pat_" + "aB3d" * 9,
    "gitlab": "glpat-" + "aB3d" * 5,
    "aws": "AKIA" + "ABCD" * 4,
    "google": "AIza" + "aB3d" * 9,
    "slack": "xoxb-1234567890-abcdef",
    "hugging-face": "hf_" + "aB3d" * 8,
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    "bearer": "Bearer abcdefghijklmnop",
    "url": "postgresql://ada:hunter22@db/prod",
    "assignment": "failed with password=hunter22222",
    "private key": "-----BEGIN PRIVATE KEY-----\nMIIEvQ\n-----END PRIVATE KEY-----",
}


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_a_secret_is_found_by_its_shape_wherever_it_stands(secret: str) -> None:
    for value in (secret, [secret], {"a": {"b": [f"before {secret} after"]}}):
        cleaned = json.dumps(redact(value))
        assert REDACTED in cleaned
        for piece in ("hunter22", "aB3daB3d", "ABCDABCD", "abcdefghijkl", "MIIEvQ", "eyJzdWIi", "abcdef"):
            assert piece not in cleaned
    assert redact_json(canonical_json({"x": secret})) == canonical_json(redact({"x": secret}))


@pytest.mark.parametrize(
    "key",
    ["token", "api_key", "apiKey", "API-KEY", "dbPassword", "db.password", "client_secret", "private_key",
     "Authorization", "aws_secret_access_key", "passphrase", "credentials"],
)  # fmt: skip
def test_a_secret_is_found_by_the_name_of_its_key(key: str) -> None:
    assert redact({key: "hunter2"}) == {key: REDACTED}
    assert redact({"deep": [{key: {"inner": "hunter2"}}]}) == {"deep": [{key: {"inner": REDACTED}}]}
    assert redact_json(canonical_json({key: "hunter2"})) == canonical_json({key: REDACTED})


@pytest.mark.parametrize(
    "value",
    [
        {"max_tokens": 1024, "tokens_in": "12", "token": 5, "token_count": "7"},
        {"api_key": "env:OPENAI_API_KEY", "secret": "vault:kv/app#key", "password": ""},
        {"secrets": ["OPENAI_API_KEY"]},
        {"digest": "sha256:" + "ab" * 32, "commit": "c0ffee" * 6},
        {"tools": ["reset_password", "issue_token"], "why": "the token budget was 4000"},
        {"reason": "password: see the vault"},
        None, 1.5, True, "plain",
    ],
)  # fmt: skip
def test_what_is_no_secret_stays(value: Any) -> None:
    assert redact(value) == value
    content = canonical_json(value)
    assert redact_json(content) is content


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**50), 2**50) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@given(json_values, st.sampled_from(list(SECRETS.values())))
def test_redaction_is_final_and_never_leaves_a_planted_secret(value: Any, secret: str) -> None:
    planted = {"value": value, "note": f"x {secret} y"}
    once = redact(planted)
    assert redact(once) == once
    assert secret not in json.dumps(once, ensure_ascii=False)


keys = st.sampled_from(["token", "dbPassword", "api_key", "API-KEY", "x.secret", "tokens", "max_tokens", "n", "note"])
texts = st.sampled_from(["", "env:NAME", "hunter2", "task-1", "http://127.0.0.1:80/x", *SECRETS.values()]) | st.text()


@given(
    st.recursive(
        texts | st.integers(0, 9) | st.none(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | st.text(max_size=5), inner, max_size=3),
        max_leaves=10,
    )
)
def test_the_fast_way_over_bytes_hides_what_the_slow_way_over_values_does(value: Any) -> None:
    assert redact_json(canonical_json(value)) == canonical_json(redact(value))


def test_a_snapshot_that_is_not_json_is_searched_as_text() -> None:
    assert SECRETS["openai"].encode() not in redact_json(b"not json " + SECRETS["openai"].encode())
    assert redact_text("nothing here") == "nothing here"
