"""Evaluations from the shell: Fairway beside promptfoo, Inspect AI, DeepEval and a bare client, in one run.

``make bench-evals``. Each peer is installed in a place of its own by the bench, once. All ask the same endpoint for
the same cases with one check each; the endpoint has a core of its own, what is measured the others.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import Bench, Promise
from benchmarks.evals.measure import Measured, Served, endpoint, measure
from benchmarks.evals.peers import PEERS, MissingError, Peer

ON_REQUEST = True
"""Installs the peers: not a part of ``make bench``."""

CASES, MORE_CASES, MANY_CASES = 500, 2_000, 21_000
CONCURRENCY = 50
DELAY = 0.05
FAIRWAY = str(Path(sys.executable).parent / "fairway")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One command's figures, or why there are none."""

    name: str
    cases: int
    measured: Measured | None
    problem: str = ""

    def wire(self, floor: float | None) -> dict[str, str]:
        one = self.measured
        if one is None:
            return {"run": self.name, "cases": f"{self.cases:,}", "wall, s": self.problem}
        return {
            "run": self.name,
            "cases": f"{self.cases:,}",
            "wall, s": f"{one.wall:.2f}",
            "of the floor": "" if floor is None else f"{one.wall / floor:.1f}",
            "CPU, s": f"{one.cpu:.2f}",
            "peak MiB": f"{one.mib:.0f}",
            "in flight": str(one.in_flight),
        }


def suite(cases: int) -> str:
    """The suite as JSON lines."""
    lines = [
        json.dumps(
            {"id": f"c{n}", "input": f"Say word{n}.", "assert": [{"type": "contains", "value": f"word{n}"}]},
        )
        for n in range(cases)
    ]
    return "\n".join(lines) + "\n"


def fairway(served: Served, cases: int, *more: str) -> list[str]:
    """What a user types."""
    target = f"openai:m@{served.base_url}"
    return [FAIRWAY, "eval", "run", f"suite{cases}.jsonl", "--target", target, "--concurrency", str(CONCURRENCY), *more]


def _ours(served: Served, folder: Path) -> dict[str, Row]:
    for cases in (1, CASES, MORE_CASES, MANY_CASES):
        (folder / f"suite{cases}.jsonl").write_text(suite(cases))
    rows: dict[str, Row] = {}

    # every earlier attempt on the same content is read again, 500 cases in some 25 ms: a place without any
    fresh = folder / "cached"
    fresh.mkdir()
    (fresh / f"suite{CASES}.jsonl").write_text(suite(CASES))

    def take(key: str, name: str, cases: int, *more: str, repeats: int = 5, place: Path = folder) -> None:
        command = fairway(served, cases, *more)
        found = measure(command, served, folder=place, repeats=repeats)
        bad = found.code != 0 or ("--no-cache" in more and found.requests != cases)
        said = f"exit {found.code}, {found.requests} requests: {found.said[-200:]}" if bad else ""
        rows[key] = Row(name=name, cases=cases, measured=None if bad else found, problem=said)

    take("one", "fairway", 1, "--no-cache")
    take("plain", "fairway", CASES, "--no-cache")
    take("more", "fairway", MORE_CASES, "--no-cache", repeats=3)
    take("fill", "fairway, filling its cache", CASES, repeats=1, place=fresh)
    take("cached", "fairway, all cached", CASES, place=fresh)
    take("many", "fairway", MANY_CASES, "--no-cache", repeats=1)
    help_page = measure([FAIRWAY, "eval", "--help"], served, folder=folder, repeats=15)
    rows["help"] = Row(name="fairway eval --help", cases=0, measured=help_page)
    return rows


def _floor(served: Served, folder: Path, cases: int) -> Row:
    root = Path(__file__).parent / "floor.py"
    command = [sys.executable, str(root), str(served.port), str(cases), str(CONCURRENCY)]
    return Row(name="a bare client", cases=cases, measured=measure(command, served, folder=folder, repeats=5))


def _peer(make: Callable[[str, int, int], Peer], served: Served, folder: Path) -> Row:
    try:
        peer = make(served.base_url, CASES, CONCURRENCY)
    except (MissingError, OSError) as problem:
        return Row(name=make.__name__, cases=CASES, measured=None, problem=f"not installed: {problem}")
    place = folder / peer.name.replace(" ", "")
    place.mkdir()
    for name, text in peer.scripts.items():
        (place / name).write_text(text)
    found = measure(peer.command, served, folder=place, environment=peer.environment)
    name = f"{peer.name} {peer.version}"
    if found.requests < CASES:
        return Row(name=name, cases=CASES, measured=None, problem=f"exit {found.code}: {found.said[-300:]}")
    return Row(name=name, cases=CASES, measured=found)


def run() -> Bench:
    folder = Path(tempfile.mkdtemp(prefix="fairway-bench-"))
    try:
        with endpoint(DELAY) as served:
            floor = _floor(served, folder, CASES)
            ours = _ours(served, folder)
            peers = [_peer(make, served, folder) for make in PEERS]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    wall = floor.measured.wall if floor.measured else None
    rows = [floor, *(row for key, row in ours.items() if key not in ("fill", "help")), *peers]
    return Bench(
        title="Evaluations: 50 at a time against an endpoint that takes 50 ms",
        rows=[row.wire(wall if row.cases == CASES else None) for row in rows],
        promises=_promises(ours, peers),
        notes=[
            "wall is the shell's, with the start of the program; CPU and memory are of all its processes; medians",
            "one contains check a case; DeepEval has no system under test, so it asks its judge once a case",
            "the endpoint has a core of its own; what is measured has the others",
            "each earlier attempt on the same content is read again and adds some 25 ms",
        ],
    )


def _promises(ours: dict[str, Row], peers: list[Row]) -> list[Promise]:
    def told(text: str, key: str, limit: float, figure: Callable[[Measured], float], unit: str) -> Promise:
        one = ours[key].measured
        if one is None:
            return Promise(text=text, measured=ours[key].problem, kept=False)
        value = figure(one)
        return Promise(text=text, measured=f"{value:.3g} {unit}", kept=value <= limit)

    promises = [
        told("500 cases in ≤ 0.9 s from the shell", "plain", 0.9, lambda one: one.wall, "s"),
        told("≤ 80 MiB", "plain", 80, lambda one: one.mib, "MiB"),
        _slope(ours),
        told("all cached ≤ 0.4 s", "cached", 0.4, lambda one: one.wall, "s"),
        told("21,000 cases ≤ 200 MiB", "many", 200, lambda one: one.mib, "MiB"),
        told("fairway eval --help ≤ 150 ms", "help", 150, lambda one: one.wall * 1000, "ms"),
    ]
    mine = ours["plain"].measured
    for peer in peers:
        if mine is not None and peer.measured is not None:
            ratio = peer.measured.wall / mine.wall
            promises.append(Promise(text=f"faster than {peer.name}", measured=f"{ratio:.1f} times", kept=ratio > 1))
    return promises


def _slope(ours: dict[str, Row]) -> Promise:
    text = "≤ 0.5 ms CPU a case between 500 and 2,000"
    less, more = ours["plain"].measured, ours["more"].measured
    if less is None or more is None:
        return Promise(text=text, measured="not measured", kept=False)
    each = (more.cpu - less.cpu) / (MORE_CASES - CASES) * 1000
    return Promise(text=text, measured=f"{each:.2f} ms", kept=each <= 0.5)
