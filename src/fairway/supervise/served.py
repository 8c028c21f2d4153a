"""Whether clients are served, which is more than that gateway and controller run: stable's arms take their requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairway.bootstrap import SERVING_ENVIRONMENT
from fairway.controller.live_view import read_live_view
from fairway.errors import FairwayError
from fairway.ledger import open_ledger
from fairway.project.load import Project
from fairway.rollout.values import RouteState
from fairway.rollout.wire import state_from_wire
from fairway.targets.port import InstanceState


def still_starting(project: Project, *, since: float) -> str:
    """What is missing until stable serves, in words; empty when it does, or when nothing is stable yet.

    Args:
        project: Whose production.
        since: Epoch seconds from which on what a controller saw counts: what one before it saw says nothing.
    """
    if not project.state.ledger.is_file():
        return ""
    route = project.route(SERVING_ENVIRONMENT)
    try:
        with open_ledger(project.state.ledger, migrate=False) as ledger:
            wire = ledger.head(route).state
    except FairwayError as error:
        return f"the ledger cannot be read: {error.message}"
    view = read_live_view(project.state, route)
    if view is not None and float(view.get("at", 0)) < since:
        view = None
    return "" if wire is None else missing(state_from_wire(wire), view)


def missing(state: RouteState, view: Mapping[str, Any] | None) -> str:
    """Pure: what is missing until the stable of a route serves, by what its controller sees."""
    stable = state.stable
    if stable is None:
        return ""
    if view is None:
        return "the controller has not looked yet"
    ready = [
        instance
        for arm in view["arms"]
        if arm["release"] == stable.release
        for instance in arm["instances"]
        if instance["state"] == InstanceState.READY.value
    ]
    if not ready:
        return f"no instance of {stable.version} is ready yet"
    if not view["gateways"] or view["confirmed"] != str(state.changed_by):
        return f"the gateway has not taken the way to {stable.version} yet"
    return ""
