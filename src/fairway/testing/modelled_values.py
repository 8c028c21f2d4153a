"""Modelled values for tests: what agents say in ``fairway simulate``, under the name the test kit has for it."""

from __future__ import annotations

from fairway.simulate.values import ModelledValues, ValueModel, rescaled

__all__ = ["ModelledValues", "ValueModel", "rescaled"]
