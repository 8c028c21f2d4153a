"""Scenarios in which the truth is known, and what is promised of the eval gate in each: its error rates, counted."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from fairway.evals.gating.policy import EvalPolicy
from fairway.stats.intervals import clopper_pearson
from fairway.testing.modelled_suites import Course, World, beta, broken, ceiling, lowered, play, tau_bench
from fairway.units import Verdict

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
    def effort(self) -> int:
        """What part of the runs a table plays of it: those that take long are played less often."""
        return 6 if self.slow else 4 if self.adaptive and self.cases >= 200 else 1

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
        """What happened to the candidate, in points of the suite's mean pass rate."""
        return "none" if self.fall == 0 else f"-{100 * self.fall:.0f} points, {self.how}"

    @property
    def repeated(self) -> str:
        """How it is played."""
        again = f", {self.attempts} attempts" if self.attempts > 1 else ""
        kept = "" if self.fresh else ", one baseline"
        families = f", families of {self.family}" if self.family > 1 else ""
        return ("adaptive" if self.adaptive else f"K = {self.repeats}") + again + kept + families

    def course(self, seed: int) -> Course:
        """One candidate, from a seed."""
        dice = random.Random(f"{self.rates} {self.cases} {seed}")  # noqa: S311 - modelled dice
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


def _both(one: Scenario) -> tuple[Scenario, ...]:
    """No change and a change of exactly the margin, spread and concentrated."""
    return one, replace(one, fall=MARGIN), replace(one, fall=MARGIN, how="broken")


SCENARIOS: tuple[Scenario, ...] = (
    *(one for n in (50, 200) for k in (1, 4) for one in _both(Scenario(rates="τ-bench", cases=n, repeats=k))),
    *(one for n in (50, 200) for k in (1, 4) for one in _both(Scenario(rates="Beta(8, ½)", cases=n, repeats=k))),
    *(one for n in (50, 200) for one in _both(Scenario(rates="τ-bench", cases=n, adaptive=True))),
    *_both(Scenario(rates="Beta(8, ½)", cases=200, adaptive=True)),
    *(Scenario(rates="all pass", cases=n, repeats=k) for n in (63, 200) for k in (1, 4)),
    *(Scenario(rates="all pass", cases=n, fall=MARGIN, how=how) for n in (63, 200) for how in ("every case", "broken")),
    *_both(Scenario(rates="τ-bench", cases=200, repeats=4, family=5, outage=0.1)),
    Scenario(rates="all pass", cases=100, family=10, outage=0.2),
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
