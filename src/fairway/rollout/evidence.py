"""What a step can be judged by beside the gates over telemetry: mirrored pairs, and the controller's own probes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fairway.units import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorGate:
    """What compared pairs of a mirrored step have to show; pairs that diverged are excluded from it and counted.

    Attributes:
        margin: Of the compared pairs, the share in which the shadow alone failed must be below this (0.02: 2 points).
        alpha_fail, alpha_pass: Error bounds towards FAIL and PASS.
        minimum_pairs: Compared pairs before any verdict but NO_DATA.
        max_diverged: Share of all pairs that may have diverged or be unknown; above it, too little can be compared.
        says: Each answer of the shadow has to say that it is one.
    """

    margin: float
    alpha_fail: float
    alpha_pass: float
    minimum_pairs: int = 50
    max_diverged: float = 0.5
    says: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorPairs:
    """Mirrored requests of the current step whose two answers were compared; a pair is a request and its copy.

    Attributes:
        compared: Pairs that count: both answers are known and like is compared with like.
        shadow_failed, stable_failed: Of the compared pairs, those in which only the shadow, or only stable, failed.
        diverged: Pairs in which the shadow went another way over its tools, so that like is not compared with like:
            excluded.
        unknown: Pairs in which what became of one of the two is not known: excluded.
        client_left: Pairs whose client left before stable had answered, which says nothing of either: excluded, and
            of no weight in how much could be compared.
        unattested: Answers of the shadow that did not say that it is one, and what was not copied after them: it may
            have reached real tools.
        both_failed: Pairs in which both sides failed or both refused, which says nothing of the shadow: excluded.
        dropped: Requests of mirrored conversations that were not copied, for want of room or because the shadow no
            longer knew what stable knew: not in any other count.
    """

    compared: int = 0
    shadow_failed: int = 0
    stable_failed: int = 0
    diverged: int = 0
    unknown: int = 0
    dropped: int = 0
    both_failed: int = 0
    client_left: int = 0
    unattested: int = 0


class SmokeOutcome(StrEnum):
    """What became of a smoke of the idle colour."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    """It could not be run, read or decided."""
    TIMEOUT = "timeout"
    NONE_DECLARED = "none_declared"
    """The project declares nothing that could be asked beside health and readiness."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Smoked:
    """One smoke of an arm that nobody has met yet.

    Attributes:
        release, effective: Of the arm.
        text: What was found, in words.
        cases: Of the smoke suite that were played.
        seconds: It took.
    """

    release: Digest
    effective: Digest
    outcome: SmokeOutcome
    text: str
    cases: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What the controller's own probes of an arm found since they last began.

    Attributes:
        release, effective: Whose instances were asked.
        seconds: For how long every instance has answered each time it was asked, without a pause between questions.
        asked: Questions answered.
        error: The first answer that was wrong, or that did not come; empty when there was none.
        smokes: Whether a smoke is run as well.
        smoke: What it found; ``None``: it still runs, or has not begun.
    """

    release: Digest
    effective: Digest
    seconds: float = 0.0
    asked: int = 0
    error: str = ""
    smokes: bool = False
    smoke: Smoked | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What the router and the controller can do; a plan that needs more is refused.

    Attributes:
        sticky: A conversation stays on the release it began on.
        mirror: Requests can be copied to a shadow.
        probe: The controller can ask an arm's instances itself.
    """

    sticky: bool = True
    mirror: bool = False
    probe: bool = False


PLAIN_ABILITIES = Abilities()
