"""Signatures and keys (SPEC E2, law 9)."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairway.errors import PermanentError, RefusedError, UserError
from fairway.release import trust
from fairway.release.trust import (
    RELEASE_PAYLOAD,
    SigningKey,
    local_key,
    pre_authentication_encoding,
    seal,
    sign,
    trusted_keys,
    unseal,
    verify,
    verify_signature,
)
from fairway.release.values import Manifest

MakeManifest = Callable[..., Manifest]


def test_the_encoding_is_the_one_of_the_dsse_specification() -> None:
    # protocol.md, "Test vectors"; lengths count bytes, not characters.
    encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pre_authentication_encoding("é", b"") == b"DSSEv1 2 \xc3\xa9 0 "


def test_ed25519_gives_the_signatures_of_rfc_8032() -> None:
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    key = SigningKey(seed)
    assert key.public.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert key.sign(b"").hex() == (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    )


def test_an_envelope_is_the_same_bytes_on_every_machine(key: SigningKey) -> None:
    assert key.key_id == "sha256:56475aa75463474c0285df5dbf2bcab73da651358839e9b77481b2eab107708c"
    envelope = json.loads(seal(b"{}", RELEASE_PAYLOAD, key))
    assert envelope["payload"] == "e30="
    # Made independently: printf 'DSSEv1 36 application/vnd.fairway.release+json 2 {}' signed by openssl pkeyutl.
    assert envelope["signatures"][0]["sig"] == (
        "QGF6IkTVhlWP1nCdzL3ETrWSeqxUCkzDBrvf1MwsudS7W2OOM8zTk6wnse50URuKa7mwEk/QfsGIA4BB6LZ+DQ=="
    )


def test_a_signed_manifest_is_read_back_equal(make_manifest: MakeManifest, key: SigningKey) -> None:
    manifest = make_manifest()
    assert verify(sign(manifest, key), {key.key_id: key.public}) == manifest


def refusal(envelope: str, trusted: dict[str, bytes]) -> str:
    with pytest.raises(RefusedError) as caught:
        verify(envelope, trusted)
    return caught.value.code


def test_each_way_of_not_being_signed_has_its_own_code(make_manifest: MakeManifest, key: SigningKey) -> None:
    trusted = {key.key_id: key.public}
    stranger = SigningKey(b"\x01" * 32)
    wire = json.loads(sign(make_manifest(), key))
    other = json.loads(sign(make_manifest(release_version="6.6.6"), key))
    assert refusal(json.dumps(wire | {"signatures": []}), trusted) == "unsigned"
    assert refusal(json.dumps(wire | {"payload": other["payload"]}), trusted) == "bad_signature"
    assert refusal(sign(make_manifest(), stranger), trusted) == "unknown_signer"
    assert refusal(json.dumps(wire | {"payloadType": "text/plain"}), trusted) == "wrong_payload_type"
    assert refusal(seal(b"{}", RELEASE_PAYLOAD, key), trusted) == "malformed_payload"
    assert refusal("{}", trusted) == refusal("[]", trusted) == refusal("not json", trusted) == "malformed_envelope"
    assert refusal(sign(make_manifest(), key), {}) == "unknown_signer"


def test_a_stranger_using_a_trusted_key_id_is_refused(make_manifest: MakeManifest, key: SigningKey) -> None:
    wire = json.loads(sign(make_manifest(), SigningKey(b"\x01" * 32)))
    wire["signatures"][0]["keyid"] = key.key_id
    assert refusal(json.dumps(wire), {key.key_id: key.public}) == "bad_signature"


def test_a_second_signature_by_a_stranger_does_not_void_a_trusted_one(
    make_manifest: MakeManifest, key: SigningKey
) -> None:
    wire = json.loads(sign(make_manifest(), key))
    wire["signatures"] += json.loads(sign(make_manifest(), SigningKey(b"\x01" * 32)))["signatures"]
    assert verify(json.dumps(wire), {key.key_id: key.public}) == make_manifest()


def test_a_payload_with_unknown_or_duplicate_keys_is_refused_although_signed(
    make_manifest: MakeManifest, key: SigningKey
) -> None:
    payload = json.loads(base64.b64decode(json.loads(sign(make_manifest(), key))["payload"]))
    extra = json.dumps(payload | {"surprise": 1}).encode()
    assert refusal(seal(extra, RELEASE_PAYLOAD, key), {key.key_id: key.public}) == "malformed_payload"
    spaced = json.dumps(payload).encode()
    assert refusal(seal(spaced, RELEASE_PAYLOAD, key), {key.key_id: key.public}) == "malformed_payload"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(data=st.data())
def test_no_flipped_bit_of_payload_or_signature_passes(
    data: st.DataObject, make_manifest: MakeManifest, key: SigningKey
) -> None:
    wire = json.loads(sign(make_manifest(), key))
    where = data.draw(st.sampled_from(["payload", "sig"]))
    raw = bytearray(base64.b64decode(wire["payload"] if where == "payload" else wire["signatures"][0]["sig"]))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    text = base64.b64encode(bytes(raw)).decode()
    if where == "payload":
        wire["payload"] = text
    else:
        wire["signatures"][0]["sig"] = text
    with pytest.raises(RefusedError) as caught:
        unseal(json.dumps(wire), RELEASE_PAYLOAD, {key.key_id: key.public})
    assert caught.value.code == "bad_signature"


def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    key = local_key(folder)
    assert local_key(folder) == key
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "local.key").stat().st_mode) == 0o600
    assert sorted(path.name for path in folder.iterdir()) == ["local.key", "local.pub"]
    assert trusted_keys(folder) == {key.key_id: key.public}
    assert key.seed.hex() not in repr(key)


def test_processes_that_race_for_the_key_get_the_same_one(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; from fairway.release.trust import local_key; sys.stdin.readline(); "
        "print(local_key(pathlib.Path(sys.argv[1])).key_id)"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "keys")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(4)
    ]
    answers = [racer.communicate(b"go\n", timeout=60)[0] for racer in racers]
    assert len(set(answers)) == 1
    assert answers[0].startswith(b"sha256:")


def test_who_comes_second_leaves_the_key_of_the_first(tmp_path: Path) -> None:
    first = local_key(tmp_path)
    trust._create_key(tmp_path / "local.key")  # looked before the first had made it, writes after
    assert local_key(tmp_path) == first
    assert (tmp_path / "local.pub").read_text().strip() == first.public.hex()


def test_a_key_others_can_read_is_refused(tmp_path: Path) -> None:
    local_key(tmp_path)
    (tmp_path / "local.key").chmod(0o644)
    with pytest.raises(UserError) as caught:
        local_key(tmp_path)
    assert caught.value.code == "key_permissions"


@pytest.mark.parametrize("content", ["", "zz", "ab" * 31])
def test_a_damaged_key_is_named(tmp_path: Path, content: str) -> None:
    local_key(tmp_path)
    (tmp_path / "local.key").write_text(content)
    with pytest.raises(PermanentError) as caught:
        local_key(tmp_path)
    assert caught.value.code == "bad_key"


def test_a_colleague_is_trusted_by_their_public_key(tmp_path: Path, make_manifest: MakeManifest) -> None:
    colleague = SigningKey(os.urandom(32))
    envelope = sign(make_manifest(), colleague)
    local_key(tmp_path)
    assert refusal(envelope, trusted_keys(tmp_path)) == "unknown_signer"
    (tmp_path / "trusted").mkdir()
    (tmp_path / "trusted" / "grace.pub").write_text(colleague.public.hex() + "\n")
    assert verify(envelope, trusted_keys(tmp_path)) == make_manifest()


def test_public_halves_verify_only_their_own(key: SigningKey) -> None:
    assert verify_signature(key.public, key.sign(b"x"), b"x")
    assert not verify_signature(key.public, key.sign(b"x"), b"y")
    assert not verify_signature(b"short", key.sign(b"x"), b"x")


def test_changing_a_manifest_changes_its_envelope(make_manifest: MakeManifest, key: SigningKey) -> None:
    assert sign(make_manifest(), key) != sign(replace(make_manifest(), publisher="eve"), key)
