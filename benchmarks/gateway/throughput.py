"""Requests a second on one core, and the processor time of each: with every feature on, and with none.

*Everything on* is rules, sticky split, limits, health checks and a JSON access log, on all three; the gateway's
telemetry is never off. Conversations of five turns, 10 % of them on the second arm: what clients do, and what the
promise is about. Beside it the worst case, every request a new conversation.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import Bench, Promise
from benchmarks.gateway.peers import MissingError, running_litellm
from benchmarks.gateway.proxies import DIRECT, ENVOY, FAIRWAY, NGINX, envoy_proxy, fairway_proxy, nginx_proxy
from benchmarks.gateway.rig import (
    CHAT_LUA,
    LOAD_CORE,
    LUA,
    ROUNDS,
    SECONDS,
    TURNS,
    Proxy,
    cpu_us,
    free_port,
    in_words,
    memory_mb,
    nginx,
    nginx_upstream,
    wait_for,
    wrk,
)

MIN_OF_NGINX, MIN_OF_ENVOY = 0.85, 1.6
LITELLM = "LiteLLM proxy"

Figures = dict[str, float]
Round = dict[str, Figures]
"""By proxy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One way of asking: whether every feature is on, how many requests a conversation has, and with whose headers."""

    full: bool
    turns: int
    heads: str = "few"

    @property
    def title(self) -> str:
        heads = "" if self.heads == "few" else ", OpenAI's headers"
        return f"{'everything' if self.full else 'nothing'} on, {self.turns} request{'s'[: self.turns > 1]}{heads}"


CASES = (
    Case(full=True, turns=TURNS),
    Case(full=True, turns=1),
    Case(full=False, turns=TURNS),
    Case(full=True, turns=TURNS, heads="openai"),
)


def measured(script: Path, proxy: Proxy, case: Case, seconds: int = SECONDS) -> Figures:
    """One run, with the CPU time of the proxy's process a request took."""
    before = cpu_us(proxy.pid)
    result = wrk(script, proxy.port, seconds, turns=case.turns, heads=case.heads)
    return {**result, "cpu_us": (cpu_us(proxy.pid) - before) / max(1, result["requests"])}


def measure() -> Bench:
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        script = folder / "load.lua"
        script.write_text(LUA)
        first, second = free_port(), free_port()
        upstream = stack.enter_context(nginx(folder, "upstream", nginx_upstream(first, second), LOAD_CORE))
        for port in (first, second):
            wait_for(port)
        proxies: dict[bool, list[Proxy]] = {True: [], False: []}
        for full, found in proxies.items():
            for make in (nginx_proxy, envoy_proxy, fairway_proxy):
                try:
                    found.append(stack.enter_context(make(folder, first, second, full=full)))
                except MissingError as missing:
                    notes.append(f"{ENVOY}: not measured, {missing}")
        for proxy in (*proxies[True], *proxies[False]):
            wrk(script, proxy.port, 2)
        rounds: dict[Case, list[Round]] = {case: [] for case in CASES}
        direct = Proxy(name=DIRECT, port=first, pid=upstream)
        for _ in range(ROUNDS):
            for case in CASES:
                rounds[case].append({p.name: measured(script, p, case) for p in proxies[case.full]})
        ceiling = measured(script, direct, CASES[0])["per_second"]
        memory = {proxy.name: memory_mb(proxy.pid) for proxy in proxies[True]}
        notes += _litellm(folder, first, statistics.median(r[FAIRWAY]["per_second"] for r in rounds[CASES[0]]))
    notes.append(f"asked directly, on the core of the load: {ceiling:,.0f} requests a second, what this rig can do")
    notes.append("memory after it, MB: " + ", ".join(f"{name} {size:.0f}" for name, size in memory.items()))
    return report(rounds, notes)


def _litellm(folder: Path, upstream: int, ours: float) -> list[str]:
    """LiteLLM, when it is asked for: it takes 700 MB of disk."""
    if not os.environ.get("FAIRWAY_BENCH_LITELLM"):
        return ["LiteLLM is measured with FAIRWAY_BENCH_LITELLM=1"]
    script = folder / "chat.lua"
    script.write_text(CHAT_LUA)
    port = free_port()
    try:
        with running_litellm(folder, port, upstream) as pid:
            proxy = Proxy(name=LITELLM, port=port, pid=pid)
            measured(script, proxy, CASES[0], 5)
            found = [measured(script, proxy, CASES[0], 5) for _ in range(3)]
            size = memory_mb(pid)
    except (MissingError, RuntimeError) as problem:
        return [f"{LITELLM}: not measured, {problem}"]
    middle = {key: statistics.median(one[key] for one in found) for key in found[0]}
    return [
        f"{LITELLM}, which parses and prices every call: {middle['per_second']:,.0f} requests/s, "
        f"{middle['cpu_us']:,.0f} us of CPU each, {size:.0f} MB, {sum(one['failed'] for one in found):.0f} failed; "
        f"the gateway does {ours / max(1.0, middle['per_second']):,.0f} times as many"
    ]


def ratios(rounds: list[Round], figure: str, other: str) -> list[float]:
    """The gateway's figure by another's, round by round."""
    return [found[FAIRWAY][figure] / found[other][figure] for found in rounds]


def _least(rounds: list[Round]) -> float:
    """The gateway's least CPU time of a request by nginx's."""
    ours, theirs = (min(found[name]["cpu_us"] for found in rounds) for name in (FAIRWAY, NGINX))
    return ours / theirs


def report(rounds: dict[Case, list[Round]], notes: list[str]) -> Bench:
    rows = [_row(case, name, [found[name] for found in rounds[case]]) for case in CASES for name in rounds[case][0]]
    usual, fresh, plain, long_heads = (rounds[case] for case in CASES)
    beside_nginx = ratios(usual, "per_second", NGINX)
    promises = [
        Promise(
            text=f"with everything on, at least {MIN_OF_NGINX} of nginx's requests a second",
            measured=in_words(beside_nginx),
            kept=statistics.median(beside_nginx) >= MIN_OF_NGINX,
        )
    ]
    if ENVOY in usual[0]:
        beside_envoy = ratios(usual, "per_second", ENVOY)
        promises.append(
            Promise(
                text=f"with everything on, at least {MIN_OF_ENVOY} times Envoy's",
                measured=in_words(beside_envoy),
                kept=statistics.median(beside_envoy) >= MIN_OF_ENVOY,
            )
        )
    else:
        promises.append(Promise(text=f"at least {MIN_OF_ENVOY} times Envoy's", measured="no Envoy", kept=None))
    failed = sum(figures[FAIRWAY]["failed"] for every in rounds.values() for figures in every)
    promises.append(Promise(text="no request failed", measured=f"{failed:.0f}", kept=failed == 0))
    return Bench(
        title="Requests a second",
        rows=rows,
        promises=promises,
        notes=[
            f"of nginx's when every request is a new conversation: {in_words(ratios(fresh, 'per_second', NGINX))}",
            f"of nginx's with nothing on in either: {in_words(ratios(plain, 'per_second', NGINX))}",
            f"of nginx's with the 18 headers of OpenAI's library: {in_words(ratios(long_heads, 'per_second', NGINX))}",
            f"CPU time of a request by nginx's: {in_words(ratios(usual, 'cpu_us', NGINX))}; the least of any "
            f"round, which others on the machine inflate least: {_least(usual):.2f}",
            *notes,
        ],
    )


def _row(case: Case, name: str, results: list[Figures]) -> dict[str, object]:
    middle = {key: statistics.median(result[key] for result in results) for key in results[0]}
    return {
        "conversations": case.title,
        "proxy": name,
        "CPU us/request": f"{middle['cpu_us']:.1f}",
        "least": f"{min(result['cpu_us'] for result in results):.1f}",
        "requests/s": f"{middle['per_second']:,.0f}",
        "p50 ms": f"{middle['p50_ms']:.2f}",
        "p99 ms": f"{middle['p99_ms']:.2f}",
        "failed": int(sum(result["failed"] for result in results)),
    }
