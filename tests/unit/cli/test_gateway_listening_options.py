"""The options of ``fairway gateway serve`` about how it listens."""

from __future__ import annotations

import pytest

from fairway.cli.gateway.listening import listening_of, tls_of, url_of
from fairway.errors import UserError


def test_certificate_and_key_go_together() -> None:
    assert tls_of(None, None) is None
    files = tls_of("tls.crt", "tls.key")
    assert files is not None
    assert files.certificate.is_absolute(), "a restart may begin elsewhere"
    for certificate, key, missing in (("a", None, "--tls-key"), (None, "a", "--tls-certificate")):
        with pytest.raises(UserError, match=f"{missing} is missing"):
            tls_of(certificate, key)


def test_what_is_no_network_is_told() -> None:
    assert listening_of(("10.0.0.0/8",), ("::1",)).proxy_protocol == ("10.0.0.0/8",)
    for given in ((("10.0.0.1/8",), ()), ((), ("everybody",))):
        with pytest.raises(UserError) as caught:
            listening_of(*given)
        assert caught.value.code == "network"


@pytest.mark.parametrize(
    ("host", "secure", "url"),
    [("127.0.0.1", False, "http://127.0.0.1:80"), ("::1", True, "https://[::1]:80"), ("[::]", False, "http://[::]:80")],
)
def test_people_are_told_where_to_call(host: str, secure: bool, url: str) -> None:
    assert url_of(host, 80, secure=secure) == url
