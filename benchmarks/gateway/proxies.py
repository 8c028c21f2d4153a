"""The proxies under test, each splitting 90 to 10 between two arms on the proxy's core."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.gateway.peers import envoy_config, running_envoy
from benchmarks.gateway.rig import PROXY_CORE, Proxy, child_of, free_port, gateway, nginx, table, wait_for, worker_of
from fairway.traffic.endpoints import Health
from fairway.traffic.table import Limits, Role, RouteTable, Rule, RuleKind, Trip

FAIRWAY, NGINX, ENVOY, DIRECT = "fairway gateway", "nginx split_clients", "Envoy weighted_clusters", "direct"

_LOG = (
    'log_format line escape=json \'{"time":"$time_iso8601","request":"$request_id","method":"$request_method",'
    '"path":"$uri","status":$status,"arm":"$arm","seconds":$request_time,"upstream":"$upstream_response_time",'
    '"in":$request_length,"out":$bytes_sent,"conversation":"$http_x_conversation_id"}\';'
)


def nginx_http(port: int, first: int, second: int, *, log: Path | None, large: bool = False) -> str:
    """``split_clients``; with ``log`` also a rule on a header, limits, passive health and a JSON access log."""
    access = "access_log off;" if log is None else f"{_LOG} access_log {log} line buffer=64k flush=1s;"
    checked = "" if log is None else " max_fails=3 fail_timeout=1s"
    rule = "$split" if log is None else "$ruled"
    ruled = "" if log is None else "map $http_x_gray_tag $ruled { default $split; beta candidate; }"
    limit = "" if log is None else "limit_conn_zone $server_name zone=all:1m;"
    limited = "" if log is None else "limit_conn all 1024;"
    buffers = "proxy_buffer_size 64k; proxy_buffers 8 64k; proxy_busy_buffers_size 128k;" if large else ""
    kept = "keepalive 1024; keepalive_requests 100000000;"
    return (
        f"{limit} {access} keepalive_requests 100000000; client_max_body_size 64m;"
        f"upstream stable {{ server 127.0.0.1:{first}{checked}; {kept} }}"
        f"upstream candidate {{ server 127.0.0.1:{second}{checked}; {kept} }}"
        f'split_clients "$http_x_conversation_id" $split {{ 10% candidate; * stable; }} {ruled}'
        f"map {rule} $arm {{ default {rule}; }}"
        f"server {{ listen 127.0.0.1:{port} backlog=4096; {limited} location / {{ proxy_pass http://$arm;"
        f" {buffers} proxy_buffering off; proxy_request_buffering off; client_body_buffer_size 256k;"
        ' proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header X-Forwarded-For $remote_addr; } }'
    )


@contextlib.contextmanager
def nginx_proxy(folder: Path, first: int, second: int, *, full: bool, large: bool = False) -> Iterator[Proxy]:
    port = free_port()
    log = folder / "nginx-access.log" if full else None
    name = f"nginx-{port}"
    with nginx(folder, name, nginx_http(port, first, second, log=log, large=large), PROXY_CORE) as master:
        wait_for(port)
        yield Proxy(name=NGINX, port=port, pid=child_of(master))


@contextlib.contextmanager
def envoy_proxy(folder: Path, first: int, second: int, *, full: bool) -> Iterator[Proxy]:
    port = free_port()
    config = envoy_config(port, first, second, log=folder / "envoy-access.log" if full else None)
    with running_envoy(folder, f"envoy-{port}", config, port) as pid:
        yield Proxy(name=ENVOY, port=port, pid=pid)


def full_table(first: int, second: int) -> RouteTable:
    """A table with all that a request can be held against: rules, thresholds, limits, health, a trip."""
    rules = (
        Rule(id="beta", kind=RuleKind.HEADER, name="x-gray-tag", values=("beta",), to=Role.CANDIDATE),
        Rule(id="calm", kind=RuleKind.HEADER, name="x-tenant-tier", values=("careful",), to=Role.STABLE),
    )
    return replace(
        table(first, second),
        rules=rules,
        theta={"latency_ms": {Role.STABLE: 1000.0, Role.CANDIDATE: 1000.0}},
        limits=Limits(arm_in_flight=1000, queue=100),
        health=Health(path="/healthz", interval=1.0, timeout=1.0),
        trip=Trip(max_excess_bad_units=100, window_seconds=60.0, min_units=50),
    )


@contextlib.contextmanager
def fairway_proxy(folder: Path, first: int, second: int, *, full: bool, workers: int = 1) -> Iterator[Proxy]:
    made = full_table(first, second) if full else table(first, second)
    log = ("--access-log", str(folder / f"fairway-access-{free_port()}.log")) if full else ()
    with table_proxy(folder, made, *log, workers=workers) as proxy:
        yield proxy


@contextlib.contextmanager
def table_proxy(folder: Path, made: RouteTable, *arguments: str, workers: int = 1) -> Iterator[Proxy]:
    """The gateway with this table."""
    root = folder / f"fairway-{free_port()}"
    root.mkdir()
    file = root / "table.json"
    file.write_text(json.dumps(made.to_wire()))
    with gateway(root, "--table", str(file), *arguments, workers=workers) as port:
        wait_for(port)
        yield Proxy(name=FAIRWAY, port=port, pid=worker_of(root), folder=root)
