"""The pin: stateless, signed, and worth nothing elsewhere."""

from __future__ import annotations

import base64
import hmac
import stat
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.traffic.pin import Pin, PinSigner, load_pin_key, release_tag

KEY = bytes(range(32))
PIN = Pin(release=release_tag("sha256:x"), salt=7, hashed=True, expires=1_000, unit=3)
SIGNER = PinSigner(KEY, route="support/production")


@given(st.builds(Pin, release=st.integers(0, 2**64 - 1), salt=st.integers(0, 2**32 - 1), hashed=st.booleans(),
                 expires=st.integers(1, 2**32 - 1), unit=st.integers(0, 2**32 - 1)))  # fmt: skip
def test_what_was_signed_is_read_back(pin: Pin) -> None:
    assert SIGNER.read(SIGNER.sign(pin), now=pin.expires - 1) == pin


@given(st.integers(0, 47), st.sampled_from("ABCxyz019-_"))
def test_a_changed_character_voids_it(place: int, char: str) -> None:
    token = SIGNER.sign(PIN)
    changed = token[:place] + char + token[place + 1 :]
    assert changed == token or SIGNER.read(changed, now=0) is None


def test_a_token_of_version_1_is_still_read_and_no_body_changes_its_version() -> None:
    body = struct.pack(">BBIQII", 1, 1, PIN.expires, PIN.release, PIN.salt, PIN.unit)
    mac = hmac.digest(KEY, b"support/production\0" + body, "sha256")[:14]
    assert SIGNER.read(base64.urlsafe_b64encode(body + mac).decode(), now=0) == PIN
    for version in (0, 2, 3, 255):
        assert SIGNER.read(base64.urlsafe_b64encode(bytes([version]) + body[1:] + mac).decode(), now=0) is None
    new = base64.urlsafe_b64decode(SIGNER.sign(PIN))
    assert SIGNER.read(base64.urlsafe_b64encode(b"\1" + new[1:]).decode(), now=0) is None


@given(st.integers(0, 2**32 - 1))
def test_a_pin_begun_for_many_units_is_the_pin_of_each(unit: int) -> None:
    token = SIGNER.sign_for(SIGNER.begin(PIN), unit.to_bytes(4, "big"))
    assert token.decode() == SIGNER.sign(replace(PIN, unit=unit))


@given(st.text(max_size=60))
def test_anything_else_is_no_pin(text: str) -> None:
    assert SIGNER.read(text, now=0) is None


def test_it_ends_at_its_expiry() -> None:
    token = SIGNER.sign(PIN)
    assert SIGNER.read(token, now=999.9) == PIN
    assert SIGNER.read(token, now=1_000) is None


@pytest.mark.parametrize(
    "other", [PinSigner(bytes(32), route="support/production"), PinSigner(KEY, route="support/staging")]
)
def test_another_key_or_route_does_not_accept_it(other: PinSigner) -> None:
    assert other.read(SIGNER.sign(PIN), now=0) is None


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        PinSigner(b"short", route="r")


def test_the_key_is_made_once_and_only_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "pin.key"
    key = load_pin_key(path)
    assert load_pin_key(path) == key
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [child.name for child in path.parent.iterdir()] == ["pin.key"]
