"""The judges' part of the instrument."""

from __future__ import annotations

from dataclasses import asdict

from fairway.canonical import value_digest
from fairway.evals.judges.kinds import JUDGE_KINDS
from fairway.evals.judges.settings import JUDGE_VERSION, JudgeSettings
from fairway.units import Digest


def judge_digest(settings: JudgeSettings) -> Digest:
    """Digest over all that a grade depends on besides the case: questions, models, scale, votes, calibration.

    The tasks of the kinds are in it as they are written, so that no edit of a question goes unseen. The secret of the
    nonces is not: it changes no grade, and two machines compare.
    """
    health = settings.health
    return value_digest(
        {
            "version": JUDGE_VERSION,
            "tasks": {name: [kind.task, dict(kind.scale or {}), kind.threshold] for name, kind in JUDGE_KINDS.items()},
            "models": [[model, dict(settings.parameters.get(model, {}))] for model in settings.models],
            "rule": settings.rule.value,
            "guidance": settings.guidance,
            "scale": list(settings.scale.items()),
            "threshold": settings.threshold,
            "max_tokens": settings.max_tokens,
            "repeats": settings.repeats,
            "health": None if health is None else asdict(health),
            "calibration": settings.calibration_set,
        }
    )
