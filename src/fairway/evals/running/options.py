"""How a run goes."""

from __future__ import annotations

from dataclasses import dataclass

from fairway.evals.values import PASS_SCORE


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Limits of a run.

    Attributes:
        concurrency: Calls to the sides in flight at a time, all sides together; never more, fewer while one refuses.
        case_timeout_seconds: Of one trial: its turns and what is measured, without waiting for a place or for an
            endpoint that asked to be left alone.
        call_timeout_seconds: Of one call; ``None``: only the trial's.
        total_timeout_seconds: Of everything; nothing is begun after that, and what is not done is troubled. ``None``:
            no limit.
        retries: Further tries of a call that failed in a way that does no harm to repeat (a model without memory).
        busy_retries: Further tries of a call that was refused because there were too many (429, 503).
        max_wait_seconds: A ``Retry-After`` beyond this is not waited for.
        threshold: Score a trial needs.
        run_id: Makes conversation ids of this run its own; a run that is resumed has the same.
        conversations_kept: When a run is resumed, the subject still knows its conversations. ``False`` (it was started
            anew): a conversation that was cut is played again from its first turn.
        grace_seconds: When the run is stopped or its time is over, calls in flight are waited for so long: they are
            paid for already.
        seed: Of what is random on purpose: which side is asked first.
    """

    concurrency: int = 4
    case_timeout_seconds: float = 60.0
    call_timeout_seconds: float | None = None
    total_timeout_seconds: float | None = None
    retries: int = 2
    busy_retries: int = 8
    max_wait_seconds: float = 30.0
    threshold: float = PASS_SCORE
    run_id: str = "0"
    conversations_kept: bool = True
    grace_seconds: float = 5.0
    seed: int = 0
