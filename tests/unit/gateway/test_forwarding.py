"""Whose word about a client counts: a trusted proxy's, and nobody else's."""

from __future__ import annotations

import pytest

from fairway.gateway.forwarding import Networks, Peer, forwarded_lines, peer_at, plain_address
from fairway.gateway.framing import forwarded_head, parse_request

PROXIES = Networks(["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"])


def sent(peer: Peer, *lines: str) -> list[str]:
    """Header lines the arm gets."""
    raw = "\r\n".join(["GET / HTTP/1.1", "Host: agent", *lines, "", ""]).encode()
    head = parse_request(raw, 65_536)
    assert head is not None
    extra = peer.lines if head.plain else forwarded_lines(head, peer)
    return forwarded_head(head, extra, trusted=peer.trusted).decode().split("\r\n")[2:-2]


FORGED = (
    "X-Forwarded-For: 1.1.1.1", "X-Forwarded-Proto: https", "X_Forwarded_For: 2.2.2.2", "x-forwarded_for: 3.3.3.3",
    "X-Real-IP: 4.4.4.4", "Forwarded: for=5.5.5.5", "X-Forwarded-Host: evil", "x_real_ip: 6.6.6.6",
)  # fmt: skip


def test_what_a_client_says_of_itself_is_replaced() -> None:
    client = peer_at("198.51.100.9", secure=False, proxies=PROXIES)
    assert sent(client, *FORGED) == ["x-forwarded-for: 198.51.100.9", "x-forwarded-proto: http"]
    assert sent(client, "Accept: */*") == ["Accept: */*", "x-forwarded-for: 198.51.100.9", "x-forwarded-proto: http"]


@pytest.mark.parametrize("line", FORGED)
def test_no_spelling_of_a_forged_line_reaches_the_arm(line: str) -> None:
    client = peer_at("198.51.100.9", secure=True, proxies=PROXIES)
    assert sent(client, line) == ["x-forwarded-for: 198.51.100.9", "x-forwarded-proto: https"]


def test_what_a_trusted_proxy_says_is_kept_and_its_address_appended() -> None:
    proxy = peer_at("10.1.2.3", secure=True, proxies=PROXIES)
    lines = (
        "X-Forwarded-For: 1.1.1.1, 2.2.2.2 ",
        "x-forwarded-for:3.3.3.3",
        "X-Forwarded-Proto: http",
        "X-Real-IP: 1.1.1.1",
    )
    assert sent(proxy, *lines) == [
        "X-Forwarded-Proto: http", "X-Real-IP: 1.1.1.1", "x-forwarded-for: 1.1.1.1, 2.2.2.2, 3.3.3.3, 10.1.2.3",
    ]  # fmt: skip
    assert sent(proxy) == ["x-forwarded-for: 10.1.2.3"], "it speaks for its client, and said nothing of https"
    assert sent(proxy, "X_Forwarded_Proto: https", "x-forwarded-for: ") == ["x-forwarded-for: 10.1.2.3"]


def test_a_header_nominated_as_hop_by_hop_does_not_take_ours_away() -> None:
    client = peer_at("198.51.100.9", secure=False, proxies=PROXIES)
    lines = sent(client, "Connection: x-forwarded-for, x-forwarded-proto", "X-Forwarded-For: 1.1.1.1")
    assert lines == ["x-forwarded-for: 198.51.100.9", "x-forwarded-proto: http"]


@pytest.mark.parametrize(
    ("address", "trusted"),
    [("10.255.0.1", True), ("11.0.0.1", False), ("192.0.2.7", True), ("192.0.2.8", False), ("2001:db8::9", True),
     ("2001:db9::9", False), ("::ffff:10.0.0.1", True), ("fe80::1%eth0", False), ("", False), ("nonsense", False)],
)  # fmt: skip
def test_trust_is_by_network_whichever_way_an_address_is_written(address: str, trusted: bool) -> None:
    for _ in range(2):  # the second answer is a remembered one
        assert peer_at(address, secure=False, proxies=PROXIES).trusted is trusted


def test_addresses_are_told_as_arms_know_them() -> None:
    assert plain_address("::ffff:192.0.2.1") == "192.0.2.1"
    assert plain_address("fe80::1%eth0") == "fe80::1"
    assert plain_address("2001:db8::1") == "2001:db8::1"
    assert peer_at("2001:db8::1", secure=False, proxies=Networks([])).lines.startswith(
        b"x-forwarded-for: 2001:db8::1\r\n"
    )


@pytest.mark.parametrize(
    "network",
    [
        "10.0.0.1/8",
        "10.0.0.0/33",
        "::/129",
        "10.0.0.0/-1",
        "10.0.0.0/+8",
        "10.0.0.0/",
        "10/8",
        "localhost",
        "",
    ],
)
def test_what_is_no_network_is_refused(network: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Networks([network])


def test_nobody_is_trusted_unless_said() -> None:
    assert not Networks([])
    assert "10.0.0.1" not in Networks([])


def test_addresses_seen_are_forgotten_rather_than_kept_for_ever() -> None:
    networks = Networks(["10.0.0.0/8"])
    for number in range(5000):
        assert f"10.0.{number >> 8}.{number & 255}" in networks
    assert len(networks._seen) <= 4096
