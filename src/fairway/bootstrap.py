"""Wiring: reads a project's settings and puts the vendors behind the ports. The only module that knows them all."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fairway.clock import Clock, SystemClock
from fairway.controller.arm_files import ReleaseArmFiles
from fairway.controller.checked_out import GitCheckedOut
from fairway.controller.engine import RouteController
from fairway.controller.facts import ReleaseFactsLookup
from fairway.controller.flags import flags_reader, published
from fairway.controller.gateway_decisions import GatewayDecisions
from fairway.controller.holder import holder_name, release_dead_lease
from fairway.controller.measure import BlockMeasurer
from fairway.controller.people import PeopleFile
from fairway.controller.policy import plan_of
from fairway.controller.probing import ArmProber, LocalQuestion
from fairway.controller.scores import ScoreJoin
from fairway.controller.sources import SourceWatch
from fairway.errors import RefusedError
from fairway.ledger import SqlLedger, open_ledger
from fairway.observe.sources.gateway import GatewaySource
from fairway.observe.sources.scores import ScoreFiles
from fairway.project.load import Project, load_project
from fairway.release.store import FileContentStore
from fairway.release.trust import trusted_keys
from fairway.rollout.desired import RoutePolicy
from fairway.rollout.guarding import plan_to_follow
from fairway.rollout.requests import Request, Verb
from fairway.rollout.values import Plan, RouteState
from fairway.rollout.wire import state_from_wire
from fairway.sources.port import Asker
from fairway.stages.idle_smoke import IdleSmoke
from fairway.state_dir import StateDir
from fairway.targets.local.records import RecordFolder
from fairway.targets.local.target import LocalTarget
from fairway.traffic.routers.gateway import GatewayRouter
from fairway.traffic.routers.gateway_question import GatewayQuestion
from fairway.units import RouteId

SERVING_ENVIRONMENT = "production"
"""The environment the embedded gateway serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """A project with its ledger and content store open."""

    project: Project
    ledger: SqlLedger
    store: FileContentStore
    clock: Clock

    @property
    def state(self) -> StateDir:
        """Where Fairway keeps what it makes."""
        return self.project.state

    @property
    def route(self) -> RouteId:
        """The route the embedded gateway serves."""
        return self.project.route(SERVING_ENVIRONMENT)

    def close(self) -> None:
        """Close the ledger, with a signed head."""
        self.ledger.close()


def open_workspace(start: str | Path | None = None) -> Workspace:
    """Open the project at or above ``start``.

    Raises:
        NotFoundError: When there is no project.
        ProjectFileError: When a file of it is wrong.
        PermanentError: When the ledger cannot be read.
    """
    project = load_project(None if start is None else Path(start))
    clock = SystemClock()
    return Workspace(
        project=project,
        ledger=open_ledger(project.state.ledger, clock=clock),
        store=FileContentStore(project.state.blobs),
        clock=clock,
    )


def route_policy_of(project: Project) -> RoutePolicy:
    """The project's part of the route table."""
    gateway = project.gateway
    trip = project.rollout.trip
    return RoutePolicy(
        rules=gateway.table_rules(),
        keys=gateway.table_keys(),
        timeouts=gateway.table_timeouts(),
        limits=gateway.table_limits(),
        trip=None if trip is None else trip.table_trip(),
        block_seconds=gateway.block,
        pin_seconds=min(gateway.pin, project.rollout.warm),  # no longer than the arm it points to is kept
        rerun=project.rollout.rerun.table_rerun(),
        sample=gateway.table_sample(),
        reading=gateway.table_reading(),
        health=gateway.table_health(),
        ejection=gateway.table_ejection(),
        trace=gateway.trace,
    )


def plan_of_release(workspace: Workspace, reference: str) -> Plan:
    """What a rollout of a release would follow if it started now.

    Raises:
        NotFoundError: When there is no such release.
        RefusedError: When it does not verify.
    """
    route = workspace.route
    manifest = workspace.ledger.find_release(workspace.project.name, reference).manifest
    head = workspace.ledger.head(route)
    state = RouteState(route=route) if head.state is None else state_from_wire(head.state)
    asked = Request(
        id="plan", route=route, verb=Verb.START, actor="", at=workspace.clock.now(),
        args={"release": manifest.release_digest},
    )  # fmt: skip
    facts = _facts_lookup(workspace)(asked, state)
    if facts is None or facts.plan is None:
        why = "" if facts is None else f": {facts.refusal}"
        raise RefusedError(f"release {manifest.release_version} has no plan{why}", code="release_refused")
    return plan_to_follow(facts, facts.plan, state)


def _facts_lookup(workspace: Workspace) -> ReleaseFactsLookup:
    # Keys are read anew each time: the first release makes one.
    trusted = partial(trusted_keys, workspace.state.keys)
    return ReleaseFactsLookup(releases=workspace.ledger, store=workspace.store, trusted=trusted)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerParts:
    """A controller and what has to run beside it."""

    controller: RouteController
    target: LocalTarget
    router: GatewayRouter
    decisions: GatewayDecisions


def build_controller(workspace: Workspace, *, asker: Asker) -> ControllerParts:
    """The controller of the route that the embedded gateway serves, over local processes.

    Args:
        workspace: Open for as long as the controller is.
        asker: Of what custom gates need.
    """
    project = workspace.project
    trusted = partial(trusted_keys, workspace.state.keys)  # read anew each time, as above
    route = workspace.route
    release_dead_lease(workspace.ledger, route)
    target = LocalTarget(
        state=workspace.state,
        files=ReleaseArmFiles(
            releases=workspace.ledger, store=workspace.store, trusted=trusted, flags=workspace.state.flags
        ),
        clock=workspace.clock,
    )
    router = GatewayRouter(workspace.state.socket("controller"))
    measurer = BlockMeasurer(
        route=route,
        ledger=workspace.ledger,
        source=GatewaySource(workspace.state.socket("gateway")),
        clock=workspace.clock,
        sources=SourceWatch(route=route, asker=asker, clock=workspace.clock),
        scores=None
        if project.evals.online is None
        else ScoreJoin(source=ScoreFiles(workspace.state.root), wait=project.evals.online.wait),
    )
    facts = _facts_lookup(workspace)
    controller = RouteController(
        route=route,
        ledger=workspace.ledger,
        target=target,
        router=router,
        measurer=measurer,
        facts_of=facts,
        prepare_facts=facts.prepare,
        prober=ArmProber(
            ask=LocalQuestion(records=RecordFolder(workspace.state.arms / "instances")),
            clock=workspace.clock,
            smoke=IdleSmoke(
                route=route,
                root=project.root,
                releases=workspace.ledger,
                records=RecordFolder(workspace.state.arms / "instances"),
                clock=workspace.clock,
            ),
        ),
        plan=plan_of(project, SERVING_ENVIRONMENT),
        policy=route_policy_of(project),
        flags_of=published(
            flags_reader(
                workspace.ledger, project.flag_specs(), route.environment, tenant_header=project.gateway.tenant.lower()
            ),
            workspace.state.flags(route.environment),
        ),
        clock=workspace.clock,
        holder=holder_name(),
        people=project.people.to_people(),
        people_of=PeopleFile(
            root=project.root,
            route=route,
            ledger=workspace.ledger,
            clock=workspace.clock,
            in_force=project.people.to_people(),
            commits=GitCheckedOut(project.root),
        ),
        environment_kind=project.environment(SERVING_ENVIRONMENT).kind,
    )
    decisions = GatewayDecisions(
        route=route, ledger=workspace.ledger, ask=GatewayQuestion(workspace.state.socket("gateway")).decided
    )
    return ControllerParts(controller=controller, target=target, router=router, decisions=decisions)
