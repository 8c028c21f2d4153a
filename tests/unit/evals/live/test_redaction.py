"""What is personal or secret by its shape never stays; what only looks a little like it does."""

from __future__ import annotations

import json
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.evals.live.redaction import Redactor, Shape, luhn

SECRETS = {
    "CC": ["4111 1111 1111 1111", "4111-1111-1111-1111", "5500005555555559", "378282246310005", "4111.1111.1111.1111"],
    "IBAN": ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "NL91 ABNA 0417 1643 00"],
    "EMAIL": ["ada@example.org", "grace.h+x@mail.example.co.uk", "ada@müller.example"],
    "SSN": ["123-45-6789", "078 05 1120"],
    "PHONE": ["+49 170 1234567", "(555) 123-4567", "555-123-4567", "+1 (555) 123-4567", "0170/1234567"],
    "CREDENTIAL": [
        "sk-proj-abcdefghijklmnopqrst", "ghp_" + "a" * 36, "AKIAABCDEFGHIJKLMNOP", "xoxb-1234567890-abcdef",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcDEF123", "sk_live_abcdefghijklmnopqrst",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
    ],
}  # fmt: skip
ALL = [(name, secret) for name, secrets in SECRETS.items() for secret in secrets]


@pytest.mark.parametrize(("name", "secret"), ALL)
@pytest.mark.parametrize("around", ["{}", "It is {}, please.", "({})", "x={};", "12 {} 12/27", "\n{}\n", "say:{}"])
def test_each_shape_is_replaced_wherever_it_stands(name, secret, around):
    said = Redactor().text(around.format(secret))
    assert secret not in said
    assert re.search(r"\[[A-Z]+_REDACTED\]", said)
    digits = re.sub(r"\D", "", secret)
    if len(digits) >= 9:
        assert digits not in re.sub(r"\D", "", said)


@pytest.mark.parametrize(
    "said",
    [
        "my password is hunter22", "password: hunter22", "the API key = hunter22",
        "Authorization: Bearer hunter22hunter22",
        "https://ada:hunter22@example.org/x", '"token": "hunter22"', "pin is hunter22",
        "redis://:hunter22@cache:6379/0", "AWS_SECRET_ACCESS_KEY=hunter22", "db_password: hunter22",
        "clientSecret=hunter22", "MY.API_KEY = hunter22", 'password="secret of hunter22"', "the secret key: hunter22",
    ],
)  # fmt: skip
def test_what_is_called_a_secret_is_one(said):
    assert "hunter22" not in Redactor().text(said)


@pytest.mark.parametrize(
    "said",
    [
        "order 12345 of 2026-11-20 at 10:30 for 1,234.50 USD", "version 1.2.3, build 20261120", "A-1 and B-2",
        "max_tokens: 500", "shopping is fun", "the secretary is out",
        "please refund my order, thanks", "the total is 4111 1111", "call me later", "see page 12-34",
    ],
)  # fmt: skip
def test_what_is_neither_personal_nor_secret_stays(said):
    assert Redactor().text(said) == said


def test_characters_nobody_sees_and_digits_of_other_scripts_hide_nothing():
    card = "4111111111111111"
    assert "1111" not in Redactor().text("\u200b".join(card))
    assert "\uff11" not in Redactor().text("".join(chr(ord(char) + 0xFEE0) for char in card))


@pytest.mark.parametrize(
    "unseen", ["\x00", "\x08", "\u034f", "\u115f", "\u3164", "\ufe0f", "\uffa0", "\U000e0101", "\u2060"]
)
def test_whatever_is_shown_as_nothing_hides_nothing(unseen):
    parted = f"4111{unseen}1111{unseen}1111{unseen}1111, ada{unseen}@example{unseen}.org"
    assert Redactor().text(parted) == "[CC_REDACTED], [EMAIL_REDACTED]"


def test_json_is_redacted_by_value_and_by_telling_key():
    value = {
        "note": "ada@example.org", "card": 4111111111111111, "apiKey": "abc",
        "nested": [{"user_password": "x", "ok": True}],
        "ada@example.org": 1, "max_tokens": 5, "pin": 1234,
    }  # fmt: skip
    found = json.dumps(Redactor().value(value))
    for secret in ("ada@", "4111", "abc", '"x"', "1234"):
        assert secret not in found
    assert '"max_tokens": 5' in found
    assert '"ok": true' in found


def test_a_project_adds_shapes_of_its_own():
    own = Redactor(own=(Shape("CUSTOMER", re.compile(r"\bC-\d{6}\b")),))
    assert own.text("customer C-123456") == "customer [CUSTOMER_REDACTED]"


def test_the_check_digit_of_a_card_is_that_of_luhn():
    assert luhn([int(char) for char in "4111111111111111"])
    assert not luhn([int(char) for char in "4111111111111112"])
    assert not luhn([0] * 16)


@given(prefix=st.text(max_size=20), suffix=st.text(max_size=20), which=st.sampled_from(ALL))
def test_no_surroundings_let_a_secret_through_that_stands_by_itself(prefix, suffix, which):
    _, secret = which
    assert secret not in Redactor().text(f"{prefix} {secret} {suffix}")


@pytest.mark.parametrize(
    "text",
    ["1" * 64_000, "1 " * 32_000, "a@" * 32_000, "://a" * 16_000, "DE12 " * 12_000, "a." * 32_000, "api_" * 16_000],
)
def test_hostile_texts_take_no_longer_than_others(text):
    began = time.perf_counter()
    Redactor().text(text)
    assert time.perf_counter() - began < 20
