"""Run every bench in this folder: ``python -m benchmarks [name [part …] …]``.

Results go to ``bench-results/`` and into the measured regions of ``docs/benchmarks.md``. A bench is a module with
``run() -> Bench``; it says itself when it cannot run here, and fails when a promise is broken. One that is
``ON_REQUEST`` runs only when it is named. One with ``PARTS`` runs those that are named after it, or its usual ones;
only the latter go into the page.
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


def asked(names: list[str], benches: list[str]) -> dict[str, list[str]]:
    """The parts that are asked for, by bench: ``gateway streams bodies verdict`` are two of one and all of another.

    Raises:
        SystemExit: When a name is neither a bench nor a part of the one before it.
    """
    wanted: dict[str, list[str]] = {}
    last = ""
    for name in names:
        if name in benches:
            wanted.setdefault(last := name, [])
        elif last and name in getattr(importlib.import_module(f"benchmarks.{last}"), "PARTS", ()):
            wanted[last].append(name)
        else:
            raise SystemExit(f"no bench, and no part of the one before it: {name} (benches: {', '.join(benches)})")
    return wanted


def main(names: list[str]) -> int:
    found = sorted(
        m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name not in ("__main__", "bench", "page")
    )
    broken: list[str] = []
    results: dict[str, Bench] = {}
    RESULTS.mkdir(exist_ok=True)
    for name, parts in asked(names or found, found).items():
        module = importlib.import_module(f"benchmarks.{name}")
        if not hasattr(module, "run") or (not names and getattr(module, "ON_REQUEST", False)):
            continue
        begun = time.monotonic()
        bench: Bench = module.run(parts) if parts else module.run()
        if not parts:
            results[name] = bench
        file = "-".join([name, *parts])
        (RESULTS / f"{file}.json").write_text(json.dumps(bench.to_wire(), indent=2) + "\n")
        (RESULTS / f"{file}.md").write_text(markdown(bench))
        print(markdown(bench))
        print(f"({name}: {time.monotonic() - begun:.0f} s)\n", flush=True)
        broken += [f"{name}: {promise.text}" for promise in bench.all_promises() if promise.kept is False]
        if os.environ.get("FAIRWAY_REQUIRE_ALL"):
            broken += [f"{name}: skipped ({why})" for why in bench.all_skipped()]
    page.update(results)
    for line in broken:
        print(f"BROKEN {line}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
