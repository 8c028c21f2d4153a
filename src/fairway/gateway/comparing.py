"""A request answered twice: what the two answers say about each other. Pure."""

from __future__ import annotations

from enum import StrEnum
from hashlib import blake2b
from typing import NamedTuple

from fairway.gateway.judging import Verdict
from fairway.traffic.outcome import Outcome

BODY_BYTES = 65_536
"""So much of an answer goes into its digest; of a longer one the beginning."""

SLOWER_RATIO = 1.25
SLOWER_SECONDS = 0.01
"""A shadow is slower when it took both this many times as long as the primary and this much longer."""

_REFUSAL = 400
_ANSWERED, _REFUSED, _FAILED = range(3)
_WHITE_SPACE = b" \t\r\n"
_CLIENT = ("client_aborted", "slow_reader_", "refused_")
"""What the code begins with of a request that its client ended: it says nothing of either agent."""


class Finding(StrEnum):
    """What a pair says."""

    SAME = "same"
    CHANGED = "changed"
    """Both answered well, and the bodies differ."""
    SHADOW_FAILED = "shadow_failed"
    PRIMARY_FAILED = "primary_failed"
    BOTH_FAILED = "both_failed"
    DIVERGED = "diverged"
    UNKNOWN = "unknown"
    CLIENT_LEFT = "client_left"


PLAIN = frozenset((Finding.SAME, Finding.CHANGED))
"""Of pairs in which both fared well; two answers of a model hardly ever agree to the letter."""


class Side(NamedTuple):
    """One of the two answers.

    Attributes:
        verdict: What became of it.
        code: Why, for people.
        status: HTTP status; 0 when there was no answer.
        outcome: As the agent reported it.
        seconds: From the request's first byte to the answer's last.
        length: Bytes of the body.
        digest: Of the body as :func:`body_digest` sees it.
    """

    verdict: Verdict
    code: str
    status: int
    outcome: Outcome | None
    seconds: float
    length: int
    digest: bytes


class Comparison(NamedTuple):
    """What one pair adds to the block.

    Attributes:
        finding: What it says.
        sums: By name.
        same_state: Whether both agents know the same of the conversation from here on.
        reason: Why the pair speaks against the shadow; empty when it does not.
    """

    finding: Finding
    sums: dict[str, float]
    same_state: bool
    reason: str = ""


def body_digest(body: bytes | bytearray) -> bytes:
    """Eight bytes that are equal for bodies that differ in white space only.

    Args:
        body: The first :data:`BODY_BYTES` of it.
    """
    return blake2b(body.translate(None, _WHITE_SPACE), digest_size=8).digest()


def compare(primary: Side, shadow: Side) -> Comparison:
    """Compare the two answers of one request.

    A pair that does not compare like with like is excluded and counted: where the client left before the primary had
    answered, where one outcome is unknown, where the shadow
    asked for a tool call that could not be replayed, where both fared alike over different numbers of tool calls, and
    where neither answered well: two refusals say nothing of how the shadow serves. Where one of them fared worse that
    is what the pair says, however many calls led there; a refusal (a status of 400 or above) where the other answered
    is worse too, although a user's refused request is not the release's failure.
    """
    theirs, ours = _fared(primary), _fared(shadow)
    if theirs is None and primary.code.startswith(_CLIENT):
        return Comparison(Finding.CLIENT_LEFT, {"shadow_client_left": 1}, same_state=False)
    if theirs is None or ours is None:
        return Comparison(Finding.UNKNOWN, {"shadow_unknown": 1}, same_state=False)
    if shadow.outcome is not None and shadow.outcome.diverged:
        return Comparison(Finding.DIVERGED, {"shadow_diverged": 1}, same_state=False)
    alike = theirs == ours
    if alike and _tools_differ(primary, shadow):
        return Comparison(Finding.DIVERGED, {"shadow_diverged": 1}, same_state=False)
    if alike and theirs != _ANSWERED:
        return Comparison(Finding.BOTH_FAILED, {"shadow_both_failed": 1}, same_state=True)
    sums: dict[str, float] = {
        "shadow_pairs": 1,
        "shadow_ms": shadow.seconds * 1000,
        "shadow_primary_ms": primary.seconds * 1000,
        "shadow_bytes": shadow.length,
        "shadow_primary_bytes": primary.length,
    }
    if not alike:
        worse = ours > theirs
        sums["shadow_failed" if worse else "shadow_primary_failed"] = 1
        finding = Finding.SHADOW_FAILED if worse else Finding.PRIMARY_FAILED
        return Comparison(finding, sums, same_state=False, reason=_reason(shadow) if worse else "")
    if shadow.seconds > primary.seconds * SLOWER_RATIO and shadow.seconds > primary.seconds + SLOWER_SECONDS:
        sums["shadow_slower"] = 1
    if primary.digest == shadow.digest:
        return Comparison(Finding.SAME, sums, same_state=True)
    sums["shadow_changed"] = 1
    return Comparison(Finding.CHANGED, sums, same_state=True)


def _fared(side: Side) -> int | None:
    """How badly a side fared; ``None``: not known. A refusal is known by its status, whatever was reported."""
    if side.verdict == "failed":
        return _FAILED
    if side.status >= _REFUSAL:
        return _REFUSED
    return None if side.verdict == "unknown" else _ANSWERED


def _reason(shadow: Side) -> str:
    return shadow.code if shadow.verdict == "failed" else f"status_{shadow.status}"


def _tools_differ(primary: Side, shadow: Side) -> bool:
    return primary.outcome is not None and shadow.outcome is not None and primary.outcome.tools != shadow.outcome.tools
