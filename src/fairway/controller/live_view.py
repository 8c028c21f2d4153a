"""What the controller sees and thinks right now, in a small file for `rollout status`; never a source of truth."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fairway.controller.people import people_digest
from fairway.rollout.deciding import Decision, Snapshot
from fairway.state_dir import StateDir
from fairway.units import RouteId

FRESH_SECONDS = 10.0
"""A view older than this says nothing about now."""

_WRITE_EVERY_SECONDS = 0.5


def _path(state: StateDir, route: RouteId) -> Path:
    return state.root / "run" / f"view-{route.environment}.json"


@dataclass(slots=True)
class LiveView:
    """Writes the view of one route, at most twice a second, atomically; a full disk costs the view, nothing else."""

    state: StateDir
    route: RouteId
    _written: float = 0.0

    def show(self, snapshot: Snapshot, decision: Decision) -> None:
        """Write what was just seen and decided."""
        now = time.monotonic()
        if now - self._written < _WRITE_EVERY_SECONDS and not decision.answers:
            return
        self._written = now
        path = _path(self.state, self.route)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(f".{os.getpid()}.tmp")
            temporary.write_text(json.dumps(_view(snapshot, decision)), encoding="utf-8")
            temporary.replace(path)
        except OSError:
            return


def _view(snapshot: Snapshot, decision: Decision) -> dict[str, Any]:
    confirmed = snapshot.router.confirmed
    return {
        "at": snapshot.now.timestamp(),
        "kind": decision.kind.value,
        "code": decision.code,
        "reason": decision.reason,
        "split": decision.desired.split,
        "mature_seconds": snapshot.measured.mature_seconds,
        "telemetry_error": snapshot.measured.error,
        "evidence": [
            {
                "gate": finding.gate,
                "kind": finding.kind.value,
                "verdict": finding.verdict.value,
                "margin": finding.margin,
                "reason": finding.reason,
                "log_e_fail": _finite(finding.log_e_fail),
                "log_e_pass": _finite(finding.log_e_pass),
                "units_candidate": finding.units_candidate,
                "units_stable": finding.units_stable,
                "bad_candidate": finding.bad_candidate,
                "bad_stable": finding.bad_stable,
                "estimate_candidate": finding.estimate_candidate,
                "estimate_stable": finding.estimate_stable,
                "stable_fails_too": finding.stable_fails_too,
                "worse_than_stable": finding.worse_than_stable,
                "units_needed": finding.units_needed,
            }
            for finding in decision.evidence
        ],
        "sources": [asdict(finding) for finding in decision.sources],
        "arms": [
            {
                "release": arm.release_digest,
                "instances": [
                    {
                        "id": instance.id,
                        "endpoint": instance.endpoint,
                        "state": instance.state.value,
                        "restarts": instance.restarts,
                        "attested_by": instance.attested_by.value,
                        "detail": instance.detail,
                    }
                    for instance in arm.instances
                ],
            }
            for arm in snapshot.arms
        ],
        "gateways": snapshot.router.gateways,
        "confirmed": None if confirmed is None else str(confirmed),
        "confirmed_by": {name: str(fence) for name, fence in snapshot.router.confirmed_by},
        "alarms": [
            {"name": alarm.name, "action": alarm.action.value, "reason": alarm.reason}
            for alarm in snapshot.measured.alarms
        ],
        "tripped": list(snapshot.router.tripped),
        "pinned": snapshot.router.pinned,
        "masked": list(snapshot.router.masked),
        "people": people_digest(snapshot.people),
    }


def _finite(figure: float) -> float | None:
    """What JSON can say; infinite evidence is ``None``, the verdict says which way."""
    return figure if math.isfinite(figure) else None


def read_live_view(state: StateDir, route: RouteId) -> Mapping[str, Any] | None:
    """What a living controller last saw; ``None`` when there is none or it has gone quiet."""
    view = read_last_view(state, route)
    return None if view is None or time.time() - float(view.get("at", 0)) > FRESH_SECONDS else view


def read_last_view(state: StateDir, route: RouteId) -> Mapping[str, Any] | None:
    """What a controller saw last, however long ago; ``None`` when none was ever there."""
    try:
        view = json.loads(_path(state, route).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return view if isinstance(view, dict) else None
