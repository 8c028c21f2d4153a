"""What a checklist is answered by, from the ledger and the living controller."""

from __future__ import annotations

from datetime import datetime

from fairway.bootstrap import Workspace
from fairway.errors import NotFoundError
from fairway.incident.checklists import Facts
from fairway.incident.sla_records import SlaSource, serves, take_snapshot
from fairway.recovery.database import acts
from fairway.recovery.options import WayBack, route_state, way_back
from fairway.release.values import Manifest
from fairway.rollout.values import RolloutState, RouteState

_PROMOTED = "promoted"
_PAGE = 200


def gather_facts(workspace: Workspace, manifest: Manifest) -> Facts:
    """What is known of a release on the serving route."""
    state, now = route_state(workspace), workspace.clock.now()
    way = _way_back(workspace, state, manifest)
    release = manifest.release_digest
    rollout = None if state is None else state.rollout
    ours = rollout if rollout is not None and rollout.candidate.release == release else None
    source = SlaSource(ledger=workspace.ledger, route=workspace.route, policy=workspace.project.sla.policy())
    backups = [one for one in acts(workspace) if one.verb == "backup"]
    good = [one for one in backups if one.good]
    return Facts(
        evidence=(*manifest.evidence, *workspace.ledger.list_evidence(release)),
        authors=tuple(dict.fromkeys((*manifest.authors, manifest.publisher))),
        approvers=() if state is None else tuple(one.actor for one in state.approvals if one.release == release),
        indicators=None if ours is None else _indicators(ours),
        way_back=None if way.to is None else way.to.release_version,
        intact=way.intact,
        running=way.choice.kind is not None and way.choice.kind.value == "traffic",
        rehearsal=way.rehearsal,
        database=way.database,
        backup_at=good[-1].at if good else None,
        backup_failed=bool(backups) and not backups[-1].good,
        started_at=None if ours is None else ours.started_at,
        live_at=_live_at(workspace, state, manifest),
        sla=take_snapshot(source, manifest, now=now),
    )


def _way_back(workspace: Workspace, state: RouteState | None, manifest: Manifest) -> WayBack:
    """Where one would go back to from this release: from one that does not serve yet, to what is stable now."""
    stable = None if state is None else state.stable
    if stable is None or serves(state, manifest.release_digest):
        return way_back(workspace)
    try:
        return way_back(workspace, workspace.ledger.find_release(workspace.project.name, stable.release))
    except NotFoundError:
        return way_back(workspace)  # what is stable was released on another machine


def _indicators(rollout: RolloutState) -> tuple[str, ...]:
    gates = [gate.name for step in rollout.plan.steps for gate in step.gates if gate.must_pass]
    return tuple(dict.fromkeys(gates))


def _live_at(workspace: Workspace, state: RouteState | None, manifest: Manifest) -> datetime | None:
    """When all traffic was on it, by the journal; ``None``: it is not stable."""
    if state is None or state.stable is None or state.stable.release != manifest.release_digest:
        return None
    found, after = None, 0
    while events := workspace.ledger.events(workspace.route, after=after, limit=_PAGE):
        after = events[-1].fence.seq
        for event in events:
            stable = event.state.get("stable") or {}
            if event.code == _PROMOTED and stable.get("release") == manifest.release_digest:
                found = event.at
    return found
