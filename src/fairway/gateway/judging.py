"""What became of a request: transport first, then what the agent said, then whether it ever says. Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from fairway.gateway.framing import AnswerHead
from fairway.gateway.sse import OutcomeFilter
from fairway.traffic.outcome import COMMENT_PREFIX, Outcome, OutcomeStatus, parse_outcome

Reason = Literal["transport", "agent", "client"]
Verdict = Literal["ok", "failed", "unknown"]


@lru_cache(maxsize=4096)
def read_outcome(raw: bytes) -> Outcome | None:
    """The outcome in a header's or comment's value, as it came; ``None`` when it is malformed."""
    return parse_outcome(raw.strip().decode("latin-1"))


def reported(answer: AnswerHead, events: OutcomeFilter | None) -> tuple[Outcome | None, bool]:
    """What the agent reported, and whether it reported at all (a malformed report is one).

    Args:
        answer: Its head.
        events: What read its body, when that was a stream of events.
    """
    raw = answer.headers.get(b"fairway-outcome")
    if raw is None and events is not None and events.comment is not None:
        raw = events.comment[len(COMMENT_PREFIX) :]
    return (None, False) if raw is None else (read_outcome(raw), True)


def judge_answer(status: int, outcome: Outcome | None, *, expected: bool) -> tuple[Verdict, str]:
    """What a whole answer says, and the code of that.

    Args:
        status: HTTP status.
        outcome: As reported, when that could be read.
        expected: Whether there should have been one.
    """
    if status >= 500:
        return "failed", f"status_{status}"
    if outcome is not None:
        ok = outcome.status is OutcomeStatus.OK
        return ("ok" if ok else "failed"), f"outcome_{outcome.status.value}"
    return ("unknown", "no_outcome") if expected else ("ok", "")
