"""Requests a second on one core, and the processor time of each, beside nginx ``split_clients``."""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path

from benchmarks.bench import Bench, Promise
from benchmarks.gateway.rig import (
    LOAD_CORE,
    LUA,
    PROXY_CORE,
    ROUNDS,
    SECONDS,
    TURNS,
    Proxy,
    child_of,
    cpu_us,
    free_port,
    gateway,
    in_words,
    memory_mb,
    nginx,
    nginx_upstream,
    table,
    wait_for,
    worker_of,
    wrk,
)

MIN_RATIO = 0.7

Round = dict[int, tuple[dict[str, float], dict[str, float]]]
"""By turns of a conversation: what nginx did, and the gateway."""


def nginx_proxy(port: int, first: int, second: int) -> str:
    return (
        "access_log off; keepalive_requests 100000000;"
        f"upstream stable {{ server 127.0.0.1:{first}; keepalive 128; keepalive_requests 100000000; }}"
        f"upstream candidate {{ server 127.0.0.1:{second}; keepalive 128; keepalive_requests 100000000; }}"
        'split_clients "$http_x_conversation_id" $arm { 10% candidate; * stable; }'
        f"server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ proxy_pass http://$arm;"
        ' proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header X-Forwarded-For $remote_addr; } }'
    )


def measured(script: Path, proxy: Proxy, turns: int) -> dict[str, float]:
    """One run, with the CPU time of the proxy's process a request took."""
    before = cpu_us(proxy.pid)
    result = wrk(script, proxy.port, SECONDS, turns=turns)
    return {**result, "cpu_us": (cpu_us(proxy.pid) - before) / result["requests"]}


def measure() -> Bench:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = folder / "load.lua"
        script.write_text(LUA)
        first, second, proxy = free_port(), free_port(), free_port()
        (folder / "table.json").write_text(json.dumps(table(first, second).to_wire()))
        (folder / "pass").mkdir()
        with (
            nginx(folder, "upstream", nginx_upstream(first, second), LOAD_CORE),
            nginx(folder, "proxy", nginx_proxy(proxy, first, second), PROXY_CORE) as master,
            gateway(folder / "pass", "--table", str(folder / "table.json")) as port,
        ):
            for listening in (first, second, proxy, port):
                wait_for(listening)
            wrk(script, port, 2), wrk(script, proxy, 2)
            theirs = Proxy(name="nginx split_clients", port=proxy, pid=child_of(master))
            ours = Proxy(name="fairway gateway", port=port, pid=worker_of(folder / "pass"))
            rounds: list[Round] = [
                {turns: (measured(script, theirs, turns), measured(script, ours, turns)) for turns in (TURNS, 1)}
                for _ in range(ROUNDS)
            ]
            memory = memory_mb(ours.pid)
    return report(rounds, memory)


def ratios(rounds: list[Round], turns: int, figure: str) -> list[float]:
    """The gateway's figure by nginx's, round by round."""
    return [ours[figure] / theirs[figure] for theirs, ours in (found[turns] for found in rounds)]


def report(rounds: list[Round], memory: float) -> Bench:
    def row(name: str, turns: int, results: list[dict[str, float]]) -> dict[str, object]:
        middle = {key: statistics.median(result[key] for result in results) for key in results[0]}
        return {
            "proxy": name,
            "conversations": f"{turns} requests" if turns > 1 else "1 request",
            "CPU us/request": f"{middle['cpu_us']:.1f}",
            "requests/s": f"{middle['per_second']:,.0f}",
            "p50 ms": f"{middle['p50_ms']:.2f}",
            "p99 ms": f"{middle['p99_ms']:.2f}",
            "failed": int(sum(result["failed"] for result in results)),
        }

    usual = ratios(rounds, TURNS, "per_second")
    return Bench(
        title="Requests a second",
        rows=[
            row(name, turns, [found[turns][which] for found in rounds])
            for turns in (TURNS, 1)
            for which, name in enumerate(("nginx split_clients", "fairway gateway"))
        ],
        promises=[
            Promise(
                text=f"at least {MIN_RATIO} of nginx's requests a second on one core",
                measured=in_words(usual),
                kept=statistics.median(usual) >= MIN_RATIO,
            )
        ],
        notes=[
            f"of nginx's requests a second when every request is a new conversation: "
            f"{in_words(ratios(rounds, 1, 'per_second'))}",
            f"CPU time of a request, as a multiple of nginx's: {in_words(ratios(rounds, TURNS, 'cpu_us'))}; "
            f"every request a new conversation: {in_words(ratios(rounds, 1, 'cpu_us'))}",
            f"memory of the worker after the load: {memory:.0f} MB (proportional set size)",
        ],
    )
