"""How often the gate of evaluations errs, and what it sees: ``python -m benchmarks.eval_gate [--runs N] [--write]``.

Each row plays modelled suites with known pass rates through the real ``decide`` and ``next_wave``, and counts the
verdicts, from seeds. Beside it stand three gates people use instead. ``--write`` puts the table into
``docs/evals/gate.md``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Sequence
from pathlib import Path

from fairway.testing.gate_scenarios import OTHERS, SCENARIOS, Row, simulate
from fairway.units import Verdict

PAGE = Path(__file__).resolve().parent.parent / "docs" / "evals" / "gate.md"
BEGIN, END = "<!-- simulated: begin -->", "<!-- simulated: end -->"


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    names = ["pass rates", "N", "repeats", "change", "REGRESSION", "PASS", "neither", "trials a case", *OTHERS, "runs"]
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for row in rows:
        one = row.scenario
        shares = [f"{100 * row.ever[verdict] / row.runs:.1f}" for verdict in (Verdict.FAIL, Verdict.PASS)]
        for promise in one.promises:
            place = 0 if promise.verdict is Verdict.FAIL else 1
            low, high = row.interval(promise.verdict)
            shares[place] = f"**{shares[place]}** [{100 * low:.1f}, {100 * high:.1f}]"
        neither = "-" if one.attempts > 1 else f"{100 * row.ever[Verdict.INCONCLUSIVE] / row.runs:.1f}"
        others = [f"{100 * row.others[name] / row.runs:.0f}" for name in OTHERS]
        cells = [
            one.rates,
            str(one.cases),
            one.repeated,
            one.change,
            *shares,
            neither,
            f"{row.trials:.1f}",
            *others,
            str(row.runs),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _simulated(asked: tuple[int, int]) -> Row:
    index, runs = asked
    scenario = SCENARIOS[index]
    return simulate(scenario, max(1, runs // scenario.effort))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1200)
    parser.add_argument("--first", type=int, default=0, help="begin with this row, to go on where one stopped")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="put the table into docs/evals/gate.md")
    asked = parser.parse_args()
    rows = []
    with multiprocessing.Pool(asked.processes) as pool:
        for row in pool.imap(_simulated, [(index, asked.runs) for index in range(asked.first, len(SCENARIOS))]):
            rows.append(row)
            print(table([row]).splitlines()[-1], file=sys.stderr, flush=True)
    made = table(rows)
    print(made)
    if asked.write:
        text = PAGE.read_text()
        start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
        PAGE.write_text(f"{text[:start]}\n{made}\n{text[end:]}")


if __name__ == "__main__":
    main()
