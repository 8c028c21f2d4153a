"""The HTML report of a large evaluation in a real browser: how long each thing a person does takes."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench, Promise

CASES = 5000
LARGE = 21_000
LIMIT, MIB = 200, 60
_OPENINGS = 5
_SAID = {
    "list": "the list is there",
    "open": "open: the list, the first case compared, the whole file read",
    "filter": "a filter",
    "first_search": "the first search, everything still packed",
    "search": "a search",
    "case": "the next case, unpacked and compared",
    "diff": "the comparison of two answers alone",
}
_TEXTS = ("refund", "refund monday", "colleague address euros", "warehouse carrier", "order A-12")
_MODULES = {"json": "as_json"}
_PIECES = {"json": "json_pieces"}
_MARKS = ("fairway:list", "fairway:open")
_MEASURES = {"fairway:filter": "filter", "fairway:search": "search", "fairway:case": "case", "fairway:diff": "diff"}


def measure(*, cases: int = CASES) -> dict[str, Any]:
    """Medians in milliseconds, measured inside the page.

    ``open``: from the start of the navigation to the list, the first case with its differences, and the whole file
    there. ``filter``, ``search``: from the click or key to the new list; ``first_search`` with everything still packed.
    ``case``: from the key to the case, its texts unpacked and compared; ``diff``: the comparison of two answers alone.
    Each ends when the page is built, before the browser draws its next frame.
    """
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        figures = _render(path, cases)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=_chromium(), args=["--no-sandbox"])
            runs = [_one(browser, path) for _ in range(_OPENINGS)]
            figures["browser"] = browser.version
            browser.close()
    for name in runs[0]:
        figures[name] = round(statistics.median(run[name] for run in runs), 1)
    return figures


def run() -> Bench:
    """The bench of ``docs/benchmarks.md``."""
    try:
        figures, peaks = measure(), memory()
    except (ImportError, SystemExit) as problem:
        return Bench(title="The HTML report of 5,000 cases", skipped=str(problem))
    rows = [{"what": said, "ms, median": figures[name]} for name, said in _SAID.items()]
    rows.append({"what": "rendering the file", "ms, median": figures["render_seconds"] * 1000})
    slow = {name: figures[name] for name in _SAID if figures[name] > LIMIT}
    answers = [name for name in _SAID if name not in ("list", "open")]
    return Bench(
        title="The HTML report of 5,000 cases, in Chromium",
        rows=rows,
        promises=[
            Promise(
                text=f"filter, search, case and diff answer in under {LIMIT} ms",
                measured=f"{max(figures[name] for name in answers):.0f} ms the slowest",
                kept=not any(name in slow for name in answers),
            ),
            Promise(
                text=f"the list of 5,000 cases is there in under {LIMIT} ms",
                measured=f"{figures['list']:.0f} ms; with the first case compared and the whole file read "
                f"{figures['open']:.0f} ms",
                kept="list" not in slow,
            ),
            Promise(
                text=f"no report of 21,000 cases takes more than {MIB} MiB above the run",
                measured=", ".join(f"{name} {peak:.0f}" for name, peak in peaks.items()),
                kept=max(peaks.values()) <= MIB,
            ),
        ],
        notes=[
            f"two sides with realistic texts; the file has {figures['megabytes']} MB; Chromium {figures['browser']}",
            f"medians over {_OPENINGS} openings; times end when the page is built, before the next frame is drawn",
        ],
    )


def memory(cases: int = LARGE) -> dict[str, Any]:
    """Peak memory in MiB that each report of a large run takes above the run itself, each in a process of its own."""
    found = {}
    for name in ("html", "json", "junit", "markdown", "terminal"):
        out = subprocess.run(
            [sys.executable, "-m", "benchmarks.eval_report", name, str(cases)],
            capture_output=True,
            check=True,
            text=True,
        )
        found[name] = json.loads(out.stdout)
    return found


def _chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        raise SystemExit("there is no Chromium: apt-get install chromium")
    return found


def _content(cases: int) -> Any:
    from fairway.evals.gating.decide import decide
    from fairway.evals.gating.policy import EvalPolicy
    from fairway.evals.reports.content import ReportContent
    from fairway.evals.trials import side_of
    from fairway.testing.modelled_evaluation import modelled_evaluation

    made = modelled_evaluation(cases)
    decision = decide(side_of([made.candidate]), side_of([made.baseline]), EvalPolicy(max_invalid=0.1))
    return ReportContent(title="modelled", candidate=made.candidate, baseline=made.baseline, decision=decision)


def _render(path: Path, cases: int) -> dict[str, Any]:
    from fairway.evals.reports.html import render_html

    content = _content(cases)
    begun = time.perf_counter()
    with path.open("w", encoding="utf-8") as file:
        file.writelines(render_html(content))
    seconds = time.perf_counter() - begun
    return {"cases": cases, "render_seconds": round(seconds, 2), "megabytes": round(path.stat().st_size / 1e6, 2)}


def _one(browser: Any, path: Path) -> dict[str, float]:
    page = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
    page.goto(f"file://{path}")
    _until(page, "performance.getEntriesByName('fairway:open').length > 0")
    found = {
        name.split(":")[1]: page.evaluate(f"performance.getEntriesByName({name!r})[0].startTime") for name in _MARKS
    }
    page.fill("#q", "refund")
    _until(page, "performance.getEntriesByName('fairway:search').length > 0")
    found["first_search"] = page.evaluate("performance.getEntriesByName('fairway:search')[0].duration")
    page.evaluate("performance.clearMeasures()")
    for text in (*_TEXTS, ""):
        page.fill("#q", text)
    for chip in ("Failed", "Newly failing", "Changed", "Critical", "All"):
        page.get_by_role("button", name=chip, exact=False).first.click()
    for _ in range(40):
        page.keyboard.press("PageDown")
        page.wait_for_timeout(20)
    measured = page.evaluate("performance.getEntriesByType('measure').map(one => [one.name, one.duration])")
    for name, short in _MEASURES.items():
        found[short] = statistics.median(duration for one, duration in measured if one == name)
    page.context.close()
    return found


def _until(page: Any, holds: str) -> None:
    for _ in range(2000):
        if page.evaluate(holds):
            return
        page.wait_for_timeout(5)
    raise SystemExit(f"it never became true: {holds}")


def _peak(name: str, cases: int) -> float:
    """MiB this process grows by at most while the report is made and written."""
    import importlib

    content = _content(cases)
    module = importlib.import_module(f"fairway.evals.reports.{_MODULES.get(name, name)}")
    render = getattr(module, _PIECES.get(name, f"render_{name}"))
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before = _status("VmRSS")
    made = render(content)
    with open("/dev/null", "w", encoding="utf-8") as file:
        file.writelines([made] if isinstance(made, str) else made)
    return round((_status("VmHWM") - before) / 1024, 1)


def _status(key: str) -> int:
    """One figure of this process, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(_peak(sys.argv[1], int(sys.argv[2]))))
    else:
        print(json.dumps({**measure(), "memory_mib": memory()}, indent=2))
