"""The measured parts of ``docs/benchmarks.md``: one marked region a bench, the prose around them written by hand."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from benchmarks.bench import Bench, markdown

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def begin(name: str) -> str:
    return f"<!-- measured: {name} -->"


END = "<!-- end -->"


def machine() -> str:
    """What the figures were taken on: enough to compare, nothing about whose machine it is."""
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"


def with_results(text: str, results: dict[str, Bench]) -> str:
    """The page with the regions of these benches replaced; a bench that could not run here leaves its region alone.

    Raises:
        ValueError: When the page has no region for one of them.
    """
    for name, bench in results.items():
        if bench.skipped:
            continue
        region = re.compile(re.escape(begin(name)) + r"\n.*?" + re.escape(END), re.DOTALL)
        if not region.search(text):
            raise ValueError(f"{PAGE.name} has no region '{begin(name)}' … '{END}'")
        body = f"{begin(name)}\n{markdown(bench, level=3)}- measured on {machine()}\n{END}"
        text = region.sub(lambda _, body=body: body, text, count=1)  # type: ignore[misc]
    return text


def update(results: dict[str, Bench]) -> None:
    """Write what was measured into the page."""
    before = PAGE.read_text()
    after = with_results(before, results)
    if after != before:
        PAGE.write_text(after)
