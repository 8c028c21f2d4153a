"""PROXY headers are read exactly as the specification has them, and never past their end."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.gateway.forwarding import plain_address
from fairway.gateway.proxy_protocol import (
    MOST_BYTES,
    OF_ITSELF,
    SIGNATURE,
    HeaderError,
    Relayed,
    belonging,
    crc32c,
    read_header,
)


def v2(command: int, kind: int, payload: bytes) -> bytes:
    return SIGNATURE + struct.pack(">BBH", command, kind, len(payload)) + payload


FOUR = bytes([192, 0, 2, 1, 198, 51, 100, 2]) + struct.pack(">HH", 51234, 443)
SIX = bytes.fromhex("20010db8" + "00" * 11 + "01") + bytes.fromhex("20010db8" + "00" * 11 + "02") + FOUR[8:]
UNIX = b"/a".ljust(108, b"\0") + b"/b".ljust(108, b"\0")
OF_FOUR = Relayed(source=("192.0.2.1", 51234), destination=("198.51.100.2", 443))
OF_SIX = Relayed(source=("2001:db8::1", 51234), destination=("2001:db8::2", 443))


@pytest.mark.parametrize(
    ("line", "relayed"),
    [
        # of the specification, section 2.1
        (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
         Relayed(source=("255.255.255.255", 65535), destination=("255.255.255.255", 65535))),
        (b"PROXY TCP6 ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None),
        (b"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
         Relayed(source=("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535),
                 destination=("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535))),
        (b"PROXY UNKNOWN\r\n", OF_ITSELF),
        (b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535"
         b"\r\n", OF_ITSELF),
        (b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
         Relayed(source=("192.168.0.1", 56324), destination=("192.168.0.11", 443))),
        (b"PROXY TCP6 2001:DB8::1 2001:db8::2 0 443\r\n",
         Relayed(source=("2001:db8::1", 0), destination=("2001:db8::2", 443))),
    ],
)  # fmt: skip
def test_the_lines_of_the_specification_are_read(line: bytes, relayed: Relayed | None) -> None:
    if relayed is None:
        with pytest.raises(HeaderError):
            read_header(line)
    else:
        assert read_header(line) == relayed


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\n", b"PROXY TCP4  192.168.0.1 192.168.0.11 56324 443\r\n",
        b"PROXY TCP4 192.168.0.01 192.168.0.11 56324 443\r\n", b"PROXY TCP4 192.168.0.256 192.168.0.11 56324 443\r\n",
        b"PROXY TCP4 192.168.0.1 192.168.0.11 056324 443\r\n", b"PROXY TCP4 192.168.0.1 192.168.0.11 65536 443\r\n",
        b"PROXY TCP4 192.168.0.1 192.168.0.11 00 443\r\n", b"PROXY TCP4 192.168.0.1 192.168.0.11 -1 443\r\n",
        b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", b"PROXY TCP6 192.168.0.1 192.168.0.11 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0 2001:db8::2 1 2\r\n", b"PROXY TCP6 2001:::1 2001:db8::2 1 2\r\n",
        b"PROXY UDP4 192.168.0.1 192.168.0.11 56324 443\r\n", b"PROXY TCP4 192.168.0.1 192.168.0.11 56324\r\n",
        b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443 \r\n", b"PROXY UNKNOWNX\r\n", b"PROXY\r\n",
        b"proxy TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", b"PROXY unknown\r\n",
        b"PROXY TCP4 192.168.0.1\t192.168.0.11 56324 443\r\n", b"PROXY TCP4 192.168.0.1 192.168.0.11 5 4\r\r\n",
    ],
)  # fmt: skip
def test_a_malformed_line_is_refused(line: bytes) -> None:
    with pytest.raises(HeaderError):
        read_header(line)


@pytest.mark.parametrize(
    ("header", "relayed"),
    [
        (v2(0x21, 0x11, FOUR), OF_FOUR),
        (v2(0x21, 0x21, SIX), OF_SIX),
        (v2(0x21, 0x31, UNIX), OF_ITSELF),
        (v2(0x20, 0x00, b""), OF_ITSELF),
        (v2(0x20, 0x11, FOUR), OF_ITSELF),
        (v2(0x20, 0x11, b"\0\0"), OF_ITSELF),
        (v2(0x21, 0x00, b""), OF_ITSELF),
        (v2(0x21, 0x11, FOUR + b"\x04\0\x03abc" + b"\x01\0\x08http/1.1"), OF_FOUR),
    ],
    ids=["ipv4", "ipv6", "unix", "local", "local with addresses", "local with junk", "unspecified", "additions"],
)
def test_a_header_of_version_2_is_read(header: bytes, relayed: Relayed) -> None:
    assert read_header(header) == relayed


@pytest.mark.parametrize(
    "header",
    [
        v2(0x11, 0x11, FOUR), v2(0x31, 0x11, FOUR), v2(0x22, 0x11, FOUR), v2(0x2F, 0x11, FOUR),
        v2(0x21, 0x12, FOUR), v2(0x21, 0x10, FOUR), v2(0x21, 0x41, FOUR), v2(0x21, 0x01, FOUR), v2(0x21, 0x13, FOUR),
        v2(0x21, 0x11, FOUR[:-1]), v2(0x21, 0x21, FOUR), v2(0x21, 0x31, UNIX[:-1]), v2(0x21, 0x11, FOUR) + b"x",
        v2(0x21, 0x11, FOUR)[:-1], v2(0x21, 0x11, FOUR)[:15],
        v2(0x21, 0x11, FOUR + b"\x04"), v2(0x21, 0x11, FOUR + b"\x04\0\x04abc"),
        v2(0x21, 0x11, FOUR + b"\x03\0\x04\0\0\0\0"), v2(0x21, 0x11, FOUR + b"\x03\0\x00"),
    ],
)  # fmt: skip
def test_a_malformed_header_of_version_2_is_refused(header: bytes) -> None:
    with pytest.raises(HeaderError):
        read_header(header)


def test_a_checksum_is_held_against_the_header() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    blank = v2(0x21, 0x11, FOUR + b"\x03\0\x04\0\0\0\0")
    good = blank[:-4] + crc32c(blank).to_bytes(4, "big")
    assert read_header(good) == OF_FOUR
    additions = 16 + len(FOUR)
    for place in (*range(16, additions), *range(additions + 3, len(good))):
        with pytest.raises(HeaderError):
            read_header(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])


HEADERS = st.sampled_from(
    [
        b"PROXY TCP4 192.0.2.1 198.51.100.2 51234 443\r\n", b"PROXY UNKNOWN\r\n",
        b"PROXY TCP6 2001:db8::1 2001:db8::2 51234 443\r\n",
        v2(0x21, 0x11, FOUR), v2(0x21, 0x21, SIX), v2(0x20, 0, b""), v2(0x21, 0x11, FOUR + b"\x04\0\x03abc"),
    ]
)  # fmt: skip


@given(header=HEADERS, after=st.binary(max_size=300), cuts=st.lists(st.integers(1, 40), max_size=12))
def test_however_a_header_is_cut_what_follows_it_is_left_alone(header: bytes, after: bytes, cuts: list[int]) -> None:
    stream, have, whole = header + after, b"", False
    for cut in [*cuts, len(stream)]:
        seen = stream[len(have) : len(have) + cut]
        belongs, whole = belonging(have, seen)
        have += seen[:belongs]
        if whole:
            break
    assert whole
    assert have == header
    read_header(have)


@given(data=st.binary(max_size=400))
def test_whatever_comes_is_a_header_or_refused_and_never_longer_than_the_limit(data: bytes) -> None:
    for stream in (data, b"PROXY " + data, SIGNATURE + data):
        try:
            belongs, whole = belonging(b"", stream)
            assert 0 <= belongs <= min(len(stream), MOST_BYTES)
            if whole:
                read_header(stream[:belongs])
        except HeaderError:
            continue


@given(
    source=st.ip_addresses(), destination=st.ip_addresses(), ports=st.tuples(*[st.integers(0, 65535)] * 2),
    additions=st.lists(st.tuples(st.integers(4, 255), st.binary(max_size=20)), max_size=4),
)  # fmt: skip
def test_what_a_balancer_writes_is_what_is_read(source, destination, ports, additions) -> None:  # type: ignore[no-untyped-def]
    tlvs = b"".join(bytes([kind]) + struct.pack(">H", len(value)) + value for kind, value in additions)
    same = source.version == destination.version
    if same:
        kind = 0x11 if source.version == 4 else 0x21
        read = read_header(v2(0x21, kind, source.packed + destination.packed + struct.pack(">HH", *ports) + tlvs))
        assert read.source is not None
        assert read.destination is not None
        assert (ip_address(read.source[0]), read.source[1]) == (source, ports[0])
        assert (ip_address(read.destination[0]), read.destination[1]) == (destination, ports[1])
        line = f"PROXY TCP{source.version} {source} {destination} {ports[0]} {ports[1]}\r\n".encode()
        assert read_header(line) == read


def test_an_ipv4_client_told_as_ipv6_is_known_by_its_own_address() -> None:
    read = read_header(b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.2 1 2\r\n")
    assert read.source is not None
    assert plain_address(read.source[0]) == "192.0.2.1"


@pytest.mark.parametrize("data", [b"G", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b"PROXX", b"\r\n\r\n\0\r\nQUIT\r"])
def test_what_is_no_header_is_refused_at_its_first_wrong_byte(data: bytes) -> None:
    with pytest.raises(HeaderError):
        belonging(b"", data)


def test_a_header_that_does_not_end_is_refused() -> None:
    with pytest.raises(HeaderError):
        belonging(b"", b"PROXY UNKNOWN " + b"x" * 94)
    with pytest.raises(HeaderError):
        belonging(b"", SIGNATURE + struct.pack(">BBH", 0x21, 0x11, MOST_BYTES))
    assert belonging(b"", b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n") == (107, True)
