"""How often the gate of evaluations errs, and what it sees: ``python -m benchmarks.eval_gate [--runs N] [--write]``.

Each row plays modelled suites with known pass rates through the real ``decide`` and ``next_wave``, and counts the
verdicts, from seeds. Beside it stand three gates people use instead. ``--write`` puts the table into
``docs/evals/gate.md``.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fairway.evals.gating.policy import EvalPolicy
from fairway.stats.intervals import clopper_pearson
from fairway.testing.modelled_suites import Course, World, beta, broken, ceiling, lowered, play, tau_bench
from fairway.units import Verdict

PAGE = Path(__file__).resolve().parent.parent / "docs" / "evals" / "gate.md"
BEGIN, END = "<!-- simulated: begin -->", "<!-- simulated: end -->"

RATES: dict[str, Callable[[int, random.Random], tuple[float, ...]]] = {
    "τ-bench": tau_bench,
    "Beta(8, ½)": beta(8, 0.5),
    "all pass": ceiling,
}

MARGIN = 0.05
ALWAYS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What must hold of the share of courses with ``verdict`` after any of their attempts."""

    verdict: Verdict
    at_most: float | None = None
    at_least: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One row: a world, how it is played, and what is promised of it.

    ``fall`` 0: no change. ``how``: every case is a little worse, or some cases broke.
    """

    rates: str
    cases: int
    repeats: int = 1
    fall: float = 0.0
    how: str = "every case"
    adaptive: bool = False
    attempts: int = 1
    fresh: bool = True
    family: int = 1
    outage: float = 0.0
    slow: bool = False

    @property
    def promises(self) -> tuple[Promise, ...]:
        """No change: hardly ever REGRESSION. At the margin: hardly ever PASS."""
        if self.fall == 0:
            return (Promise(verdict=Verdict.FAIL, at_most=ALWAYS),)
        promised = [Promise(verdict=Verdict.PASS, at_most=ALWAYS)]
        if (self.cases, self.repeats, self.how, self.family) == (200, 4, "every case", 1) and self.attempts == 1:
            promised.append(Promise(verdict=Verdict.FAIL, at_least=0.85))
        return tuple(promised)

    @property
    def change(self) -> str:
        return "none" if self.fall == 0 else f"-{100 * self.fall:.0f} points, {self.how}"

    @property
    def repeated(self) -> str:
        again = f", {self.attempts} attempts" if self.attempts > 1 else ""
        kept = "" if self.fresh else ", one baseline"
        families = f", families of {self.family}" if self.family > 1 else ""
        return ("adaptive" if self.adaptive else f"K = {self.repeats}") + again + kept + families

    def course(self, seed: int) -> Course:
        """One candidate, from a seed."""
        dice = random.Random(f"{self.rates} {self.cases} {seed}")
        base = RATES[self.rates](self.cases, dice)
        worse = base if self.fall == 0 else lowered(base, self.fall)
        if self.fall and self.how == "broken":
            worse = broken(base, self.fall, dice)
        return play(
            World(baseline=base, candidate=worse, family=self.family, outage=self.outage),
            EvalPolicy(margin=MARGIN, adaptive=self.adaptive),
            repeats=self.repeats,
            seed=seed,
            attempts=self.attempts,
            until=frozenset({Verdict.FAIL if self.fall == 0 else Verdict.PASS}) if self.attempts > 1 else frozenset(),
            fresh=self.fresh,
        )


def _both(**same: object) -> list[Scenario]:
    """No change and a change of exactly the margin, spread and concentrated."""
    return [
        Scenario(**same),
        Scenario(fall=MARGIN, **same),
        Scenario(fall=MARGIN, how="broken", **same),
    ]


SCENARIOS: tuple[Scenario, ...] = (
    *(one for n in (50, 200) for k in (1, 4) for one in _both(rates="τ-bench", cases=n, repeats=k)),
    *(one for n in (50, 200) for k in (1, 4) for one in _both(rates="Beta(8, ½)", cases=n, repeats=k)),
    *(one for n in (50, 200) for one in _both(rates="τ-bench", cases=n, adaptive=True)),
    *_both(rates="Beta(8, ½)", cases=200, adaptive=True),
    *(Scenario(rates="all pass", cases=n, repeats=k) for n in (63, 200) for k in (1, 4)),
    *(Scenario(rates="all pass", cases=n, fall=MARGIN, how=how) for n in (63, 200) for how in ("every case", "broken")),
    *_both(rates="τ-bench", cases=200, repeats=4, family=5, outage=0.1),
    *(
        one
        for fresh in (True, False)
        for one in (
            Scenario(rates="τ-bench", cases=100, attempts=10, fresh=fresh, slow=True),
            Scenario(rates="τ-bench", cases=100, attempts=10, fresh=fresh, fall=MARGIN, slow=True),
            Scenario(rates="Beta(8, ½)", cases=100, attempts=10, fresh=fresh, fall=MARGIN, slow=True),
        )
    ),
    Scenario(rates="τ-bench", cases=100, adaptive=True, attempts=10, fall=MARGIN, slow=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Counts of one scenario.

    Attributes:
        ever: Courses that had the verdict after any attempt.
        others: How often the gates people use instead said "worse", on the first trial of each case.
        trials: Mean trials a case, of the candidate, all attempts together.
    """

    scenario: Scenario
    runs: int
    ever: Counter[Verdict]
    others: Counter[str]
    trials: float

    def interval(self, verdict: Verdict) -> tuple[float, float]:
        """Clopper-Pearson, 95 %."""
        return clopper_pearson(self.ever[verdict], self.runs)


def simulate(scenario: Scenario, runs: int, *, first_seed: int = 0) -> Row:
    """Play a scenario so many times."""
    ever: Counter[Verdict] = Counter()
    others: Counter[str] = Counter()
    trials = 0
    for seed in range(first_seed, first_seed + runs):
        course = scenario.course(seed)
        ever.update(set(course.verdicts))
        others.update(name for name, says in OTHERS.items() if says(course))
        trials += course.trials
    return Row(scenario=scenario, runs=runs, ever=ever, others=others, trials=trials / runs / scenario.cases)


def _flipped(course: Course) -> tuple[int, int]:
    """Cases whose first trial passed only on the baseline, and only on the candidate."""
    worse = sum(theirs[0] and not mine[0] for mine, theirs in course.outcomes)
    return worse, sum(mine[0] and not theirs[0] for mine, theirs in course.outcomes)


def _mcnemar(course: Course) -> bool:
    worse, better = _flipped(course)
    both = worse + better
    return both > 0 and sum(math.comb(both, x) for x in range(worse, both + 1)) / 2**both <= 0.05


def _lower(course: Course) -> bool:
    mine, theirs = (sum(sum(one[side]) / len(one[side]) for one in course.outcomes) for side in (0, 1))
    return mine < theirs - 1e-9


OTHERS: dict[str, Callable[[Course], bool]] = {
    "any flipped": lambda course: _flipped(course)[0] > 0,
    "mean lower": _lower,
    "McNemar": _mcnemar,
}


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    names = ["pass rates", "N", "repeats", "change", "REGRESSION", "PASS", "neither", "trials a case", *OTHERS]
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
        cells = [one.rates, str(one.cases), one.repeated, one.change, *shares, neither, f"{row.trials:.1f}", *others]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _simulated(asked: tuple[int, int]) -> Row:
    index, runs = asked
    scenario = SCENARIOS[index]
    return simulate(scenario, max(200, runs // 4) if scenario.slow else runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="put the table into docs/evals/gate.md")
    asked = parser.parse_args()
    rows = []
    with multiprocessing.Pool(asked.processes) as pool:
        for row in pool.imap(_simulated, [(index, asked.runs) for index in range(len(SCENARIOS))]):
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
