"""Replies of sampled requests, scored as an evaluation scores them: the same assertions, the same judge, both arms.

A score exists or it does not: whatever breaks, is late or costs too much leaves a reply without one. Missing scores
hold the gate that asks for them, and an arm whose replies get fewer is noticed there; none is ever made up.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from fairway.errors import FairwayError
from fairway.evals.assertions.check import needs_measuring
from fairway.evals.live.turns import LiveTurn
from fairway.evals.running.spend import PriceError, Reservation, SpendCap, SpendError
from fairway.evals.scoring import score_trial
from fairway.evals.trials import Measuring, Observed, Trial
from fairway.evals.values import Assertion, AssertionResult, Case, CaseOutcome, CaseResult, Found

log = logging.getLogger("fairway.live")

SPENT = "live/spent.json"
"""What judges cost today, below the project's state folder."""

_SUITE = "online"
_OPEN = (Found.UNKNOWN, Found.INVALID, Found.ERROR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What became of one sampled reply.

    Attributes:
        score_micros: In millionths of 1; ``None``: it has no score, ``why`` says for what reason.
        why: Empty with a score.
    """

    request: str
    unit: str
    release: str
    role: str
    t0: float
    score_micros: int | None
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        """As it is kept and read by the controller."""
        return {
            "request": self.request, "unit": self.unit, "release": self.release, "role": self.role, "t0": self.t0,
            "score": self.score_micros, "why": self.why,
        }  # fmt: skip


class DailyCap(SpendCap):
    """A spend cap that begins anew each day (UTC), and not with each process."""

    def __init__(self, limit_micros: int, now: Callable[[], datetime], *, kept: Path | None = None) -> None:
        """Take the limit of a day, the clock, and the file that says what was spent today.

        Args:
            limit_micros: Of a day.
            now: The time, aware.
            kept: Need not be there; ``None``: a new process begins anew. What cannot be read is not known, so nothing
                is spent until tomorrow.
        """
        super().__init__(limit_micros)
        self._now = now
        self._day = now().date()
        self._kept = kept
        if kept is not None and kept.exists():
            self._recall(kept)

    def _recall(self, kept: Path) -> None:
        try:
            value = json.loads(kept.read_bytes())
            day, spent = value["day"], value["spent_micros"]
            if not isinstance(day, str) or not (spent is None or (type(spent) is int and spent >= 0)):
                raise ValueError("is no day and a sum")
        except (OSError, ValueError, KeyError, TypeError):
            day, spent = self._day.isoformat(), None
        if day == self._day.isoformat():
            self._spent, self._unknown = spent or 0, spent is None

    def _count(self, cost_micros: int | None) -> None:
        super()._count(cost_micros)
        if self._kept is None:
            return
        spent = None if self._unknown else self._spent
        scratch = self._kept.with_suffix(".new")
        try:
            scratch.write_text(json.dumps({"day": self._day.isoformat(), "spent_micros": spent}))
            scratch.replace(self._kept)
        except OSError as error:
            log.error("what was spent today was not written: %s", error)

    async def reserve(self, at_most: int | None) -> Reservation:
        """As of any cap; the first call of a day finds all of it.

        Raises:
            SpendError: It does not fit into what is left of the day.
            PriceError: What an earlier call of the day cost is not known.
        """
        today = self._now().date()
        if today != self._day:
            self._day = today
            self._spent, self._unknown, self._unpriced = 0, False, 0
        return await super().reserve(at_most)


class OnlineScorer:
    """Scores one reply after the other, or several at a time."""

    def __init__(
        self,
        assertions: tuple[Assertion, ...],
        rubric: str | None,
        *,
        measuring: Measuring | None = None,
        timeout: float = 60.0,
    ) -> None:
        """Take what replies are scored by.

        Args:
            assertions: Of a reply alone, parsed as a suite's are.
            rubric: What the judge grades by.
            measuring: Asks judges and the like; ``None``: what needs one has no score.
            timeout: Seconds one reply may take.
        """
        self._case = Case(id="online", name="online", turns=("",), assertions=assertions, rubric=rubric)
        self._measuring = measuring
        self._timeout = timeout

    async def score(self, turn: LiveTurn) -> Scored:
        """The score of one reply; never an exception for what can break."""
        if turn.reply is None:
            return _scored(turn, None, "there is no reply to score")
        try:
            async with asyncio.timeout(self._timeout):
                result = await self._result(turn)
        except TimeoutError:
            return _scored(turn, None, f"scoring took longer than {self._timeout:g} s")
        except (SpendError, PriceError) as error:
            return _scored(turn, None, error.message)
        except FairwayError as error:
            return _scored(turn, None, f"the scorer broke: {error.message}")
        except Exception as error:  # noqa: BLE001 - the loop's border: what breaks in a new way is missing data too
            return _scored(turn, None, f"the scorer broke: {type(error).__name__}")
        if result.outcome not in (CaseOutcome.PASSED, CaseOutcome.FAILED) or result.score is None:
            return _scored(turn, None, result.undecided or result.outcome.value)
        if told := next(_undecided(result.assertions), None):
            return _scored(turn, None, told)
        return _scored(turn, round(min(1.0, max(0.0, result.score)) * 1_000_000))

    async def _result(self, turn: LiveTurn) -> CaseResult:
        assert turn.reply is not None
        case = replace(self._case, turns=(turn.message,))
        replies = (turn.reply,)
        observed = Observed(case=case, replies=replies, duration_seconds=turn.reply.latency_seconds)
        measured: dict[int, AssertionResult] = {}
        if self._measuring is not None:
            # also of a reply that is wrong already: a judge that is down must not leave those scored alone
            for position in (at for at, one in enumerate(case.checks) if needs_measuring(one)):
                measured[position] = await self._measuring.measure(case.checks[position], observed, repeat=0)
        trial = Trial(suite=_SUITE, case_id=case.id, replies=replies, measured=measured)
        return score_trial(_SUITE, case, trial)


def _undecided(results: Iterable[AssertionResult]) -> Iterator[str]:
    """What could not be decided of a reply, a set's members included: its score would be the best it could have."""
    for one in results:
        if one.weight > 0 and one.found in _OPEN:
            yield f"{one.type}: {one.message}"
        members = (one.detail or {}).get("members", ()) if one.type.endswith("assert-set") else ()
        yield from (f"{one.type}: a member is {member['found']}" for member in members if member["found"] in _OPEN)


def _scored(turn: LiveTurn, score_micros: int | None, why: str = "") -> Scored:
    return Scored(
        request=turn.request,
        unit=turn.unit,
        release=turn.release,
        role=turn.role,
        t0=turn.t0,
        score_micros=score_micros,
        why=why,
    )
