"""How a gateway is run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fairway.gateway.listening import Listening
from fairway.gateway.succession import Succession
from fairway.gateway.table_file import read_wire
from fairway.gateway.tls import TlsFiles
from fairway.gateway.workforce import SILENT_SECONDS
from fairway.state_dir import StateDir
from fairway.traffic.table import RouteTable


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """How a gateway is run.

    Attributes:
        state: Where its files are.
        host, port: Where it listens; port 0 takes a free one. Not used with ``fd``.
        fd: Inherited listening socket.
        admin_port: TCP port for people and Prometheus on 127.0.0.1; ``None``: only the unix socket.
        workers: Processes that serve.
        table_file: A table to begin with; without a controller it is read again when it changes.
        read_table: How that file is read; may raise what is wrong with it.
        controller_socket: Where tables are pulled from; ``None``: only ``table_file`` and what is on disk.
        drain_seconds: How long running requests may take after SIGTERM.
        silent_seconds: A worker that says nothing for so long is killed and replaced.
        access_log: File that gets a line for every request, ``-`` for standard output; empty: none. It is opened anew
            on SIGUSR1, and by itself when it was moved away.
        listening: What comes before a connection's first request, and whose word about clients counts.
        tls: Certificate and key; ``None``: clients speak plain HTTP.
        succession: What it is given by the gateway it takes over from; ``None``: it begins by itself.
    """

    state: StateDir
    host: str = "127.0.0.1"
    port: int = 8700
    fd: int | None = None
    admin_port: int | None = None
    workers: int = 2
    table_file: Path | None = None
    read_table: Callable[[Path], RouteTable] = read_wire
    controller_socket: Path | None = None
    drain_seconds: float = 30.0
    silent_seconds: float = SILENT_SECONDS
    access_log: str = ""
    listening: Listening = field(default_factory=Listening)
    tls: TlsFiles | None = None
    succession: Succession | None = None
