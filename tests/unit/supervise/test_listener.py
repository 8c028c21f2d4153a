"""The supervisor's hold on the gateway's listening socket."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from fairway.gateway.handover import Handover
from fairway.supervise.listener import Listener


async def test_an_adopted_gateways_socket_outlives_the_gateway(tmp_path: Path) -> None:
    theirs = socket.create_server(("127.0.0.1", 0))
    port = theirs.getsockname()[1]
    handover = Handover(theirs, tmp_path / "run" / "listener.sock")
    handover.open()
    listener = Listener("127.0.0.1", port)
    assert await asyncio.to_thread(listener.share, tmp_path / "run" / "listener.sock")
    handover.close()
    theirs.close()
    with socket.create_connection(("127.0.0.1", port), timeout=2):
        pass  # waits in the backlog for the next gateway
    assert listener.port == port
    listener.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=2)


def test_a_gateway_that_hands_nothing_over_leaves_the_port_to_be_bound_later(tmp_path: Path) -> None:
    listener = Listener("127.0.0.1", 0)
    assert not listener.share(tmp_path / "nobody.sock")
    listener.open()
    listener.close()
