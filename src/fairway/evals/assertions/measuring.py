"""Measures what takes more than the observation: scripts, webhooks, embeddings; judges are somebody else's."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from fairway.evals.assertions.check import check, combine_set, needs_measuring, negated, result_of
from fairway.evals.assertions.finding import Finding, unknown
from fairway.evals.assertions.kind import How
from fairway.evals.assertions.registry import KINDS
from fairway.evals.trials import Measuring, Observed
from fairway.evals.values import Assertion, AssertionResult, Found


class Asked(Protocol):
    """A script or a webhook."""

    async def measure(self, assertion: Assertion, observed: Observed) -> Finding:
        """What it says; never an exception for an answer that cannot be used."""
        ...


class Compared(Protocol):
    """An embedding model."""

    async def measure(self, assertion: Assertion, observed: Observed) -> tuple[Finding, int | None, int]:
        """What it says, what that cost in millionths of a US dollar (``None``: not known), and the calls it took."""
        ...


class Measurers:
    """`Measuring` for every kind: each assertion goes to who can decide it. Who is not there leaves it unknown."""

    def __init__(
        self,
        *,
        judge: Measuring | None = None,
        scripts: Asked | None = None,
        webhooks: Asked | None = None,
        similarity: Compared | None = None,
    ) -> None:
        """Take those who measure.

        Args:
            judge: For the judges' kinds; it applies ``not-`` itself.
            scripts: For ``python``.
            webhooks: For ``webhook``.
            similarity: For ``similar``.
        """
        self._judge = judge
        self._scripts = scripts
        self._webhooks = webhooks
        self._similarity = similarity

    async def measure(self, assertion: Assertion, observed: Observed, *, repeat: int) -> AssertionResult:
        """What is said of an assertion; of a set, of all its members, once no cheap one decides it.

        Raises:
            FairwayError: What is no trouble of who measures: no room below the spend cap, a price nobody knows.
        """
        if assertion.members:
            return await self._set(assertion, observed, repeat)
        kind = KINDS.get(assertion.type)
        if kind is None or kind.how is How.CHECKED:
            return check(assertion, observed)
        if kind.how is How.JUDGED:
            if self._judge is None:
                return check(assertion, observed)
            return await self._judge.measure(assertion, observed, repeat=repeat)
        finding, cost, calls = await self._asked(assertion, observed)
        said = negated(assertion, finding) if assertion.negated else finding
        return replace(result_of(assertion, said), cost_micros=cost, calls=calls)

    async def _asked(self, assertion: Assertion, observed: Observed) -> tuple[Finding, int | None, int]:
        if assertion.type == "python":
            who: Asked | None = self._scripts
        elif assertion.type == "webhook":
            who = self._webhooks
        elif self._similarity is not None:
            return await self._similarity.measure(assertion, observed)
        else:
            return unknown("no embedding model is configured here, or only the mock model is"), 0, 0
        if who is None:
            return unknown(f"{assertion.type} assertions are not run here"), 0, 0
        return await who.measure(assertion, observed), 0, 0

    async def _set(self, assertion: Assertion, observed: Observed, repeat: int) -> AssertionResult:
        results = [check(member, observed) for member in assertion.members]
        if combine_set(replace(assertion, negated=False), results).found is not Found.VIOLATED:
            for position, member in enumerate(assertion.members):
                if needs_measuring(member):
                    results[position] = await self.measure(member, observed, repeat=repeat)
        return combine_set(assertion, results)
