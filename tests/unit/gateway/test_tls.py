"""A certificate is proved to serve before it is put in force, and one that does not leaves the old one there."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from fairway.gateway.tls import KeyPair, TlsError, TlsFiles, _handshake, inspect, read_pair, server_context
from fairway.gateway.tls_files import TlsKeeper
from fairway.testing.certificates import key_pair, trusting, written

PAIR, OTHER = key_pair(), key_pair("other.example")


def encrypted(pair: KeyPair) -> bytes:
    key = serialization.load_pem_private_key(pair.key, None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


def test_a_good_pair_says_whom_it_is_for_and_until_when() -> None:
    found = inspect(key_pair("api.example", ends=timedelta(days=30)))
    assert found.names[:2] == ("localhost", "api.example")
    assert found.not_after == pytest.approx(time.time() + 30 * 86_400, abs=60)


@pytest.mark.parametrize(
    ("make", "part", "said"),
    [
        (lambda: KeyPair(certificate=PAIR.certificate, key=OTHER.key), "key", "not that of the certificate"),
        (lambda: key_pair(begins=timedelta(days=-2), ends=timedelta(hours=-1)), "certificate", "has expired"),
        (lambda: key_pair(begins=timedelta(hours=1)), "certificate", "not valid yet"),
        (lambda: key_pair(for_servers=False), "certificate", "not one for servers"),
        (lambda: KeyPair(certificate=PAIR.certificate, key=encrypted(PAIR)), "key", "is encrypted"),
        (lambda: KeyPair(certificate=b"nonsense", key=PAIR.key), "certificate", "not usable"),
        (lambda: KeyPair(certificate=PAIR.certificate, key=b""), "key", "not usable"),
        (lambda: KeyPair(certificate=b"", key=b""), "certificate", "not usable"),
        (lambda: KeyPair(certificate=PAIR.certificate[:200], key=PAIR.key), "certificate", "not usable"),
    ],
    ids=["mismatch", "expired", "not yet", "client only", "encrypted", "nonsense", "no key", "empty", "cut off"],
)
def test_a_pair_that_does_not_serve_is_refused_and_says_which_file_to_change(
    make: Callable[[], KeyPair], part: str, said: str
) -> None:
    with pytest.raises(TlsError, match=said) as caught:
        inspect(make())
    assert caught.value.part == part
    assert caught.value.hint
    assert caught.value.code == "tls"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    files = written(PAIR, tmp_path)
    files.key.unlink()
    with pytest.raises(TlsError, match=r"tls\.key cannot be read: No such file") as caught:
        read_pair(files)
    assert caught.value.part == "key"
    files.certificate.unlink()
    files.certificate.mkdir()
    with pytest.raises(TlsError, match=r"tls\.crt cannot be read") as caught:
        read_pair(files)
    assert caught.value.part == "certificate"


def test_neither_the_pair_nor_its_fingerprint_shows_the_key() -> None:
    assert "PRIVATE" not in repr(PAIR)
    assert PAIR.fingerprint != KeyPair(certificate=PAIR.certificate, key=OTHER.key).fingerprint
    assert KeyPair.from_wire(PAIR.to_wire()) == PAIR


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_spoken_and_only_http_1_1_is_offered(version: ssl.TLSVersion) -> None:
    client = trusting(PAIR)
    client.check_hostname = False
    client.minimum_version = client.maximum_version = version
    client.set_alpn_protocols(["h2", "http/1.1"])
    assert _handshake(client, server_context(PAIR))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    speaking = client.wrap_bio(to_client, to_server)
    answering = server_context(PAIR).wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (speaking, answering):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert speaking.selected_alpn_protocol() == "http/1.1"
    assert speaking.cipher()[0].startswith(("TLS_", "ECDHE-"))  # type: ignore[index]


@pytest.mark.filterwarnings("ignore:ssl:DeprecationWarning")
def test_older_versions_are_not_spoken() -> None:
    client = trusting(PAIR)
    client.check_hostname = False
    client.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    client.maximum_version = ssl.TLSVersion.TLSv1_1
    client.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        _handshake(client, server_context(PAIR))


def replaced(files: TlsFiles, pair: KeyPair) -> None:
    """As tools do it: written beside, then moved over."""
    for path, pem in ((files.certificate, pair.certificate), (files.key, pair.key)):
        fresh = path.with_suffix(".new")
        fresh.write_bytes(pem)
        os.replace(fresh, path)


def test_a_replaced_pair_is_in_force_once_it_has_settled(tmp_path: Path) -> None:
    files = written(PAIR, tmp_path)
    keeper = TlsKeeper(files)
    assert not keeper.look()
    replaced(files, OTHER)
    assert not keeper.look(), "it may still be half-way"
    assert keeper.look()
    assert keeper.pair == OTHER
    assert "other.example" in keeper.certificate.names
    assert not keeper.look()
    assert keeper.reloads == {"ok": 1, "failed": 0}


def test_a_broken_pair_leaves_the_old_one_in_force_and_says_so_until_it_is_mended(tmp_path: Path) -> None:
    files = written(PAIR, tmp_path)
    keeper = TlsKeeper(files)
    files.key.write_bytes(OTHER.key)
    keeper.look()
    assert not keeper.look()
    assert keeper.pair == PAIR
    assert keeper.error is not None
    assert "not that of the certificate" in keeper.error
    assert {name: value for name, _, _, _, value in keeper.gauges()}["fairway_gateway_tls_stale"] == 1
    assert not keeper.look(), "the same mistake is not told again every second"
    assert keeper.reloads["failed"] == 1
    files.certificate.write_bytes(OTHER.certificate)
    keeper.look()
    assert keeper.look()
    assert keeper.pair == OTHER
    assert keeper.status()["error"] is None


def test_a_pair_that_is_deleted_stays_in_force(tmp_path: Path) -> None:
    files = written(PAIR, tmp_path)
    keeper = TlsKeeper(files)
    files.certificate.unlink()
    keeper.look()
    assert not keeper.look()
    assert keeper.pair == PAIR
    assert "cannot be read" in str(keeper.error)
    files.certificate.write_bytes(PAIR.certificate)
    assert not keeper.look(now=True), "it is the one in force"
    assert keeper.error is None


def test_a_link_that_is_switched_counts_as_a_change(tmp_path: Path) -> None:
    """As Kubernetes replaces the files of a secret: the folder behind them is another one."""
    for name, pair in (("one", PAIR), ("two", OTHER)):
        (tmp_path / name).mkdir()
        written(pair, tmp_path / name)
    (tmp_path / "data").symlink_to("one")
    keeper = TlsKeeper(TlsFiles(certificate=tmp_path / "data" / "tls.crt", key=tmp_path / "data" / "tls.key"))
    (tmp_path / "new").symlink_to("two")
    os.replace(tmp_path / "new", tmp_path / "data")
    keeper.look()
    assert keeper.look()
    assert keeper.pair == OTHER


def test_a_gateway_does_not_begin_with_a_pair_that_does_not_serve(tmp_path: Path) -> None:
    with pytest.raises(TlsError):
        TlsKeeper(written(KeyPair(certificate=PAIR.certificate, key=OTHER.key), tmp_path))
