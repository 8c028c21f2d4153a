"""Copies for a shadow: what a slow one, and a fast one, do to the requests that are copied.

Every conversation is mirrored. Twice: as many requests as 16 connections can ask (what a proxy that waits for its
shadow cannot survive), and one connection, where a user's own time is seen.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

import httpx

from benchmarks.bench import Bench, Promise
from benchmarks.gateway.proxies import FAIRWAY, NGINX, nginx_http, table_proxy
from benchmarks.gateway.rig import (
    LOAD_CORE,
    LUA,
    PROXY_CORE,
    ROUNDS,
    SECONDS,
    Proxy,
    child_of,
    cpu_us,
    free_port,
    in_words,
    nginx,
    nginx_upstream,
    table,
    wait_for,
    wrk,
)
from benchmarks.gateway.streams import pacer
from fairway.state_dir import StateDir
from fairway.traffic.table import Arm, Role, RouteTable
from fairway.units import Digest, Parts

SLOW_SECONDS = 0.2
CONNECTIONS = (16, 1)
MAX_CHANGE = 0.05
NONE, SLOW, FAST = "no shadow", f"takes {SLOW_SECONDS * 1000:.0f} ms", "fast"

Figures = dict[str, float]


def mirrored(stable: int, shadow: int | None) -> RouteTable:
    """All conversations on stable, and copied to a shadow when there is one."""
    plain = table(stable, stable)
    arms = tuple(arm for arm in plain.arms if arm.role is Role.STABLE)
    if shadow is None:
        return replace(plain, arms=arms, split=Parts(0))
    copied = Arm(
        role=Role.SHADOW, release=Digest("sha256:" + "c" * 64), version="3", endpoints=(f"127.0.0.1:{shadow}",)
    )
    return replace(plain, arms=(*arms, copied), split=Parts(0), mirror=Parts(100_000))


def nginx_mirror(port: int, stable: int, shadow: int) -> str:
    """nginx's own ``mirror``."""
    kept = "keepalive 128; keepalive_requests 100000000;"
    return (
        "access_log off; keepalive_requests 100000000;"
        f"upstream stable {{ server 127.0.0.1:{stable}; {kept} }}"
        f"upstream shadow {{ server 127.0.0.1:{shadow}; {kept} }}"
        f"server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ mirror /copy; proxy_pass http://stable;"
        ' proxy_http_version 1.1; proxy_set_header Connection ""; }'
        " location = /copy { internal; proxy_pass http://shadow$request_uri;"
        ' proxy_http_version 1.1; proxy_set_header Connection ""; } }'
    )


def measured(script: Path, proxy: Proxy, connections: int) -> Figures:
    before = cpu_us(proxy.pid)
    result = wrk(script, proxy.port, SECONDS, connections=connections)
    return {**result, "cpu_us": (cpu_us(proxy.pid) - before) / max(1, result["requests"])}


def copies_of(proxy: Proxy) -> dict[str, float]:
    """What the gateway says became of the copies."""
    transport = httpx.HTTPTransport(uds=str(StateDir(proxy.folder / ".fairway").socket("gateway")))
    found: dict[str, float] = {}
    with httpx.Client(transport=transport) as client:
        for line in client.get("http://gateway/metrics").text.splitlines():
            if line.startswith("fairway_gateway_shadow_requests_total{"):
                result = line.partition('result="')[2].partition('"')[0]
                found[result] = found.get(result, 0) + float(line.rpartition(" ")[2])
    return found


def measure() -> Bench:
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        script = folder / "load.lua"
        script.write_text(LUA)
        stable, fast, mirror_port = free_port(), free_port(), free_port()
        stack.enter_context(nginx(folder, "upstream", nginx_upstream(stable, fast), LOAD_CORE))
        slow = stack.enter_context(pacer("delay", str(SLOW_SECONDS)))
        for port in (stable, fast):
            wait_for(port)
        proxies: dict[tuple[str, str], Proxy] = {}
        for shadow, port in ((NONE, None), (SLOW, slow), (FAST, fast)):
            proxies[FAIRWAY, shadow] = stack.enter_context(table_proxy(folder, mirrored(stable, port)))
        plain_port = free_port()
        for shadow, listening, http in (
            (NONE, plain_port, nginx_http(plain_port, stable, stable, log=None)),
            (SLOW, mirror_port, nginx_mirror(mirror_port, stable, slow)),
        ):
            master = stack.enter_context(nginx(folder, f"nginx-{listening}", http, PROXY_CORE))
            wait_for(listening)
            proxies[NGINX, shadow] = Proxy(name=NGINX, port=listening, pid=child_of(master))
        for proxy in proxies.values():
            wrk(script, proxy.port, 1)
        rounds = {
            connections: [
                {which: measured(script, proxy, connections) for which, proxy in proxies.items()}
                for _ in range(max(3, ROUNDS // 2))
            ]
            for connections in CONNECTIONS
        }
        copies = {shadow: copies_of(proxies[FAIRWAY, shadow]) for shadow in (SLOW, FAST)}
    return report(rounds, copies)


def report(rounds: dict[int, list[dict[tuple[str, str], Figures]]], copies: dict[str, dict[str, float]]) -> Bench:
    rows, promises, notes = [], [], []
    for connections, found in rounds.items():
        for which in found[0]:
            middle = {key: statistics.median(one[which][key] for one in found) for key in found[0][which]}
            rows.append(
                {
                    "connections": connections,
                    "proxy": which[0].split()[0],
                    "shadow": which[1],
                    "requests/s": f"{middle['per_second']:,.0f}",
                    "CPU us/request": f"{middle['cpu_us']:.1f}",
                    "p50 ms": f"{middle['p50_ms']:.3f}",
                    "p99 ms": f"{middle['p99_ms']:.3f}",
                    "failed": int(sum(one[which]["failed"] for one in found)),
                }
            )
        change = [one[FAIRWAY, SLOW]["p50_ms"] / one[FAIRWAY, NONE]["p50_ms"] - 1 for one in found]
        promises.append(
            Promise(
                text=f"{connections} connection{'s'[: connections > 1]}: a shadow that {SLOW} changes the median by "
                f"less than {MAX_CHANGE:.0%}",
                measured=f"{in_words([100 * value for value in change], 1)} %",
                kept=statistics.median(change) < MAX_CHANGE,
            )
        )
    for shadow, results in copies.items():
        said = ", ".join(f"{count:,.0f} {result}" for result, count in sorted(results.items()))
        notes.append(f"copies for the one that {'is fast' if shadow == FAST else shadow}: {said or 'none'}")
    return Bench(title="A shadow that every conversation is copied to", rows=rows, promises=promises, notes=notes)
