"""What a person can do next where automation waits for one, and when a promotion is proved. Pure."""

from __future__ import annotations

from fairway.rollout.values import Phase, RolloutState, RouteState

RESUME = "fairway rollout resume"
SKIP = "fairway rollout skip --reason '…'"
ABORT = "fairway rollout abort"


def next_commands(state: RouteState) -> tuple[str, ...]:
    """Commands that go on from where only a person can; empty while there is nothing for one to do."""
    rollout = state.rollout
    if rollout is not None and rollout.live:
        return ways_on(rollout)
    if state.stable is None and rollout is not None:
        return ("fairway deploy <release>",)
    return ()


def ways_on(rollout: RolloutState) -> tuple[str, ...]:
    """What ends a pause: going on to gather evidence, leaving the step without it, or going back."""
    if not rollout.paused:
        return ()
    leaves = (SKIP,) if rollout.phase in (Phase.STEPPING, Phase.SOAKING) else ()
    return (RESUME, *leaves, ABORT)


def proved_in_soak(rollout: RolloutState) -> bool:
    """Whether nothing compares the candidate with stable before all traffic is on it.

    Then gates of the soak have to pass, and until they have a promotion has shown nothing yet. A first release has
    nothing to be compared with, and is not taken back.
    """
    return rollout.stable is not None and any(gate.must_pass for gate in rollout.plan.soak_gates)
