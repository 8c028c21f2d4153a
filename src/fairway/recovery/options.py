"""What going back would mean now: to what, by which kind, how long, at what risk. Looks only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fairway.bootstrap import Workspace
from fairway.controller.flags import LedgerFlags
from fairway.controller.live_view import read_live_view
from fairway.errors import FairwayError, NotFoundError, RefusedError
from fairway.flags.values import guarding
from fairway.incident.config import DatabaseSection
from fairway.incident.kinds import KINDS, Choice, Kind, Possible, choose
from fairway.incident.rehearsal import Rehearsed, rehearsed
from fairway.release.materialise import verify_release
from fairway.release.trust import trusted_keys
from fairway.release.values import Component, Manifest, SignedRelease
from fairway.rollout.requests import Verb
from fairway.rollout.values import ArmRef, Phase, RouteState
from fairway.rollout.verbs import just_went_back
from fairway.rollout.wire import state_from_wire
from fairway.targets.port import InstanceState


@dataclass(frozen=True, slots=True, kw_only=True)
class WayBack:
    """What a rollback would do now.

    Attributes:
        leaves: The release traffic would leave; ``None``: nothing serves.
        to: The release it would go to; ``None``: there is none.
        intact: Whether that one verifies: signature and every file.
        problem: Why it does not; empty when it does.
        choice: The cheapest sufficient kind.
        rehearsal: What is known of rehearsals of it.
        flags: Flags that are on and off by default.
        database: ``declared``, ``none`` or ``unknown``.
        leaves_nothing: Whether production would be left without a release, so that every request is refused.
        refused: Why it would be refused now as it was asked; empty when it would not.
    """

    leaves: Manifest | None
    to: Manifest | None
    intact: bool
    problem: str
    choice: Choice
    rehearsal: Rehearsed | None
    flags: tuple[str, ...]
    database: str
    leaves_nothing: bool = False
    refused: str = ""

    def to_wire(self) -> dict[str, Any]:
        """A JSON-able value."""
        facts = self.choice.facts
        return {
            "from": None if self.leaves is None else self.leaves.release_version,
            "to": None if self.to is None else self.to.release_version,
            "intact": self.intact,
            "problem": self.problem,
            "kind": None if self.choice.kind is None else self.choice.kind.value,
            "why": self.choice.why,
            "seconds": None if facts is None else list(facts.seconds),
            "risk": None if facts is None else facts.risk.value,
            "rehearsal": None if self.rehearsal is None else self.rehearsal.to_wire(),
            "flags_that_are_on": list(self.flags),
            "database": self.database,
            "leaves_nothing": self.leaves_nothing,
            "refused": self.refused,
            "kinds": [_kind(kind) for kind in KINDS],
        }


def _kind(kind: Kind) -> dict[str, Any]:
    facts = KINDS[kind]
    return {
        "kind": kind.value,
        "seconds": list(facts.seconds),
        "risk": facts.risk.value,
        "what": facts.what,
        "asks": facts.asks,
    }


def route_state(workspace: Workspace) -> RouteState | None:
    """The route as the ledger has it; ``None``: nothing has ever happened there."""
    head = workspace.ledger.head(workspace.route)
    return None if head.state is None else state_from_wire(head.state)


def way_back(workspace: Workspace, to: SignedRelease | None = None) -> WayBack:
    """What a rollback would do now.

    Args:
        workspace: The open project.
        to: Where to; by default where `fairway rollback` would go.
    """
    state = route_state(workspace)
    leaves, default = _ends(state)
    again = "" if state is None or to is not None else just_went_back(state, workspace.clock.now())
    if to is None and default is not None:
        to = _find(workspace, default)
    left = None if leaves is None else _find(workspace, leaves)
    good, problem = _intact(workspace, to)
    back = None if to is None else to.manifest
    changed = frozenset(Component) if left is None or back is None else _changed(left.manifest, back)  # unknown: all
    running = back is not None and _is_ready(workspace, back)
    flags = guarding(workspace.project.flag_specs(), LedgerFlags(workspace.ledger).read(), workspace.route.environment)
    return WayBack(
        leaves=None if left is None else left.manifest,
        to=back,
        intact=good,
        problem=problem,
        choice=choose(Possible(running=running and good, former=back is not None and good, changed=changed)),
        rehearsal=None if back is None else rehearsal_of(workspace, back),
        flags=flags,
        database=_database(workspace),
        leaves_nothing=leaves_nothing(state),
        refused=again,
    )


def leaves_nothing(state: RouteState | None) -> bool:
    """Whether ending the live rollout would leave production without a release: it is the first, and serves."""
    rollout = None if state is None else state.rollout
    first = rollout is not None and rollout.live and rollout.stable is None
    return first and rollout is not None and rollout.phase in (Phase.PROMOTING, Phase.SOAKING)


def refuse_to_leave_nothing(workspace: Workspace) -> None:
    """Refuse to take the first release away from everybody, unless that was said.

    Raises:
        RefusedError: ``leaves_nothing``.
    """
    state = route_state(workspace)
    if leaves_nothing(state) and state is not None and state.rollout is not None:
        raise RefusedError(
            f"{state.rollout.candidate.version} is the first release: without it every request is refused (503)",
            code="leaves_nothing",
            hint="fairway deploy <release> replaces it; if nothing at all shall serve, say --to-nothing",
        )


def refuse_where_nothing_serves(workspace: Workspace) -> None:
    """Refuse a rollback that no controller could ever obey, at once.

    Raises:
        NotFoundError: ``no_stable``: there is no release, none is on its way and none was asked for.
    """
    state = route_state(workspace)
    serves = state is not None and (state.stable is not None or (state.rollout is not None and state.rollout.live))
    if not serves and not any(one.verb is Verb.START for one in workspace.ledger.pending(workspace.route)):
        raise NotFoundError(
            "nothing serves in production: there is no release to go back from",
            code="no_stable",
            hint="fairway deploy <release>",
        )


def rehearsal_of(workspace: Workspace, manifest: Manifest) -> Rehearsed:
    """What is known of rehearsals of going back to a release."""
    return rehearsed(
        workspace.ledger.list_evidence(manifest.release_digest),
        manifest.release_digest,
        manifest.effective.get(workspace.route.environment),
        now=workspace.clock.now(),
    )


def rehearsed_way_back(workspace: Workspace) -> dict[str, Any] | None:
    """Where a rollback would go now and what is known of its rehearsal, at a glance; ``None``: there is no way back."""
    _, default = _ends(route_state(workspace))
    found = None if default is None else _find(workspace, default)
    if found is None:
        return None
    return {"to": found.manifest.release_version, "rehearsal": rehearsal_of(workspace, found.manifest).to_wire()}


def last_stable(workspace: Workspace) -> SignedRelease:
    """The release `fairway rollback` would go back to.

    Raises:
        NotFoundError: ``no_previous`` when there is none, or it was released on another machine.
    """
    _, default = _ends(route_state(workspace))
    found = None if default is None else _find(workspace, default)
    if found is None:
        raise NotFoundError(
            "no release that is not blocked was stable here before",
            code="no_previous",
            hint="name one with --to; fairway release list shows what there is",
        )
    return found


def _ends(state: RouteState | None) -> tuple[ArmRef | None, ArmRef | None]:
    """What traffic would leave, and where `fairway rollback` would take it."""
    if state is None:
        return None, None
    rollout = state.rollout
    if rollout is not None and rollout.live and not rollout.going_back:
        return rollout.candidate, rollout.stable
    former = next((arm for arm in state.history if arm.release not in state.blocked), None)
    return state.stable, former


def _find(workspace: Workspace, arm: ArmRef) -> SignedRelease | None:
    try:
        return workspace.ledger.find_release(workspace.project.name, arm.release)
    except NotFoundError:
        return None


def _intact(workspace: Workspace, release: SignedRelease | None) -> tuple[bool, str]:
    if release is None:
        return False, "there is no release to go back to"
    try:
        verify_release(release, workspace.store, trusted_keys(workspace.state.keys))
    except FairwayError as error:
        return False, error.message
    return True, ""


def _changed(left: Manifest, back: Manifest) -> frozenset[Component]:
    return frozenset(part for part in Component if left.components[part] != back.components[part])


def _is_ready(workspace: Workspace, manifest: Manifest) -> bool:
    """Whether a living controller sees a ready instance of it."""
    view: Mapping[str, Any] | None = read_live_view(workspace.state, workspace.route)
    arms = [] if view is None else view["arms"]
    return any(
        instance["state"] == InstanceState.READY.value
        for arm in arms
        if arm["release"] == manifest.release_digest
        for instance in arm["instances"]
    )


def _database(workspace: Workspace) -> str:
    section = workspace.project.rollback.database
    return "unknown" if section is None else "declared" if isinstance(section, DatabaseSection) else "none"
