"""Run every bench in this folder: ``python -m benchmarks [name …]``.

Results go to ``bench-results/`` and into the measured regions of ``docs/benchmarks.md``. A bench is a module with
``run() -> Bench``; it says itself when it cannot run here, and fails when a promise is broken. One that is
``ON_REQUEST`` runs only when it is named.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import sys
import time
from pathlib import Path

import benchmarks
from benchmarks import page
from benchmarks.bench import Bench, markdown

RESULTS = Path("bench-results")


def main(names: list[str]) -> int:
    found = sorted(
        m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name not in ("__main__", "bench", "page")
    )
    broken: list[str] = []
    results: dict[str, Bench] = {}
    RESULTS.mkdir(exist_ok=True)
    for name in names or found:
        module = importlib.import_module(f"benchmarks.{name}")
        if not hasattr(module, "run") or (not names and getattr(module, "ON_REQUEST", False)):
            continue
        begun = time.monotonic()
        bench: Bench = module.run()
        results[name] = bench
        (RESULTS / f"{name}.json").write_text(json.dumps(bench.to_wire(), indent=2) + "\n")
        (RESULTS / f"{name}.md").write_text(markdown(bench))
        print(markdown(bench))
        print(f"({name}: {time.monotonic() - begun:.0f} s)\n", flush=True)
        broken += [f"{name}: {promise.text}" for promise in bench.promises if promise.kept is False]
        if bench.skipped and os.environ.get("FAIRWAY_REQUIRE_ALL"):
            broken.append(f"{name}: skipped ({bench.skipped})")
    page.update(results)
    for line in broken:
        print(f"BROKEN {line}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
