"""What a burst took goes back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fairway.gateway.heap import TIDY_SECONDS, Heap

BURST = """
import ctypes, sys
from pathlib import Path
from fairway.gateway.heap import Heap

def resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

heap = Heap()
if not hasattr(ctypes.CDLL(None), "malloc_trim"):
    sys.exit(77)
burst = [bytes(100_000) + b"x" for _ in range(400)]
between = [bytes(600) for _ in range(400)]
last = bytes(100_000) + b"y"  # above them: what is below cannot be given back by shrinking
full = resident()
burst.clear()
freed = resident()
heap.tidy(1000.0)
after = resident()
print(full, freed, after)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc can be asked")
def test_what_a_burst_of_large_messages_took_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", BURST], capture_output=True, text=True, check=False, timeout=60)
    if done.returncode == 77:
        pytest.skip("only glibc can be asked")
    assert done.returncode == 0, done.stderr
    full, freed, after = map(float, done.stdout.split())
    assert full - after > 30, f"{full:.0f} MB in use, {freed:.0f} after it was freed, {after:.0f} after tidying"


def test_it_is_asked_now_and_then_and_not_where_it_cannot_be() -> None:
    asked: list[int] = []
    heap = Heap()

    def trim(pad: int) -> int:
        asked.append(pad)
        return 1

    heap._trim = trim
    for now in (100.0, 100.1, 100.0 + TIDY_SECONDS - 0.1, 100.0 + TIDY_SECONDS, 100.0 + 2 * TIDY_SECONDS):
        heap.tidy(now)
    assert asked == [0, 0, 0]
    heap._trim = None
    heap.tidy(1000.0)
