"""All gates and alarms of one rollout, reading its blocks together: what is alike for them is worked out once."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from fairway.observe.fold import Block
from fairway.units import Digest, Verdict
from fairway.verdict.ages import Ages
from fairway.verdict.alarms import AlarmState, find_alarms, observe_alarms, start_alarms
from fairway.verdict.findings import find, verdict_of
from fairway.verdict.gates import at_reading, next_step_of, observe_sight, reading_after, sleeps_through, start
from fairway.verdict.kinds import Test, limit_of, recipe_of
from fairway.verdict.shared_cause import RECENT_BLOCKS, suffers
from fairway.verdict.sight import Sight, see
from fairway.verdict.tally import GateState, Reading
from fairway.verdict.values import MEAN_KINDS, Alarm, AlarmPolicy, GateFinding, GateSpec, Scope

KEPT_BLOCKS = 2_000
"""Blocks whose readings are kept for a gate that begins anew at a later step; older ones are read again by each."""

REFRESH_BLOCKS = 6
"""The figures of a gate that need not pass are taken again so often, and whenever its verdict changes."""


@dataclass(slots=True)
class _Chain:
    """A reading that gates share, after so many blocks and after one less."""

    key: tuple[object, ...]
    read: int
    before: Reading
    after: Reading

    def go_on(self, spec: GateSpec, sights: Sequence[Sight]) -> None:
        """Read the next block, unless another gate has."""
        if self.read < len(sights):
            self.before, self.after = self.after, reading_after(spec, self.after, sights[self.read])
            self.read += 1


@dataclass(slots=True)
class _Gate:
    """A gate, how far it has read, and what it last said and when.

    ``told`` is the spec as it last came, ``shared`` whether stable suffered as well when a limit was broken.

    Most blocks change nothing of a gate but how much it has read, which it shares with others: it sleeps through them,
    and what it has read is in its chain. Its own state holds the ``known`` first of the blocks it has ``read``.
    """

    spec: GateSpec
    told: GateSpec
    step_from: float
    state: GateState
    read: int = 0
    finding: GateFinding | None = None
    found: int = 0
    shared: bool | None = None
    chain: _Chain | None = None
    asleep: bool = False
    known: int = 0

    def take(self, sights: Sequence[Sight], chains: list[_Chain], *, before: float = math.inf) -> None:
        """Read what is new and starts before that (epoch seconds)."""
        new, chain = len(sights) - self.read, self.chain
        if new == 1 and chain is not None and chain.read >= self.read and sights[-1].block.t0 < before:
            chain.go_on(self.spec, sights)
            self.asleep = sleeps_through(self.spec, self.state, sights[-1], before=chain.before, after=chain.after)
            if self.asleep:
                self.read += 1
                return
            self._have(chain.before)
        elif new:
            self.asleep = False
            self.wake(sights)
        while self.read < len(sights) and sights[self.read].block.t0 < before:
            self._observe(sights)
        if new and self.read == len(sights) and self.spec.kind not in MEAN_KINDS:
            self.chain = self._chained(chains)

    def _observe(self, sights: Sequence[Sight]) -> None:
        self.state = observe_sight(self.spec, self.state, sights[self.read])
        self.read += 1
        self.known = self.read

    def _have(self, reading: Reading) -> None:
        if self.state.reading is not reading:
            self.state = at_reading(self.state, reading)
        self.known = self.read

    def _chained(self, chains: list[_Chain]) -> _Chain:
        """The chain that has read what it has; a new one when there is none."""
        reading, spec = self.state.reading, self.spec
        if self.chain is not None and self.chain.after is reading:
            return self.chain
        key = recipe_of(spec).among, spec.scope, spec.settle_blocks
        for chain in chains:
            if chain.after is reading and chain.key == key:
                return chain
        found = _Chain(key, self.read, reading, reading)
        chains.append(found)
        return found

    def wake(self, sights: Sequence[Sight]) -> None:
        """Have the reading of what it slept through: that of its chain, unless the chain has gone on without it."""
        if self.known == self.read:
            return
        if self.chain is not None and self.chain.read == self.read:
            self._have(self.chain.after)
            return
        upto, self.read = self.read, self.known
        while self.read < upto:
            self._observe(sights)

    def say(self, sights: Sequence[Sight], *, eager: bool) -> GateFinding:
        """What it finds; ``eager``: with the figures of the newest block, whatever they are needed for."""
        finding = self.finding
        if finding is None or (self.found != self.read and (eager or self._differs(finding))):
            self.wake(sights)
            finding = self.finding = self._found(sights)
            self.found = self.read
        return finding

    def _found(self, sights: Sequence[Sight]) -> GateFinding:
        """What it finds, with what stable did in the blocks before a broken limit: its calm past hides no outage."""
        finding, failed = find(self.spec, self.state), self.state.evidence.failed if self._absolute else None
        if failed is None or finding.stable_fails_too:
            return finding
        if self.shared is None:
            upto = bisect_right(sights, failed.t0, key=lambda sight: sight.block.t0)
            recent = [sight.stable for sight in sights[max(0, upto - RECENT_BLOCKS) : upto]]
            mark = recipe_of(self.spec).mark
            bad, known = [arm.marked(mark) & arm.active for arm in recent], [arm.known for arm in recent]
            self.shared = suffers(limit_of(self.spec), bad, known)
        return replace(finding, stable_fails_too=self.shared)

    @property
    def _absolute(self) -> bool:
        return self.spec.scope is Scope.ABSOLUTE

    def _differs(self, finding: GateFinding) -> bool:
        """Whether what a decision looks at can have changed: the verdict, and whether a FAIL speaks against it."""
        if self.asleep:
            return False
        if finding.verdict is Verdict.FAIL:
            return self._absolute and not finding.worse_than_stable
        return verdict_of(self.spec, self.state) is not finding.verdict


@dataclass(slots=True, kw_only=True)
class Panel:
    """The gates of one rollout (or of its soak).

    Attributes:
        candidate: Release on trial.
        stable: Release it is compared with; ``None`` for a first release.
        since: Blocks that start earlier (epoch seconds) only teach which units are old.
        alarms: Limits beside the gates; ``None``: none.
        alone: Nobody new is assigned to stable any more: a soak.
        lazy: Take figures again only where a decision can change by them; for simulations.
    """

    candidate: Digest
    stable: Digest | None
    since: float
    alarms: AlarmPolicy | None = None
    alone: bool = False
    lazy: bool = False
    _ages: Ages = field(default_factory=Ages)
    _sights: list[Sight] = field(default_factory=list)
    _gates: dict[str, _Gate] = field(default_factory=dict)
    _chains: list[_Chain] = field(default_factory=list)
    _read_again: bool = False
    _alarm_state: AlarmState | None = None
    _alarms_read: int = 0

    @property
    def upto(self) -> float | None:
        """Start of the newest block taken; ``None`` before any."""
        return self._sights[-1].block.t0 if self._sights else None

    def take(self, block: Block) -> None:
        """One more mature block; one not newer than the newest changes nothing."""
        if self.upto is not None and block.t0 <= self.upto:
            return
        if self._sights:
            self._sights[-1].forget()
        if len(self._sights) >= KEPT_BLOCKS:
            self._sights[-KEPT_BLOCKS].close()
        sight = see(self._ages, block, candidate=self.candidate, stable=self.stable)
        self._ages = sight.ages
        self._sights.append(sight)

    def judge(self, gates: Sequence[GateSpec], *, step_from: float) -> tuple[GateFinding, ...]:
        """What each gate of a step says, after every block taken.

        Args:
            gates: Of the step; a gate goes on under its name from step to step.
            step_from: Epoch seconds from which blocks count for the step.
        """
        findings = tuple([self._of(spec, step_from) for spec in gates])
        if self._read_again:
            self._read_again = False
            for sight in self._sights[:-1]:
                sight.forget()
        return findings

    def _of(self, spec: GateSpec, step_from: float) -> GateFinding:
        gate = self._gates.get(spec.name)
        if gate is None or gate.told is not spec or gate.step_from != step_from:
            gate = self._gates[spec.name] = self._going_on(gate, spec, step_from)
        self._read_again = self._read_again or len(self._sights) - gate.read > 1
        gate.take(self._sights, self._chains)
        figures = spec.must_pass or gate.read - gate.found >= REFRESH_BLOCKS
        return gate.say(self._sights, eager=figures and not self.lazy)

    def _going_on(self, gate: _Gate | None, spec: GateSpec, step_from: float) -> _Gate:
        """The gate at another step: with the evidence it has, or from the beginning."""
        # Whether it must pass changes no evidence.
        asked = replace(spec, must_pass=True, alone=spec.alone or self.alone or self.stable is None)
        if gate is None or not self._goes_on(gate, asked):
            later = spec.from_step and step_from > self.since
            state = start(asked, since=self.since, pass_since=step_from if later else None)
            return _Gate(spec=asked, told=spec, step_from=step_from, state=state)
        if spec.from_step and gate.step_from != step_from:
            gate.take(self._sights, self._chains, before=step_from)
            gate.wake(self._sights)
            gate.state, gate.finding = self._next_step(gate.state, step_from), None
            gate.chain, gate.asleep = None, False
        gate.spec, gate.told, gate.step_from = asked, spec, step_from
        return gate

    def _next_step(self, state: GateState, step_from: float) -> GateState:
        """The gate at the next step; gates that have read alike go on doing so."""
        after, reading = next_step_of(state, pass_since=step_from), state.reading
        if not self._sights:
            return after
        key, sight = (id(reading), step_from, "step"), self._sights[-1]
        found = sight.for_good(key)
        if found is None:
            sight.keep(key, reading, after.reading)
            return after
        return at_reading(after, cast("Reading", found))

    @staticmethod
    def _goes_on(gate: _Gate, spec: GateSpec) -> bool:
        if gate.spec == spec:
            return True
        # What is bad is in the thresholds of the table, so that evidence of FAIL goes on under another margin.
        relative = recipe_of(spec).test is Test.RELATIVE and spec.from_step
        return relative and replace(gate.spec, margin=spec.margin) == spec

    def alarming(self, blocks: Sequence[Block]) -> tuple[Alarm, ...]:
        """What stops the rollout beside its gates; nothing for a first release.

        Args:
            blocks: Those taken, since the first exposure, in order of ``t0``.
        """
        policy = self.alarms
        if policy is None or self.stable is None:
            return ()
        state = self._alarm_state or start_alarms(policy, since=self.since)
        for place in range(self._alarms_read, len(self._sights)):
            state = observe_alarms(policy, state, self._sights[place])
        self._alarm_state, self._alarms_read = state, len(self._sights)
        return find_alarms(policy, state, blocks, candidate=self.candidate, stable=self.stable)
