"""The gateway beside nginx and Envoy, each on one core, in the same run: ``python -m benchmarks gateway [part …]``.

Proxy under test on core 0, upstream and load on core 1. Many short rounds in which all take turns, and ratios taken
within a round, because machines are shared. A part is a module with ``measure() -> Bench``.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import time
from collections.abc import Sequence

from benchmarks.bench import Bench

PARTS: dict[str, str] = {
    "throughput": "requests a second with everything on, and without",
    "latency": "what is added to a request at one connection",
    "streams": "300 and 1,000 streams of events at once",
    "bodies": "bodies of 100 KB",
    "shadow": "a shadow that takes 200 ms, and one that is fast",
    "memory": "a worker after load",
    "switches": "table switches under load",
    "endurance": "restarts, kills and switches over many requests",
    "soak": "memory over millions of requests",
}
"""What each part measures, in the order in which they run."""

LONG = frozenset({"endurance", "soak"})
"""Run only when they are named."""


def run(parts: Sequence[str] = ()) -> Bench:
    """Measure these parts, or all but the long ones."""
    title = "Gateway on one core, beside nginx and Envoy"
    missing = [name for name in ("nginx", "wrk", "taskset") if shutil.which(name) is None]
    if missing or (os.cpu_count() or 1) < 2:
        why = f"{', '.join(missing)} not installed" if missing else "needs two cores"
        return Bench(title=title, skipped=why)
    found = []
    for name in parts or (name for name in PARTS if name not in LONG):
        begun = time.monotonic()
        found.append(importlib.import_module(f"benchmarks.gateway.{name}").measure())
        print(f"(gateway {name}: {time.monotonic() - begun:.0f} s)", file=sys.stderr, flush=True)
    return Bench(title=title, parts=found)
