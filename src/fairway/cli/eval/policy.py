"""What the gate asks: the project's limits, or outside a project the same defaults, and what a person asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fairway.errors import UserError
from fairway.evals.gating.policy import EvalPolicy, Rule

if TYPE_CHECKING:
    from fairway.cli.eval.asked import Asked
    from fairway.cli.eval.place import EvalPlace

BARE = EvalPolicy(rule=Rule.SIMPLE, max_errors=0.10, max_invalid=0.10, tool_accuracy=0.95)
"""Outside a project: what a project has that says nothing."""


def gate_policy(place: EvalPlace, asked: Asked, *, compared: bool, interleaved: bool = False) -> EvalPolicy:
    """The policy of an evaluation.

    Args:
        place: Where it was asked for.
        asked: What a person asked for; it wins.
        compared: Whether there is a baseline.
        interleaved: Whether it is asked in turn with the candidate; only then repeats can be added.

    Raises:
        ProjectFileError: The project is wrong.
        UserError: ``eval_option``: repeats are to be added where they cannot.
    """
    if place.in_project:
        from fairway.stages.examining import policy_of

        policy = policy_of(place.project.evals, compared=compared, interleaved=interleaved)
    else:
        policy = replace(BARE, rule=Rule.COMPARE if compared else Rule.SIMPLE)
    if asked.margin is not None:
        policy = replace(policy, margin=asked.margin)
    if asked.adaptive and not interleaved:
        raise UserError(
            "--adaptive adds repeats on both sides, so the baseline must be asked in turn",
            code="eval_option",
            hint="--baseline stable, or another target; a kept run cannot be asked again",
        )
    if asked.adaptive and asked.shard:
        raise UserError(
            "--adaptive chooses among all cases, and a shard knows its own only",
            code="eval_option",
            hint="use --repeat with --shard",
        )
    adaptive = interleaved and not asked.shard and (asked.adaptive or policy.adaptive)
    return replace(policy, adaptive=adaptive)
