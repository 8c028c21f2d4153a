# ruff: noqa: RUF002 - Greek letters stand as in the papers
"""The best any test could do: the log-optimal one, which knows the effect and both laws beforehand.

It keeps the promise the policy keeps - a candidate exactly at the last margin is rolled back in at most α - and sums
``ln p_effect(x) / p_margin(x)`` over the candidate's conversations, x being failed or not, and the latency. By Wald's
inequality no such test needs fewer conversations on average than ``ln(1/α) / KL(effect ‖ margin)``; the difference
to it is the price of not knowing what is wrong, by how much, and how stable behaves.

Source: Wald 1945 (sequential probability ratio); Grünwald, de Heide, Koolen, "Safe testing", arXiv 1906.07801,
section 2 (growth-rate optimality). It is a yardstick: it reads the model, which no real test can.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from fairway.observe.blocks import bin_value
from fairway.observe.fold import Block
from fairway.simulate.traffic import MODELLED_CANDIDATE, ModelledTraffic
from fairway.traffic.table import Role


@dataclass(slots=True, kw_only=True)
class BestPossible:
    """The log-optimal test over modelled blocks.

    Attributes:
        traffic: The model it knows. Conversations of one turn and no heavy users: their turns are not independent.
        alpha: Share of candidates at the margin it may roll back.
        log_e: Evidence so far, natural log.
    """

    traffic: ModelledTraffic
    alpha: float
    log_e: float = 0.0
    _stopped: bool = False

    @classmethod
    def knows(cls, traffic: ModelledTraffic) -> bool:
        """Whether the model's conversations are independent, as the test takes them."""
        return traffic.turns == 1 and traffic.heavy_users == 0 and traffic.load_noise == 0.0

    def keep(self, block: Block, *, failure_margin: float | None, latency_margin: float | None) -> bool:
        """One more block; whether the evidence is enough by now.

        Args:
            block: The next one.
            failure_margin: What the policy allows above stable, as a fraction; ``None``: failures are not judged.
            latency_margin: As a ratio; ``None``: latency is not judged.
        """
        index = round((block.t0 - self.traffic.began) / block.seconds)
        arm = block.arms.get(MODELLED_CANDIDATE)
        if arm is not None:
            self.log_e += self._failures(index, arm.finished, arm.failed, failure_margin)
            self.log_e += self._latency(index, arm.latency_ms, latency_margin)
        self._stopped = self._stopped or self.log_e >= -math.log(self.alpha)
        return self._stopped

    def _failures(self, index: int, units: int, failed: int, margin: float | None) -> float:
        if margin is None:
            return 0.0
        effect = self.traffic.failure_of(Role.CANDIDATE, index)
        limit = self.traffic.failure_of(Role.STABLE, index) + margin
        if effect <= limit or limit >= 1.0:
            return 0.0
        if effect >= 1.0:
            return failed * -math.log(limit) if failed == units else -math.inf
        return failed * math.log(effect / limit) + (units - failed) * math.log((1 - effect) / (1 - limit))

    def _latency(self, index: int, histogram: Mapping[int, int], margin: float | None) -> float:
        """Lognormal against lognormal of the same spread, in the bins of the histogram."""
        candidate = self.traffic.model_of(Role.CANDIDATE, index)
        stable = self.traffic.model_of(Role.STABLE, index)
        if margin is None or candidate.spread <= 0:
            return 0.0
        effect = math.log(candidate.latency_ms / stable.latency_ms)
        limit = math.log(margin)
        if effect <= limit:
            return 0.0
        middle = math.log(stable.latency_ms * self.traffic.load(index))
        variance = candidate.spread**2
        return sum(
            count * (effect - limit) * (math.log(bin_value(bin_)) - middle - (effect + limit) / 2) / variance
            for bin_, count in histogram.items()
        )
