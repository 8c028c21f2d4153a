"""Modelled traffic for tests: the model of ``fairway simulate``, under the name the test kit has for it."""

from __future__ import annotations

from fairway.simulate.traffic import (
    MODELLED_CANDIDATE,
    MODELLED_STABLE,
    ArmModel,
    ModelledTraffic,
    calm,
    drift,
    outage,
)

__all__ = [
    "MODELLED_CANDIDATE",
    "MODELLED_STABLE",
    "ArmModel",
    "ModelledTraffic",
    "calm",
    "drift",
    "outage",
]
