"""How long a person waits when there is nothing to do: a pipeline where nothing changed, and ``fairway --version``.

Rounds are interleaved with ``python -c pass`` and ratios taken within a round, because machines are shared; the
absolute bounds hold for the best round, which is what the code costs when the machine is not busy with something else.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.bench import Bench, Promise, markdown

ROUNDS = int(os.environ.get("FAIRWAY_BENCH_ROUNDS", "10"))
MAX_RUN_SECONDS = 0.5
MAX_VERSION_SECONDS = 0.15
FAIRWAY = [sys.executable, "-m", "fairway"]


def _seconds(command: list[str], cwd: Path) -> float:
    begun = time.perf_counter()
    subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begun


def _template(folder: Path) -> Path:
    """The template agent after a run that passed."""
    identity = ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL")
    environment = {**os.environ, **dict.fromkeys(identity, "bench@example.org")}
    subprocess.run([*FAIRWAY, "init", "agent"], cwd=folder, check=True, stdout=subprocess.DEVNULL, env=environment)
    subprocess.run(
        [*FAIRWAY, "run"], cwd=folder / "agent", check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return folder / "agent"


def _all_cached(agent: Path) -> str | None:
    """Why a second run is not what is measured here, or ``None``."""
    done = subprocess.run([*FAIRWAY, "run", "-o", "json"], cwd=agent, check=True, capture_output=True, text=True)
    ran = [
        stage["stage"] for stage in json.loads(done.stdout)["stages"] if stage["status"] not in ("cached", "skipped")
    ]
    return f"stages ran again: {', '.join(ran)}" if ran else None


def run() -> Bench:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder:
        agent = _template(Path(folder))
        if (why := _all_cached(agent)) is not None:
            return Bench(
                title="A pipeline where nothing changed",
                promises=[Promise(text="every stage is cached", measured=why, kept=False)],
            )
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "fairway --version": [*FAIRWAY, "--version"],
            "fairway run, nothing changed": [*FAIRWAY, "run"],
        }
        took: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, command in commands.items():
                took[name].append(_seconds(command, agent))
    return _result(took)


def _result(took: dict[str, list[float]]) -> Bench:
    floor = took["python -c pass"]
    rows = []
    for name, seconds in took.items():
        ratios = [one / base for one, base in zip(seconds, floor, strict=True)]
        rows.append(
            {
                "command": name,
                "best": f"{min(seconds) * 1000:.0f} ms",
                "median": f"{statistics.median(seconds) * 1000:.0f} ms",
                "worst": f"{max(seconds) * 1000:.0f} ms",
                "to python (median)": f"{statistics.median(ratios):.1f}",
            }
        )
    best_run, best_version = min(took["fairway run, nothing changed"]), min(took["fairway --version"])
    return Bench(
        title="A pipeline where nothing changed",
        rows=rows,
        promises=[
            Promise(
                text=f"nothing changed: the whole command ≤ {MAX_RUN_SECONDS} s",
                measured=f"{best_run:.3f} s",
                kept=best_run <= MAX_RUN_SECONDS,
            ),
            Promise(
                text=f"`fairway --version` ≤ {MAX_VERSION_SECONDS * 1000:.0f} ms",
                measured=f"{best_version * 1000:.0f} ms",
                kept=best_version <= MAX_VERSION_SECONDS,
            ),
        ],
        notes=[f"{ROUNDS} interleaved rounds on the template; wall clock from the start of the process to its end"],
    )


def main() -> int:
    """Print the table; 1 when a promise is broken."""
    bench = run()
    print(markdown(bench))
    return 1 if any(promise.kept is False for promise in bench.promises) else 0


if __name__ == "__main__":
    sys.exit(main())
