"""Who did it: failing requests of a candidate, grouped, and related to what changed between stable and it. Pure.

A suspect is named with its evidence, or the answer is *unknown*. Three things must hold for a name: the failure is the
candidate's own (stable does not show it at a comparable rate), enough failing requests were described to speak of a
group, and of the components that changed exactly one can cause such a failure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fairway.observe.fold import ArmBlock, Block
from fairway.release.values import Component
from fairway.units import Digest

MINIMUM = 3
"""Described failures below which a group says nothing."""

SHARED_RATIO = 0.5
"""A failure stable shows at this part of the candidate's rate, or more, is not the candidate's own."""

SHOWN = 5
"""Request ids named as examples of a group."""

_ALL = frozenset(Component)
_PROCESS = frozenset((Component.CODE,))

CAUSES: Mapping[str, frozenset[Component]] = {
    "arm_closed": _PROCESS,
    "answer_cut": _PROCESS,
    "malformed_answer": _PROCESS,
    "outcome_refused": _ALL - {Component.TOOLS},
}
"""Which components can cause a failure of that reason code; of any other code all can.

Few on purpose: an exception may come from a prompt with a variable nobody sets as well as from code, so ``status_500``
excludes nobody. How a process speaks HTTP, and that it lives, is its code's alone.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """Failing requests that look alike.

    Attributes:
        code: Reason code of the gateway: ``status_500``, ``outcome_failed``, ``timeout_total`` …
        status: HTTP status the client got, ``0`` for none.
        described: How many were described (at most twenty a block are).
        rate, stable_rate: Estimated share of requests that failed so on the candidate and on stable; ``None``:
            unknown, no request was seen there.
        examples: Request ids, at most five.
        own: Whether stable does not show it: only then it speaks against the candidate.
    """

    code: str
    status: str
    described: int
    rate: float | None
    stable_rate: float | None
    examples: tuple[str, ...]
    own: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A component that is suspected, and the evidence."""

    component: Component
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """What was found.

    Attributes:
        suspects: Of exactly one component, or empty: unknown.
        why: What names it, or why nobody can be named.
        groups: Most frequent first.
        changed: What differs between stable and the candidate.
    """

    suspects: tuple[Suspect, ...]
    why: str
    groups: tuple[FailureGroup, ...] = ()
    changed: tuple[Component, ...] = ()
    figures: Mapping[str, int] = field(default_factory=dict)

    @property
    def named(self) -> str:
        """The suspect, or ``unknown``."""
        return self.suspects[0].component.value if self.suspects else "unknown"


def locate(
    blocks: Iterable[Block],
    *,
    candidate: Digest,
    stable: Digest | None,
    changed: Iterable[Component],
    proven: Iterable[Component] = (),
) -> Located:
    """Group the candidate's failures and relate them to what changed.

    Args:
        blocks: Of the rollout; gaps are left out for both arms.
        candidate: Whose failures.
        stable: What it was compared with; ``None``: nothing.
        changed: Components that differ between the two.
        proven: Of these, those whose very content was stable here before: they served well elsewhere, so they are not
            suspected while another one changed that never did.
    """
    parts = tuple(part for part in Component if part in set(changed))
    used = [block for block in blocks if not block.gap]
    bad = [block.arms[candidate] for block in used if candidate in block.arms]
    well = [block.arms[stable] for block in used if stable is not None and stable in block.arms]
    groups = _groups(bad, well)
    figures = {
        "requests": sum(arm.assigned for arm in bad),
        "failed": sum(arm.failed for arm in bad),
        "described": sum(group.described for group in groups),
    }
    suspects, why = _name(groups, parts, frozenset(proven) & set(parts))
    return Located(suspects=suspects, why=why, groups=groups, changed=parts, figures=figures)


def _groups(bad: list[ArmBlock], well: list[ArmBlock]) -> tuple[FailureGroup, ...]:
    ours, theirs = _described(bad), _described(well)
    made = []
    for (code, status), examples in ours.items():
        rate = _rate(bad, len(examples), sum(len(ids) for ids in ours.values()))
        stable_rate = _rate(well, len(theirs.get((code, status), ())), sum(len(ids) for ids in theirs.values()))
        made.append(
            FailureGroup(
                code=code,
                status=status,
                described=len(examples),
                rate=rate,
                stable_rate=stable_rate,
                examples=tuple(sorted(examples)[:SHOWN]),
                own=rate is not None and stable_rate is not None and stable_rate < SHARED_RATIO * rate,
            )
        )
    return tuple(sorted(made, key=lambda group: (-group.described, group.code, group.status)))


def _described(arms: list[ArmBlock]) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for arm in arms:
        for exemplar in arm.exemplars:
            key = (exemplar.get("reason", "unknown"), exemplar.get("status", "0"))
            found.setdefault(key, []).append(exemplar.get("request", "?"))
    return found


def _rate(arms: list[ArmBlock], described: int, of: int) -> float | None:
    """Share of requests that failed so: the share among those described, of all that failed."""
    requests = sum(arm.assigned for arm in arms)
    if not requests:
        return None
    failed = sum(arm.failed for arm in arms)
    return failed / requests * (described / of) if of else 0.0


def can_cause(code: str) -> frozenset[Component]:
    """Components that can cause a failure of that code; one nobody knows could be any."""
    return CAUSES.get(code, _ALL)


def _name(
    groups: tuple[FailureGroup, ...], changed: tuple[Component, ...], proven: frozenset[Component]
) -> tuple[tuple[Suspect, ...], str]:
    if not groups:
        return (), "no failing request was described"
    enough = [group for group in groups if group.described >= MINIMUM]
    if not enough:
        return (), f"fewer than {MINIMUM} failing requests look alike"
    own = [group for group in enough if group.own]
    if not own:
        seen = any(group.stable_rate is not None for group in enough)
        why = "stable fails the same way" if seen else "stable was not seen"
        return (), f"{why}: the candidate cannot be told to be the cause"
    if not changed:
        return (), "the candidate holds nothing that stable does not"
    possible = [part for part in changed if all(part in can_cause(group.code) for group in own)]
    unproven = [part for part in possible if part not in proven]
    if len(unproven or possible) != 1:
        return (), _several(own, unproven or possible, changed)
    (part,) = unproven or possible
    evidence = _evidence(own, part, changed, proven)
    return (Suspect(component=part, evidence=evidence),), evidence


def _several(own: list[FailureGroup], possible: list[Component], changed: tuple[Component, ...]) -> str:
    codes = ", ".join(dict.fromkeys(group.code for group in own))
    if possible:
        return f"{', '.join(possible)} changed, and each of them can cause {codes}"
    return f"{', '.join(changed)} changed, and none of them alone explains {codes}"


def _evidence(
    own: list[FailureGroup], part: Component, changed: tuple[Component, ...], proven: frozenset[Component]
) -> str:
    counts: Counter[str] = Counter()
    for group in own:
        counts[group.code] += group.described
    told = ", ".join(f"{count} x {code}" for code, count in counts.most_common())
    rate = sum(group.rate or 0.0 for group in own)
    stable = sum(group.stable_rate or 0.0 for group in own)
    return f"{part.value}: {told} ({rate:.1%} of requests, stable {stable:.1%}); {_alone(part, changed, proven)}"


def _alone(part: Component, changed: tuple[Component, ...], proven: frozenset[Component]) -> str:
    """Why it and no other."""
    others = [one for one in changed if one is not part]
    if not others:
        return "nothing else changed"
    served = ", ".join(one.value for one in others if one in proven)
    cannot = ", ".join(one.value for one in others if one not in proven)
    parts = [f"{served} changed too and was stable here before"] if served else []
    parts += [f"{cannot} changed too and cannot cause that"] if cannot else []
    return ", ".join(parts)
