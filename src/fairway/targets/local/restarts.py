"""When a process that ended is started again, and when that has become a crash loop: pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """How patient a supervisor is; times in seconds.

    Attributes:
        first: Wait before the first restart; each further one waits ``factor`` times as long, up to ``ceiling``.
        healthy_after: A process that served this long starts from a clean slate.
        window, exits_in_window: This many exits in the window are a crash loop.
        quick, quick_exits: So are this many in a row that came within ``quick`` of their start.
        probation: After a crash loop a process must be ready this long before it counts as ready.
    """

    first: float = 0.5
    factor: float = 2.0
    ceiling: float = 30.0
    healthy_after: float = 60.0
    window: float = 60.0
    exits_in_window: int = 5
    quick: float = 2.0
    quick_exits: int = 3
    probation: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartHistory:
    """What is remembered of a process's exits: monotonic times, consecutive restarts, consecutive quick exits."""

    exits: tuple[float, ...] = ()
    streak: int = 0
    quick_streak: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """Start again after ``delay`` seconds; ``looping`` when trying again so far has not helped."""

    delay: float
    looping: bool
    history: RestartHistory


def after_exit(
    history: RestartHistory, policy: RestartPolicy, *, started: float, ready_since: float | None, now: float
) -> Restart:
    """What to do after an exit.

    Args:
        history: Of the exits before this one.
        policy: How patient to be.
        started: When the process that ended was started, monotonic seconds.
        ready_since: When it became ready, or ``None`` when it never did.
        now: When it ended.
    """
    if ready_since is not None and now - ready_since >= policy.healthy_after:
        history = RestartHistory()
    exits = (*(at for at in history.exits if now - at < policy.window), now)
    quick_streak = history.quick_streak + 1 if now - started < policy.quick else 0
    looping = len(exits) >= policy.exits_in_window or quick_streak >= policy.quick_exits
    delay = policy.ceiling if looping else min(policy.ceiling, policy.first * policy.factor**history.streak)
    kept = RestartHistory(exits=exits, streak=min(history.streak + 1, 64), quick_streak=quick_streak)
    return Restart(delay=delay, looping=looping, history=kept)
