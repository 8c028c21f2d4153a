"""A pass: good for one name, one route and a while, at gateways with the key, and for nothing else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.traffic.pin import Pin, PinSigner
from fairway.traffic.release_pass import Named, PassSigner, Refusal

KEY, ROUTE, UNTIL = b"k" * 32, "support/production", 2_000_000_000
PASSES = PassSigner(KEY, route=ROUTE)
NOW = 1_000_000_000.0
NAMES = st.text(st.characters(exclude_characters=";", exclude_categories=["Cc", "Zs", "Zl", "Zp"]), min_size=1)


def refusal(value: str, *, now: float = NOW, passes: PassSigner = PASSES) -> Refusal | None:
    return passes.read(value, now=now).refusal


@given(NAMES)
def test_a_pass_is_good_for_its_name_until_it_expires(name: str) -> None:
    value = PASSES.sign(name, expires=UNTIL)
    assert PASSES.read(value, now=NOW) == Named(name=name)
    assert PASSES.read(value, now=UNTIL - 1).refusal is None
    assert PASSES.read(value, now=UNTIL) == Named(name=name, refusal=Refusal.PASS_EXPIRED)


def test_a_pass_reads_as_one_line_that_names_its_release() -> None:
    assert re.fullmatch(r"1\.4\.0; pass=[A-Za-z0-9_-]{28}", PASSES.sign("1.4.0", expires=UNTIL))


@pytest.mark.parametrize(
    "value", ["1.4.0", "", ";", "1.4.0;", "1.4.0; pas=x", "pass=x", "1.4.0 pass=x", "1.4.0; x; pass=y"]
)
def test_a_name_alone_is_no_pass(value: str) -> None:
    assert refusal(value) is Refusal.PASS_MISSING


def test_a_pass_is_good_for_no_other_name_route_or_key() -> None:
    value = PASSES.sign("1.4.0", expires=UNTIL)
    assert refusal(value.replace("1.4.0", "1.4.1")) is Refusal.PASS_INVALID
    assert refusal(value.replace("1.4.0", "stable")) is Refusal.PASS_INVALID
    assert refusal(value, passes=PassSigner(KEY, route="support/staging")) is Refusal.PASS_INVALID
    assert refusal(value, passes=PassSigner(b"j" * 32, route=ROUTE)) is Refusal.PASS_INVALID


@given(st.integers(0, 27), st.sampled_from("ABCdef019-_"))
def test_a_pass_with_another_character_anywhere_is_no_pass(at: int, other: str) -> None:
    name, _, token = PASSES.sign("1.4.0", expires=UNTIL).partition("pass=")
    changed = token[:at] + other + token[at + 1 :]
    assert refusal(f"{name}pass={changed}") is (None if changed == token else Refusal.PASS_INVALID)


@given(st.text(max_size=60) | st.text(alphabet="ABCdef019-_=+/", min_size=26, max_size=30))
def test_any_other_token_is_no_pass_and_no_error(token: str) -> None:
    assert refusal(f"1.4.0; pass={token}") is Refusal.PASS_INVALID


def test_a_pin_is_no_pass_though_its_key_is_the_same() -> None:
    pin = PinSigner(KEY, route=ROUTE).sign(Pin(release=1, salt=2, hashed=True, expires=UNTIL, unit=3))
    assert refusal(f"1.4.0; pass={pin}") is Refusal.PASS_INVALID
    assert refusal(f"1.4.0; pass={pin[:28]}") is Refusal.PASS_INVALID


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16 bytes"):
        PassSigner(b"short", route=ROUTE)


@pytest.mark.parametrize("name", ["\udcff", "\N{SNOWMAN}"])
def test_a_name_that_no_bytes_spell_is_read_like_any_other(name: str) -> None:
    value = PASSES.sign("1.4.0", expires=UNTIL)
    assert refusal(value.replace("1.4.0", name)) is Refusal.PASS_INVALID
