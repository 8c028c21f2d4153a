"""A request that failed on its arm, run again on stable: whether, and where. Pure.

Looked at only once a request has failed and before anything of an answer has been sent, so that requests that do well
pay nothing for it.
"""

from __future__ import annotations

from fairway.gateway.framing import AnswerHead, RequestHead
from fairway.gateway.judging import read_outcome
from fairway.gateway.serving import ArmServing, Serving
from fairway.traffic.outcome import OutcomeStatus
from fairway.traffic.rerun import RerunWhen
from fairway.traffic.rules import By, Decision
from fairway.traffic.table import Role

RERUN_LINE = b"x-fairway-rerun: 1\r\n"
"""Tells stable that another release has tried before; a client's own header of that name never gets there."""


def failed_already(answer: AnswerHead) -> str:
    """Why an answer's head alone says that the request failed, as a code; empty when it does not.

    A refusal, or an answer in part, is an answer, and of what is unknown nobody knows that it failed.
    """
    if answer.status >= 500:
        return f"status_{answer.status}"
    if answer.plain:
        return ""
    raw = answer.headers.get(b"fairway-outcome")
    outcome = None if raw is None else read_outcome(raw)
    return "outcome_failed" if outcome is not None and outcome.status is OutcomeStatus.FAILED else ""


def stable_instead(current: Serving, decision: Decision, served: ArmServing, head: RequestHead) -> ArmServing | None:
    """The arm that shall run a failed request again; ``None``: the client is told of the failure.

    Args:
        current: In force now; the request may have begun under an earlier table.
        decision: How the request was placed. What a rule sent to a release was meant for that one alone.
        served: The arm on which it failed.
        head: Of the request.
    """
    when = current.table.rerun.when
    release = served.arm.release
    if when is RerunWhen.NEVER or decision.why is By.RULE:
        return None
    stable = current.table.arm(Role.STABLE)
    if stable is None or not stable.endpoints or stable.release == release or stable.release in current.taken_away:
        return None
    if when is RerunWhen.MASKED and release in current.arms and release not in current.taken_away:
        return None
    if not current.table.rerun.may_repeat(head.method, head.target, head.value(b"idempotency-key")):
        return None
    return current.arms[stable.release]
