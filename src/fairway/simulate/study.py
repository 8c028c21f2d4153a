"""Many rollouts of one scenario, and what they say with their intervals."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from fairway.observe.fold import Block
from fairway.rollout.values import Step
from fairway.simulate.best import BestPossible
from fairway.simulate.rivals import INTERVAL_SECONDS, RULES, Limits, MinuteBook
from fairway.simulate.rollout import CANDIDATE, WARM_UP_BLOCKS, Course, Ending, ModelledRun
from fairway.simulate.scenario import BLOCK_SECONDS, MUST_NOT_PROMOTE, MUST_NOT_STOP, Scenario, margins_of
from fairway.simulate.traffic import ModelledTraffic
from fairway.stats.intervals import clopper_pearson
from fairway.verdict.values import GateKind

_P95_OF_NORMAL = 1.6448536269514722
_USUAL_SUCCESS = 0.99
"""What the rules of others are given where the policy has no absolute limit: Flagger's documented example."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One rollout, and what others would have done on its traffic.

    Delays are seconds from the candidate's fault (or its first exposure, the later one); below 0 it was stopped
    before there was a fault. ``None``: not stopped in the simulated time.

    Attributes:
        share_exposed: Of the conversations and users active in the simulated time, those that were on the candidate
            until the rollout was decided.
        rivals: One for each of ``rivals.RULES``.
        best: Of the log-optimal test; also ``None`` where there is none for the scenario.
    """

    course: Course
    delay: float | None
    share_exposed: float
    rivals: tuple[float | None, ...]
    best: float | None


def simulate(scenario: Scenario, seed: int) -> Outcome:
    """One rollout of a scenario; the same seed gives the same outcome."""
    traffic = scenario.traffic(seed)
    run = ModelledRun(traffic=traffic, plan=scenario.plan)
    run.start()
    watch = _Watch(scenario=scenario, traffic=traffic)
    served, split = 0, 0.0
    while served < scenario.blocks and not run.over:
        rollout, split = run.state.rollout, run.split
        run.block()
        served += 1
        watch.see(run.blocks[WARM_UP_BLOCKS + len(watch.seen) :], None if rollout is None else run.step_of(rollout))
    left = scenario.blocks - served
    # The others go on under the last split, as if nobody had decided.
    watch.see(run.unripe, watch.step)
    watch.see([traffic.next_block(split=split) for _ in range(left)], watch.step)
    course = run.course()
    exposed_at = WARM_UP_BLOCKS * BLOCK_SECONDS if course.exposed_at is None else course.exposed_at
    fault = max(exposed_at, scenario.onset_block * BLOCK_SECONDS)
    stopped = course.ended_at if course.ending is Ending.ROLLED_BACK else None
    known_late = scenario.traffic(seed).delay * BLOCK_SECONDS
    return Outcome(
        course=course,
        delay=None if stopped is None else stopped - fault,
        share_exposed=course.exposed / max(1.0, course.active + left * traffic.units_per_block),
        rivals=tuple(
            None if minutes is None else exposed_at + minutes * INTERVAL_SECONDS + known_late - fault
            for minutes in watch.rivals()
        ),
        best=None if watch.best_at is None else watch.best_at + known_late - fault,
    )


@dataclass(slots=True, kw_only=True)
class _Watch:
    """Who else looks at the blocks of a rollout."""

    scenario: Scenario
    traffic: ModelledTraffic
    seen: list[Block] = field(default_factory=list)
    step: Step | None = None
    best_at: float | None = None
    _book: MinuteBook = field(default_factory=lambda: MinuteBook(candidate=CANDIDATE.release))
    _best: BestPossible | None = field(init=False)

    def __post_init__(self) -> None:
        knows = BestPossible.knows(self.traffic)
        self._best = BestPossible(traffic=self.traffic, alpha=self.scenario.alpha_fail) if knows else None

    def see(self, blocks: Iterable[Block], step: Step | None) -> None:
        """Mature blocks in order, served in this step."""
        self.step = step or self.step
        for block in blocks:
            self.seen.append(block)
            self._book.keep(block)
            if self._best is None or self.best_at is not None or self.step is None:
                continue
            gates = {gate.kind: gate for gate in self.step.gates}
            failures = gates.get(GateKind.FAILURES)
            latency = gates.get(GateKind.LATENCY_P95_LAST) or gates.get(GateKind.LATENCY_P95)
            enough = self._best.keep(
                block,
                failure_margin=None if failures is None else failures.margin_to_fail,
                latency_margin=None if latency is None else latency.margin,
            )
            if enough:
                self.best_at = block.t0 - self.traffic.began + block.seconds

    def rivals(self) -> tuple[int | None, ...]:
        """Intervals from the first exposure after which each rule gives up."""
        limits = limits_of(self.scenario)
        return tuple(rule.stops_at(self._book.minutes, limits) for rule in RULES)


@contextmanager
def _no_collections() -> Iterator[None]:
    """No garbage is looked for meanwhile: a rollout makes a hundred thousand values and no cycles worth a search."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def limits_of(scenario: Scenario) -> Limits:
    """The policy's own limits as fixed ones: its absolute success, and its last P95 margin on stable's true P95."""
    margins, stable = margins_of(scenario.plan), scenario.traffic(0).stable
    p95 = stable.latency_ms * math.exp(_P95_OF_NORMAL * stable.spread)
    return Limits(
        success=_USUAL_SUCCESS if margins.success is None else margins.success,
        p95_ms=None if margins.latency is None else p95 * margins.latency,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A share of rollouts with its exact 95 % interval (Clopper-Pearson)."""

    hits: int
    of: int

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper limit; ``(0, 1)`` without rollouts."""
        return clopper_pearson(self.hits, self.of) if self.of else (0.0, 1.0)

    def to_wire(self) -> dict[str, object]:
        """A JSON-able value."""
        low, high = self.interval
        return {
            "hits": self.hits,
            "of": self.of,
            "share": self.hits / self.of if self.of else None,
            "low": low,
            "high": high,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Delays:
    """How long it took, over all rollouts of a scenario: one that was not stopped counts as longer than any.

    Attributes:
        median, p10, p90: Seconds; ``None`` when that share was not stopped in the simulated time.
        stopped: Rollouts stopped after the fault.
        early: Rollouts stopped before there was one.
        low, high: Exact 95 % interval of the median, from order statistics; ``None``: beyond the simulated time.
    """

    stopped: Rate
    early: int
    median: float | None
    p10: float | None
    p90: float | None
    low: float | None
    high: float | None

    @classmethod
    def of(cls, delays: Sequence[float | None]) -> Delays:
        """From the delay of each rollout."""
        early = sum(1 for delay in delays if delay is not None and delay < 0)
        late = [math.inf if delay is None else delay for delay in delays if delay is None or delay >= 0]
        late.sort()
        low, high = _median_ranks(len(late))
        return cls(
            stopped=Rate(hits=sum(1 for delay in late if delay < math.inf), of=len(delays)),
            early=early,
            median=_at(late, 0.5),
            p10=_at(late, 0.1),
            p90=_at(late, 0.9),
            low=_finite(late, low),
            high=_finite(late, high),
        )

    def to_wire(self) -> dict[str, object]:
        """A JSON-able value; seconds."""
        return {
            "stopped": self.stopped.to_wire(),
            "early": self.early,
            "median": self.median,
            "median_low": self.low,
            "median_high": self.high,
            "p10": self.p10,
            "p90": self.p90,
        }


def _at(ordered: Sequence[float], share: float) -> float | None:
    """The smallest value with at least this share at or below it."""
    return _finite(ordered, max(0, math.ceil(share * len(ordered)) - 1)) if ordered else None


def _finite(ordered: Sequence[float], place: int) -> float | None:
    return ordered[place] if 0 <= place < len(ordered) and ordered[place] < math.inf else None


def _median_ranks(count: int) -> tuple[int, int]:
    """Places of the order statistics that hold the median with 95 % confidence (binomial law)."""
    below, probability = 0, 0.5**count if count < 1000 else 0.0
    total = probability
    while total <= 0.025 and below < count // 2:
        below += 1
        probability = math.exp(
            math.lgamma(count + 1) - math.lgamma(below + 1) - math.lgamma(count - below + 1) - count * math.log(2)
        )
        total += probability
    return max(0, below - 1), min(count - 1, count - below)


@dataclass(slots=True, kw_only=True)
class Study:
    """A scenario and the outcomes so far.

    Attributes:
        wanted: How many rollouts were asked for.
    """

    scenario: Scenario
    wanted: int
    outcomes: list[Outcome] = field(default_factory=list)

    def run(self, seed: int) -> Iterator[Outcome]:
        """Simulate until there are as many as wanted; stopping in between loses nothing.

        Args:
            seed: Rollout ``i`` has the seed ``seed * 1,000,003 + i``, so that studies share none by accident.
        """
        while len(self.outcomes) < self.wanted:
            with _no_collections():
                outcome = simulate(self.scenario, seed * 1_000_003 + len(self.outcomes))
            self.outcomes.append(outcome)
            yield outcome

    def ended(self, ending: Ending) -> Rate:
        """How often it ended so."""
        return Rate(hits=sum(each.course.ending is ending for each in self.outcomes), of=len(self.outcomes))

    @property
    def delays(self) -> Delays:
        """Fairway's."""
        return Delays.of([each.delay for each in self.outcomes])

    @property
    def best(self) -> Delays | None:
        """Those of the log-optimal test; ``None`` where there is none, or nothing to find."""
        delays = [each.best for each in self.outcomes]
        return None if all(delay is None for delay in delays) else Delays.of(delays)

    def rivals(self) -> dict[str, Delays]:
        """By name of the rule."""
        return {
            rule.name: Delays.of([each.rivals[place] for each in self.outcomes]) for place, rule in enumerate(RULES)
        }

    def exposed(self) -> tuple[float | None, float | None]:
        """Median and 90th percentile of the share of users exposed, over rollouts that were rolled back."""
        shares = sorted(each.share_exposed for each in self.outcomes if each.course.ending is Ending.ROLLED_BACK)
        return _at(shares, 0.5), _at(shares, 0.9)

    def stopped_by(self) -> dict[str, int]:
        """How often each gate (or, without one, reason code) rolled back."""
        counts: dict[str, int] = {}
        for each in self.outcomes:
            if each.course.ending is Ending.ROLLED_BACK:
                name = " and ".join(each.course.gates) or each.course.code
                counts[name] = counts.get(name, 0) + 1
        return dict(sorted(counts.items()))

    def paused_by(self) -> dict[str, int]:
        """How often each reason code left it waiting for a person."""
        counts: dict[str, int] = {}
        for each in self.outcomes:
            if each.course.ending is Ending.PAUSED:
                counts[each.course.code] = counts.get(each.course.code, 0) + 1
        return dict(sorted(counts.items()))

    def broken_promise(self) -> str:
        """Which promise of the policy these rollouts disprove (95 %, two-sided); ``""`` when none."""
        if self.scenario.effect in MUST_NOT_STOP:
            rate, limit, what = self.ended(Ending.ROLLED_BACK), self.scenario.alpha_fail, "rolled back"
        elif self.scenario.effect in MUST_NOT_PROMOTE:
            rate, limit, what = self.ended(Ending.PROMOTED), self.scenario.alpha_pass, "promoted"
        else:
            return ""
        low, _ = rate.interval
        return f"{rate.hits} of {rate.of} {what}, the policy promises at most {limit:.1%}" if low > limit else ""

    def to_wire(self) -> dict[str, object]:
        """A JSON-able value."""
        scenario, best = self.scenario, self.best
        median, p90 = self.exposed()
        return {
            "policy": scenario.policy,
            "effect": scenario.effect.value,
            "shape": scenario.shape.value,
            "per_minute": scenario.per_minute,
            "held": scenario.held,
            "seconds": scenario.seconds,
            "rollouts": len(self.outcomes),
            "endings": {ending.value: self.ended(ending).to_wire() for ending in Ending},
            "delay": self.delays.to_wire(),
            "best_possible": None if best is None else best.to_wire(),
            "users_exposed": {"median": median, "p90": p90},
            "stopped_by": self.stopped_by(),
            "paused_by": self.paused_by(),
            "rules": {name: delays.to_wire() for name, delays in self.rivals().items()},
            "broken_promise": self.broken_promise() or None,
        }
