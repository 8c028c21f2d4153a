"""Two sides whose true pass rates are known, played trial by trial: to count how often the eval gate errs.

The gate that is asked is the real one, adaptive waves included; only the agents are dice.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fairway.evals.gating.adaptive import next_wave
from fairway.evals.gating.decide import decide
from fairway.evals.gating.decision import EvalDecision
from fairway.evals.gating.policy import WAVES, EvalPolicy
from fairway.evals.trials import CaseTrials, Side
from fairway.evals.values import CaseOutcome
from fairway.units import Digest, Verdict

TAU_BENCH_AIRLINE = {0: 16, 1: 13, 2: 8, 3: 5, 4: 8}
"""Tasks by how many of four trials passed, of 50.

The only whole numbers that give pass^1 … pass^4 = .380, .237, .185, .160: tool-calling gpt-4o in the table of
https://github.com/sierra-research/tau-bench (README at 034a267).
"""

_INSTRUMENT = Digest("sha256:" + "5" * 64)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is true.

    Attributes:
        baseline, candidate: Pass rate of each case.
        family: Cases of one family, one after the other; 1: each for itself.
        outage: Chance that, in an attempt, a whole family fails together on one side.
    """

    baseline: tuple[float, ...]
    candidate: tuple[float, ...]
    family: int = 1
    outage: float = 0.0


def tau_bench(cases: int, dice: random.Random) -> tuple[float, ...]:
    """Rates drawn from the tasks of :data:`TAU_BENCH_AIRLINE`, a task's rate being its share of four trials."""
    tasks = [passed / 4 for passed, often in TAU_BENCH_AIRLINE.items() for _ in range(often)]
    return tuple(dice.choice(tasks) for _ in range(cases))


def beta(a: float, b: float) -> Callable[[int, random.Random], tuple[float, ...]]:
    """Rates drawn from a beta distribution."""
    return lambda cases, dice: tuple(dice.betavariate(a, b) for _ in range(cases))


def ceiling(cases: int, _dice: random.Random) -> tuple[float, ...]:
    """Every case always passes."""
    return (1.0,) * cases


def lowered(rates: Sequence[float], fall: float) -> tuple[float, ...]:
    """Every case worse by the same, as far as it can fall, so that the suite's mean falls by exactly ``fall``."""
    low, high, wanted = 0.0, 1.0, sum(rates) - fall * len(rates)
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(max(0.0, rate - middle) for rate in rates) > wanted else (low, middle)
    return tuple(max(0.0, rate - low) for rate in rates)


def broken(rates: Sequence[float], fall: float, dice: random.Random) -> tuple[float, ...]:
    """Some cases always fail, the others are as before, so that the suite's mean falls by exactly ``fall``."""
    left, found = fall * len(rates), list(rates)
    for index in dice.sample(range(len(rates)), len(rates)):
        lost = min(left, found[index])
        found[index] -= lost
        left -= lost
    return tuple(found)


@dataclass(slots=True)
class Played:
    """Both sides of a world as they are played on, attempt by attempt."""

    world: World
    dice: random.Random
    repeats: int = 1
    fresh: bool = True
    mine: list[list[tuple[CaseOutcome, int, int, float]]] = field(default_factory=list)
    theirs: list[list[tuple[CaseOutcome, int, int, float]]] = field(default_factory=list)
    attempts: int = 0

    def __post_init__(self) -> None:
        """Nothing was played yet."""
        self.mine = [[] for _ in self.world.candidate]
        self.theirs = [[] for _ in self.world.baseline]

    @property
    def trials(self) -> int:
        """Trials of the candidate."""
        return sum(len(one) for one in self.mine)

    def attempt(self, policy: EvalPolicy, *, seed: int) -> EvalDecision:
        """Play another attempt, with its adaptive waves, and let the gate decide over all of them."""
        number = self.attempts
        self.attempts += 1
        for rows, rates in ((self.mine, self.world.candidate), (self.theirs, self.world.baseline)):
            if rows is self.mine or self.fresh or number == 0:
                self._planned(rows, rates, number)
        decision = decide(*self.sides(), policy)
        for wave in range(1, WAVES if policy.adaptive else 1):
            chosen = next_wave(*self.sides(), policy, wave=wave, seed=seed)
            if not chosen:
                break
            for one in chosen:
                index = int(one.case_id)
                for rows, rates in ((self.mine, self.world.candidate), (self.theirs, self.world.baseline)):
                    rows[index].append((self._outcome(rates[index]), number, wave, one.inclusion))
            decision = decide(*self.sides(), policy)
        return decision

    def sides(self) -> tuple[Side, Side]:
        """As the gate takes them."""
        return self._side("candidate", self.mine), self._side("baseline", self.theirs)

    def _planned(
        self, rows: list[list[tuple[CaseOutcome, int, int, float]]], rates: Sequence[float], number: int
    ) -> None:
        out = False
        for index, rate in enumerate(rates):
            if index % self.world.family == 0:
                out = self.world.outage > 0 and self.dice.random() < self.world.outage
            rows[index].extend((self._outcome(0.0 if out else rate), number, 0, 1.0) for _ in range(self.repeats))

    def _outcome(self, rate: float) -> CaseOutcome:
        return CaseOutcome.PASSED if self.dice.random() < rate else CaseOutcome.FAILED

    def _side(self, name: str, rows: Sequence[Sequence[tuple[CaseOutcome, int, int, float]]]) -> Side:
        return Side(
            name=name,
            instrument=_INSTRUMENT,
            cases=tuple(self._case(index, one) for index, one in enumerate(rows)),
        )

    def _case(self, index: int, rows: Sequence[tuple[CaseOutcome, int, int, float]]) -> CaseTrials:
        outcomes, attempts, waves, inclusion = zip(*rows, strict=True)
        return CaseTrials(
            suite="modelled",
            case_id=str(index),
            cluster=str(index // self.world.family),
            planned=self.repeats,
            needed=self.repeats,
            outcomes=outcomes,
            scores=(None,) * len(rows),
            tokens=(None,) * len(rows),
            cost_micros=(None,) * len(rows),
            inclusion=inclusion,
            attempts=attempts,
            waves=waves,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How one candidate went.

    Attributes:
        verdicts: After each attempt.
        trials: Of the candidate, all attempts together.
        last: The last decision.
        outcomes: Of each case in the first attempt, candidate and baseline, for other gates to look at.
    """

    verdicts: tuple[Verdict, ...]
    trials: int
    last: EvalDecision
    outcomes: tuple[tuple[tuple[bool, ...], tuple[bool, ...]], ...]


def play(
    world: World,
    policy: EvalPolicy,
    *,
    repeats: int,
    seed: int,
    attempts: int = 1,
    until: frozenset[Verdict] = frozenset(),
    fresh: bool = True,
) -> Course:
    """Play a world and ask the gate.

    Args:
        world: What is true.
        policy: The gate's.
        repeats: Planned trials of each case.
        seed: The same one gives the same course.
        attempts: How often it is run again, at most.
        until: Verdicts after which nobody runs it again.
        fresh: Every attempt asks the baseline anew; else it is asked once.
    """
    played = Played(world, random.Random(seed), repeats=repeats, fresh=fresh)  # noqa: S311 - modelled dice
    verdicts = []
    first: tuple[tuple[tuple[bool, ...], tuple[bool, ...]], ...] = ()
    for number in range(attempts):
        decision = played.attempt(policy, seed=seed)
        verdicts.append(decision.verdict)
        if number == 0:
            first = tuple((_passes(a), _passes(b)) for a, b in zip(played.mine, played.theirs, strict=True))
        if decision.verdict in until:
            break
    return Course(verdicts=tuple(verdicts), trials=played.trials, last=decision, outcomes=first)


def _passes(rows: Sequence[tuple[CaseOutcome, int, int, float]]) -> tuple[bool, ...]:
    return tuple(outcome is CaseOutcome.PASSED for outcome, *_ in rows)
