"""Sums of numbers kept as logarithms, so that an e-value of e^900 is as good as one of 9."""

from __future__ import annotations

import math
from collections.abc import Sequence


def log_sum_exp(logs: Sequence[float]) -> float:
    """``ln Σ exp(logs)``; minus infinity for nothing, or for nothing but minus infinities."""
    top = max(logs, default=-math.inf)
    if top == -math.inf:
        return top
    exp = math.exp
    return top + math.log(math.fsum([exp(value - top) for value in logs]))


def log_mean_exp(logs: Sequence[float], log_weights: Sequence[float]) -> float:
    """``ln Σ w exp(logs)`` with weights that sum to one, given as logarithms."""
    return log_sum_exp([value + weight for value, weight in zip(logs, log_weights, strict=True)])
