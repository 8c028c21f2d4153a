"""Messages between the gateway's parent and its workers: JSON with a length in front, over a socket pair."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any

_LENGTH = struct.Struct(">I")
MAX_MESSAGE = 256 << 20  # bytes
MAX_UNSENT = 64 << 20
"""Bytes waiting for a parent that does not read; beyond, messages are dropped (and show as a gap)."""


async def receive(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """The next message; ``None`` when the other side is gone."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if length > MAX_MESSAGE:
            return None
        message = json.loads(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, OSError):
        return None
    assert isinstance(message, dict)
    return message


def send(writer: asyncio.StreamWriter, message: dict[str, Any]) -> bool:
    """Send without waiting; ``False`` when it was dropped."""
    transport = writer.transport
    if transport.is_closing() or transport.get_write_buffer_size() > MAX_UNSENT:
        return False
    payload = json.dumps(message, separators=(",", ":")).encode()
    writer.write(_LENGTH.pack(len(payload)) + payload)
    return True
