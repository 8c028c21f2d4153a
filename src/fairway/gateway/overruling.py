"""What a gateway overrules a table with: a trip of its own, a person's pin and masks. Pure, and by release.

Roles change when a rollout goes on - the candidate becomes stable, the former stable a baseline - so neither a trip nor
a pin is kept by role: who tripped, and who was stable then, stays the same whatever the next table calls them.
"""

from __future__ import annotations

from dataclasses import replace

from fairway.errors import ConflictError
from fairway.gateway.state import LocalDecisions
from fairway.traffic.table import NO_SHARE, Arm, Role, RouteTable
from fairway.units import Digest

MAX_MASKED = 32
"""Releases a person may have masked at once."""


def tripped_in(table: RouteTable, decisions: LocalDecisions, candidate: Arm) -> LocalDecisions:
    """The decisions once ``candidate`` of this table passed its exposure limit."""
    home = home_of(table, decisions)
    return replace(decisions, tripped=candidate.release, tripped_to=None if home is None else home.release)


def pinned_in(table: RouteTable | None, decisions: LocalDecisions) -> LocalDecisions:
    """The decisions once a person said that everything goes to what is stable now."""
    home = None if table is None else home_of(table, decisions)
    return replace(decisions, pinned=True, pinned_to=decisions.pinned_to if home is None else home.release)


def masked_in(table: RouteTable, decisions: LocalDecisions, release: Digest) -> LocalDecisions:
    """The decisions once a person said that a release gets no traffic.

    Raises:
        ConflictError: When it is what serves as stable, so that nobody would be served, or too many are masked.
    """
    home = home_of(table, decisions)
    if home is not None and home.release == release:
        raise ConflictError(
            f"{home.version} serves as stable, and nothing else could",
            code="masks_stable",
            hint="roll back to another release, or pin one, before this one is masked",
        )
    masked = tuple(sorted({*decisions.masked, release}))
    if len(masked) > MAX_MASKED:
        raise ConflictError(
            f"{MAX_MASKED} releases are masked already", code="too_many_masked", hint="unmask some that are gone"
        )
    return replace(decisions, masked=masked, masked_to=decisions.masked_to if home is None else home.release)


def unmasked_in(decisions: LocalDecisions, release: str) -> LocalDecisions:
    """The decisions once a person said that it may serve again."""
    masked = tuple(known for known in decisions.masked if known != release)
    return replace(decisions, masked=masked, masked_to=decisions.masked_to if masked else None)


def settled(table: RouteTable, decisions: LocalDecisions) -> LocalDecisions:
    """What remains of the decisions under a newer table.

    A trip ends when the controller obeyed: its table masks the release, or has it no more. A pin and a mask end by
    nobody's word but a person's; a pin from before there was any table means what is stable in the first one.
    """
    releases = {arm.release for arm in table.arms}
    if decisions.tripped is not None and (decisions.tripped in table.masks or decisions.tripped not in releases):
        decisions = replace(decisions, tripped=None, tripped_to=None)
    stable = table.arm(Role.STABLE)
    if stable is None:
        return decisions
    if decisions.tripped is not None and decisions.tripped_to is None and stable.release != decisions.tripped:
        decisions = replace(decisions, tripped_to=stable.release)
    if decisions.pinned and decisions.pinned_to is None:
        home = home_of(table, decisions) or stable
        decisions = replace(decisions, pinned_to=home.release)
    return decisions


def home_of(table: RouteTable, decisions: LocalDecisions) -> Arm | None:
    """The arm that serves as stable: pinned to, else the table's unless it tripped or is masked, else the one before.

    A release that is masked, or that the table does not have, cannot be it. When nothing else is left the table's
    stable is, also one that tripped or that a person masked while it was none: a bad answer is then better than none,
    and the controller, who is told, took the other one away.
    """
    stable = table.arm(Role.STABLE)
    known = {arm.release: arm for arm in table.arms if arm.release not in table.masks and arm.role is not Role.SHADOW}
    out = {decisions.tripped, *decisions.masked}
    wanted: list[str | None] = [decisions.pinned_to] if decisions.pinned else []
    if stable is not None and stable.release not in out:
        wanted.append(stable.release)
    else:
        before = (decisions.tripped_to, decisions.masked_to)
        wanted += [release for release in before if release not in out]
    return next((known[Digest(release)] for release in wanted if release is not None and release in known), stable)


def overruled(table: RouteTable, decisions: LocalDecisions) -> tuple[RouteTable, frozenset[Digest]]:
    """The table as workers serve it, and the releases withheld from traffic.

    While another arm than the table's stable serves as stable, nobody is assigned to a candidate: the split was meant
    between other releases.
    """
    home = home_of(table, decisions)
    if home is None:
        return table, frozenset()
    out = {decisions.tripped, *decisions.masked}
    withheld = {arm.release for arm in table.arms if decisions.pinned or arm.release in out}
    withheld.discard(home.release)
    if home.role is Role.STABLE:
        return table, frozenset(withheld)
    others = tuple(
        replace(arm, role=Role.BASELINE) if arm.role is Role.STABLE else arm for arm in table.arms if arm is not home
    )
    arms = (replace(home, role=Role.STABLE), *others)
    return replace(table, arms=arms, split=NO_SHARE, mirror=NO_SHARE, theta={}), frozenset(withheld)


def narrows(table: RouteTable, kept: RouteTable) -> bool:
    """Whether ``table`` exposes nobody to a release that ``kept`` does not expose at least as much.

    Such a table may be acknowledged before it is on disk: a full disk must not hold up a rollback, and after a crash
    the table kept would be served until the controller is heard.
    """
    old, new = kept.arm(Role.STABLE), table.arm(Role.STABLE)
    if table.route != kept.route or old is None or new is None:
        return False
    if new.release != old.release and not (old.release in table.masks and _former(kept, new.release)):
        return False
    before, after = _exposed(kept) - {old.release}, _exposed(table) - {new.release}
    if not after <= before:
        return False
    same_split = table.salt == kept.salt and _candidate(table) == _candidate(kept)
    split_fits = table.split == 0 or (same_split and table.split <= kept.split)
    return split_fits and table.mirror <= kept.mirror and (not after or set(table.rules) <= set(kept.rules))


def _exposed(table: RouteTable) -> set[Digest]:
    return {arm.release for arm in table.arms} - set(table.masks)


def _candidate(table: RouteTable) -> Digest | None:
    candidate = table.arm(Role.CANDIDATE)
    return None if candidate is None else candidate.release


def _former(table: RouteTable, release: Digest) -> bool:
    return any(arm.release == release and arm.role is Role.BASELINE for arm in table.arms)
