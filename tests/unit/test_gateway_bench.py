"""The gateway's bench: it breaks its promises when it should, and its listener sees what is wrong with a stream."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def kept(bench: object) -> list[bool | None]:
    return [promise.kept for promise in bench.all_promises()]  # type: ignore[attr-defined]


def figures(per_second: float, *, failed: float = 0) -> dict[str, float]:
    return {"requests": 1.0, "per_second": per_second, "p50_ms": 1.0, "p99_ms": 2.0, "failed": failed, "cpu_us": 10.0}


@pytest.mark.parametrize(
    ("ours", "failed", "envoy", "expected"),
    [
        (86.0, 0, True, [True, True, True]),
        (84.0, 0, True, [False, True, True]),
        (70.0, 0, True, [False, False, True]),
        (90.0, 1, True, [True, True, False]),
        (90.0, 0, False, [True, None, True]),
    ],
    ids=["kept", "too slow for nginx", "too slow for both", "a failed request", "no Envoy is not a pass"],
)
def test_requests_a_second(ours: float, failed: float, envoy: bool, expected: list[bool | None]) -> None:
    from benchmarks.gateway.proxies import ENVOY, FAIRWAY, NGINX
    from benchmarks.gateway.throughput import CASES, report

    found = {NGINX: figures(100.0), FAIRWAY: figures(ours, failed=failed)}
    if envoy:
        found[ENVOY] = figures(50.0)
    assert kept(report({case: [found] * 3 for case in CASES}, [])) == expected


@pytest.mark.parametrize(("added", "expected"), [(0.09, True), (0.11, False)])
def test_one_connection(added: float, expected: bool) -> None:
    from benchmarks.gateway.latency import report
    from benchmarks.gateway.proxies import DIRECT, FAIRWAY

    direct, ours = figures(1.0), figures(1.0) | {"p50_ms": 1.0 + added}
    assert kept(report([{DIRECT: direct, FAIRWAY: ours}] * 3, [])) == [expected]


@pytest.mark.parametrize(
    ("later", "lost", "expected"),
    [(0.9, 0, [True, True]), (1.1, 0, [False, False]), (0.1, 1, [False, False])],
    ids=["kept", "later", "a stream was lost"],
)
def test_streams(later: float, lost: int, expected: list[bool]) -> None:
    from benchmarks.gateway.proxies import DIRECT, FAIRWAY
    from benchmarks.gateway.streams import SIZES, report

    names = ("first_p50_ms", "first_p99_ms", "gap_p50_ms", "gap_p99_ms", "gap_max_ms", "cpu_us", "wrong", "lost")
    direct = dict.fromkeys(names, 0.0) | {"gap_p99_ms": 20.0, "streams": 9.0}
    ours = direct | {"gap_p99_ms": 20.0 + later, "lost": lost}
    assert kept(report({size: [{DIRECT: direct, FAIRWAY: ours}] * 3 for size in SIZES}, [])) == expected


@pytest.mark.parametrize(("change", "expected"), [(1.04, True), (1.06, False)])
def test_a_slow_shadow(change: float, expected: bool) -> None:
    from benchmarks.gateway.proxies import FAIRWAY
    from benchmarks.gateway.shadow import CONNECTIONS, NONE, SLOW, report

    found = {(FAIRWAY, NONE): figures(1.0), (FAIRWAY, SLOW): figures(1.0) | {"p50_ms": change}}
    assert kept(report({connections: [found] * 3 for connections in CONNECTIONS}, {})) == [expected] * len(CONNECTIONS)


@pytest.mark.parametrize(("ours", "expected"), [(81.0, True), (79.0, False)])
def test_large_bodies(ours: float, expected: bool) -> None:
    from benchmarks.gateway.bodies import PROMPTS, report
    from benchmarks.gateway.proxies import FAIRWAY, NGINX

    assert kept(report({PROMPTS: [{NGINX: figures(100.0), FAIRWAY: figures(ours)}] * 3}, [])) == [expected]


@pytest.mark.parametrize(
    ("change", "good"),
    [
        (lambda raw: raw, True),
        (lambda raw: raw.replace(b'"n":1,', b'"n":2,'), False),
        (lambda raw: raw.replace(b'"id":"7"', b'"id":"8"', 1), False),
        (lambda raw: raw.removesuffix(b"0\r\n\r\n"), False),
        (lambda raw: raw + b"x", False),
        (lambda raw: raw.replace(b" 200 ", b" 502 "), False),
    ],
    ids=["as sent", "another event", "an event of another stream", "no end", "more than the end", "an error"],
)
def test_the_listener_compares_every_byte(change: object, good: bool) -> None:
    from benchmarks.gateway.listener import right
    from benchmarks.gateway.pacer import END, HEAD, frames

    raw = HEAD + b"".join(b"%x\r\n%b\r\n" % (len(frame), frame) for frame in frames(b"7", 3)) + END
    assert right(change(raw), b"7", 3) is good  # type: ignore[operator]


@pytest.fixture
def pacer() -> Iterator[int]:
    from benchmarks.gateway.rig import free_port, wait_for

    port = free_port()
    command = [sys.executable, "-m", "benchmarks.gateway.pacer", str(port), "stream", "5", "0.01"]
    process = subprocess.Popen(command, cwd=ROOT)
    wait_for(port)
    yield port
    process.kill()
    process.wait()


def test_streams_of_the_pacer_come_whole_and_at_their_pace(pacer: int) -> None:
    command = [sys.executable, "-m", "benchmarks.gateway.listener", str(pacer), "8", "2", "5", "0.01"]
    begun = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    found = json.loads(done.stdout)
    assert (found["streams"], found["wrong"], found["lost"]) == (16, 0, 0)
    assert 5 < found["gap_p50_ms"] < 1000
    assert time.monotonic() - begun > 0.08, "two streams of four gaps each follow each other"


def test_parts_are_asked_for_by_name_after_their_bench() -> None:
    from benchmarks.__main__ import asked

    benches = ["gateway", "verdict"]
    assert asked(["gateway", "streams", "memory", "verdict"], benches) == {
        "gateway": ["streams", "memory"],
        "verdict": [],
    }
    for wrong in (["streams"], ["gateway", "nonsense"], ["verdict", "streams"]):
        with pytest.raises(SystemExit, match="no bench, and no part"):
            asked(wrong, benches)


def test_every_part_that_is_offered_is_there() -> None:
    from benchmarks.gateway import PARTS

    files = {path.stem for path in (ROOT / "benchmarks" / "gateway").glob("*.py")}
    missing = set(PARTS) - files
    assert not missing, missing
