r"""The PROXY protocol, versions 1 and 2: a balancer says in front of a connection's bytes who its client is.

Strict: a header is read whole and exactly as the specification has it, or the connection is closed. It is never looked
for where it was not agreed on, because a client could write one itself.

Source: "The PROXY protocol, Versions 1 & 2", Willy Tarreau, HAProxy, sections 2.1 and 2.2. Narrower than that: a
header is at most :data:`MOST_BYTES` long, and only streams are relayed.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
MOST_BYTES = 4096
"""A longer header is refused: what is known to be sent in one fits into a tenth of this."""

_V1_MOST = 107
_V2_HEAD = struct.Struct(">12sBBH")
_ADDRESSES = {1: 12, 2: 36, 3: 216}  # bytes by family: IPv4, IPv6, unix
_UNSPECIFIED, _STREAM = 0, 1
_LOCAL, _PROXY = 0x20, 0x21
_CRC32C, _TLV_HEAD = 0x03, 3
_line = re.compile(
    rb"PROXY (TCP[46]) ([0-9a-fA-F.:]{2,39}) ([0-9a-fA-F.:]{2,39}) ([0-9]{1,5}) ([0-9]{1,5})\r\n"
).fullmatch
_unknown = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?\r\n").fullmatch
_port = re.compile(rb"0|[1-9][0-9]{0,4}").fullmatch
_MOST_PORT = 65_535


class HeaderError(ValueError):
    """The connection does not begin with a PROXY header, or with a malformed one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relayed:
    """What a header says of the connection it stands in front of.

    Attributes:
        source: IP address and port of the client; ``None`` when the balancer speaks for itself (a health check) or
            does not know: then the connection's own address counts.
        destination: IP address and port the client connected to.
    """

    source: tuple[str, int] | None = None
    destination: tuple[str, int] | None = None


OF_ITSELF = Relayed()


def belonging(have: bytes, seen: bytes) -> tuple[int, bool]:
    """How many of the bytes ``seen`` after ``have`` belong to the header, and whether that makes it whole.

    Args:
        have: Of the header, so far.
        seen: What the connection says next; may run past the header.

    Raises:
        HeaderError: When no header begins so, or it is too long.
    """
    data = have + seen
    if SIGNATURE.startswith(data[: len(SIGNATURE)]):
        if len(data) < _V2_HEAD.size:
            return len(seen), False
        total = _V2_HEAD.size + int.from_bytes(data[14:16], "big")
        if total > MOST_BYTES:
            raise HeaderError(f"the header is longer than {MOST_BYTES} bytes")
        return min(len(data), total) - len(have), len(data) >= total
    if not b"PROXY ".startswith(data[:6]):
        raise HeaderError("the connection does not begin with a PROXY header")
    end = data.find(b"\n", 0, _V1_MOST) + 1
    if not end and len(data) >= _V1_MOST:
        raise HeaderError(f"the line is longer than {_V1_MOST} bytes")
    return (end - len(have), True) if end else (len(seen), False)


def read_header(data: bytes) -> Relayed:
    """What a whole header says.

    Raises:
        HeaderError: When it is malformed.
    """
    return _version_2(data) if data.startswith(SIGNATURE) else _version_1(data)


def _version_1(line: bytes) -> Relayed:
    match = _line(line)
    if match is None:
        if _unknown(line) is None:
            raise HeaderError("the line is malformed")
        return OF_ITSELF
    family, source, destination, source_port, destination_port = match.groups()
    six = family == b"TCP6"
    return Relayed(
        source=(_written_address(source, six=six), _written_port(source_port)),
        destination=(_written_address(destination, six=six), _written_port(destination_port)),
    )


def _written_address(text: bytes, *, six: bool) -> str:
    try:
        family = AF_INET6 if six else AF_INET
        return inet_ntop(family, inet_pton(family, text.decode()))
    except OSError as error:
        raise HeaderError("an address is malformed") from error


def _written_port(text: bytes) -> int:
    if _port(text) is None or int(text) > _MOST_PORT:
        raise HeaderError("a port is malformed")
    return int(text)


def _version_2(data: bytes) -> Relayed:
    if len(data) < _V2_HEAD.size:
        raise HeaderError("the header is cut off")
    _, command, kind, length = _V2_HEAD.unpack_from(data)
    if len(data) != _V2_HEAD.size + length:
        raise HeaderError("the header is not as long as it says")
    if command not in (_LOCAL, _PROXY):
        raise HeaderError("the header's version or command is unknown")
    family, transport = kind >> 4, kind & 15
    if command == _LOCAL:
        return OF_ITSELF  # its addresses "must be ignored", whatever they are
    if family == _UNSPECIFIED and transport == _UNSPECIFIED:
        _check_additions(data, _V2_HEAD.size)
        return OF_ITSELF
    size = _ADDRESSES.get(family)
    if size is None or transport != _STREAM:
        raise HeaderError("the header relays something else than a stream")
    if length < size:
        raise HeaderError("the header is too short for its addresses")
    _check_additions(data, _V2_HEAD.size + size)
    return _packed_addresses(data[_V2_HEAD.size : _V2_HEAD.size + size], family)


def _packed_addresses(packed: bytes, family: int) -> Relayed:
    if family == 3:  # a unix socket's client has no address
        return OF_ITSELF
    wide, kind = (4, AF_INET) if family == 1 else (16, AF_INET6)
    source, destination = (inet_ntop(kind, packed[at : at + wide]) for at in (0, wide))
    ports = struct.unpack_from(">HH", packed, 2 * wide)
    return Relayed(source=(source, ports[0]), destination=(destination, ports[1]))


def _check_additions(data: bytes, at: int) -> None:
    """What follows the addresses is a list of type, length and value; a checksum in it has to be right."""
    while at < len(data):
        if len(data) - at < _TLV_HEAD:
            raise HeaderError("an addition is cut off")
        end = at + _TLV_HEAD + int.from_bytes(data[at + 1 : at + 3], "big")
        if end > len(data):
            raise HeaderError("an addition is longer than the header")
        if data[at] == _CRC32C:
            value = at + _TLV_HEAD
            zeroed = data[:value] + bytes(end - value) + data[end:]
            if end - value != 4 or int.from_bytes(data[value:end], "big") != crc32c(zeroed):
                raise HeaderError("the checksum is wrong")
        at = end


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of a few bytes.

    Source: RFC 3720, appendix B.4.
    """
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
