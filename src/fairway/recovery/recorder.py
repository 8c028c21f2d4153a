"""Keeps the record around what the controller does: the procedure of each rollback, and SLA snapshots.

Runs beside the controller and after a person's rollback; level-triggered, so that whoever looks next finishes what is
missing. Traffic never waits for it, and what it cannot do is recorded, not raised.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from fairway import __version__
from fairway.bootstrap import Workspace
from fairway.controller.flags import LedgerFlags
from fairway.errors import FairwayError, NotFoundError
from fairway.flags.values import guarding
from fairway.incident.kinds import Possible, choose
from fairway.incident.procedure import (
    Entry,
    Step,
    recovery,
)
from fairway.incident.sla_records import SlaSource, archived, as_evidence, due, serves, take_snapshot
from fairway.incident.suspects import Located, locate
from fairway.ledger.records import DeploymentStatus
from fairway.observe.fold import Block
from fairway.recovery.cases import Case, case_of, detected_wire, ends, located_wire, rolled_back_wire, serving_failed
from fairway.recovery.record import find_procedure, notify, read_procedures, write_entry
from fairway.release.derive import never_stable
from fairway.release.values import Component, Manifest
from fairway.rollout.port import JournalEntry
from fairway.rollout.values import Phase, RolloutState, RouteState
from fairway.rollout.wire import state_from_wire
from fairway.units import Digest, Verdict

log = logging.getLogger("fairway.recovery")

ACTOR = "controller"
WAIT_FOR_TRACES = timedelta(seconds=90)
"""How long locating waits for described failures after traffic is back; their blocks mature after it moved."""
SNAPSHOT_WITHIN = timedelta(minutes=30)
"""A release's first SLA snapshot is archived at the latest so long after it went live."""
TICK_SECONDS = 1.0
STOP_SECONDS = 2.0
SNAPSHOT_SECONDS = 60.0
"""How often snapshots are looked at: each reads the blocks of a day."""
_PAGE = 200


@dataclass(slots=True)
class Recorder:
    """Records the procedures of one route's rollbacks and the SLA snapshots of its releases."""

    workspace: Workspace
    _read_to: int = 0
    _open: dict[str, Case] = field(default_factory=dict)
    _started: bool = False
    _snapshots_due: float = 0.0

    async def tick(self) -> None:
        """Record what can be recorded now; a ledger that is busy costs a tick."""
        try:
            self._follow()
            for case in list(self._open.values()):
                await self._advance(case)
            if self.workspace.clock.monotonic() >= self._snapshots_due:
                self._snapshots_due = self.workspace.clock.monotonic() + SNAPSHOT_SECONDS
                self._snapshots()
        except FairwayError as error:
            log.warning("%s: not recorded: %s", self.workspace.route, error.message)

    # -- the journal

    def _follow(self) -> None:
        """Read on in the journal: which rollbacks began, which ended."""
        if not self._started:
            self._read_to = self._first_unmarked()
            self._started = True
        while events := self.workspace.ledger.events(self.workspace.route, after=self._read_to, limit=_PAGE):
            for event in events:
                self._read_to = event.fence.seq
                self._note(event)

    def _note(self, event: JournalEntry) -> None:
        case = case_of(event)
        if case is not None and case.incident not in self._open and not self._marked(case.incident):
            self._open[case.incident] = case
        for one in list(self._open.values()):
            if one.ended is None and ends(one, event):
                self._open[one.incident] = replace(one, ended=event)

    def _first_unmarked(self) -> int:
        """Where to read on from: before the oldest rollback on record that is not marked, else after the last one."""
        known = read_procedures(self.workspace)
        begins = {one.incident: one.done(Step.DETECT) for one in known}
        unmarked = [
            int(detected.details["seq"])
            for one in known
            if not one.marked and (detected := begins[one.incident]) is not None
        ]
        if unmarked:
            return min(unmarked) - 1
        return max((int(entry.details["seq"]) for entry in begins.values() if entry is not None), default=0)

    def _marked(self, incident: str) -> bool:
        found = find_procedure(self.workspace, incident)
        return found is not None and found.marked

    # -- the procedure

    async def _advance(self, case: Case) -> None:
        """Do every step that is missing and can be done, in order; notifying waits for nobody."""
        done = find_procedure(self.workspace, case.incident)
        have = {entry.step for entry in done.entries} if done is not None else set()
        if Step.DETECT not in have:
            self._write(case, Step.DETECT, detected_wire(case))
        located = self._located(case, have)
        if located is not None and Step.CHOOSE not in have:
            self._write(case, Step.CHOOSE, self._chosen(case, located))
        if case.ended is not None and Step.ROLL_BACK not in have:
            self._write(case, Step.ROLL_BACK, rolled_back_wire(case))
        if Step.NOTIFY not in have and (located is not None or case.ended is not None):
            self._write(case, Step.NOTIFY, await self._notified(case))
        if case.ended is not None and located is not None:
            self._verify(case, have)

    def _located(self, case: Case, have: set[Step]) -> Mapping[str, Any] | None:
        """What locating found, once it is worth saying: with described failures, or when none will come any more."""
        if Step.LOCATE in have:
            known = find_procedure(self.workspace, case.incident)
            entry = None if known is None else known.done(Step.LOCATE)
            return None if entry is None else entry.details
        found = self._locate(case)
        waited = case.ended is not None and self.workspace.clock.now() - case.ended.at >= WAIT_FOR_TRACES
        if not found.groups and not waited and serving_failed(case):
            return None
        details = located_wire(found)
        self._write(case, Step.LOCATE, details)
        return details

    def _locate(self, case: Case) -> Located:
        rollout = state_from_wire(case.began.state).rollout
        since = case.began.at if rollout is None else rollout.started_at
        if rollout is not None and rollout.going_back:
            since = case.began.at - timedelta(hours=1)  # it was stable: what it did last is what it is left for
        blocks = [
            Block.from_wire(wire)
            for wire in self.workspace.ledger.blocks(self.workspace.route, since=since.timestamp() - 60.0)
        ]
        stable = None if case.back_to is None else case.back_to.release
        return locate(
            blocks,
            candidate=case.bad.release,
            stable=stable,
            changed=self._changed(case) or (),
            proven=self._proven(case),
        )

    def _proven(self, case: Case) -> tuple[Component, ...]:
        """Components of the bad release whose very content was stable here before it."""
        bad = _manifest(self.workspace, case.bad.release)
        state = state_from_wire(case.began.state)
        former = [
            found
            for arm in (state.stable, *state.history)
            if arm is not None and arm.release != case.bad.release and arm.release not in state.blocked
            if (found := _manifest(self.workspace, arm.release)) is not None
        ]
        if bad is None:
            return ()
        new = never_stable(bad.components, former)
        return tuple(part for part in Component if part not in new)

    def _changed(self, case: Case) -> tuple[Component, ...] | None:
        """Components that differ; ``None``: one of the two is not known here."""
        bad = _manifest(self.workspace, case.bad.release)
        good = None if case.back_to is None else _manifest(self.workspace, case.back_to.release)
        if bad is None or good is None:
            return None
        return tuple(part for part in Component if bad.components[part] != good.components[part])

    def _chosen(self, case: Case, located: Mapping[str, Any]) -> dict[str, Any]:
        """The kind that is cheapest and sufficient, beside what the controller did: it never waited for this."""
        state = state_from_wire(case.began.state)
        back = case.back_to
        warm = back is not None and (
            not _going_back(state.rollout) or back.release in {one.arm.release for one in state.warm}
        )
        environment = self.workspace.route.environment
        flags = guarding(self.workspace.project.flag_specs(), LedgerFlags(self.workspace.ledger).read(), environment)
        changed = self._changed(case)
        choice = choose(
            Possible(
                running=warm,
                former=back is not None,
                changed=frozenset(Component if changed is None else changed),
                suspects=frozenset(Component(name) for name in located["suspects"]),
            )
        )
        facts = choice.facts
        return {
            "kind": None if choice.kind is None else choice.kind.value,
            "why": choice.why,
            "then": choice.then,
            "risk": None if facts is None else facts.risk.value,
            "seconds": None if facts is None else list(facts.seconds),
            "flags_that_are_on": list(flags),
        }

    async def _notified(self, case: Case) -> dict[str, Any]:
        """Tell the project's hook; one that fails is recorded, and blocks nothing."""
        section = self.workspace.project.rollback
        if section.notify is None:
            return {"told": False, "why": "rollback.notify is not declared"}
        known = find_procedure(self.workspace, case.incident)
        suspect = None if known is None else known.done(Step.LOCATE)
        body = {
            "event": "rollback",
            "incident": case.incident,
            "agent": self.workspace.route.agent,
            "environment": self.workspace.route.environment,
            "from": case.bad.version,
            "to": None if case.back_to is None else case.back_to.version,
            "code": case.code,
            "reason": case.reason,
            "suspect": "unknown" if suspect is None else suspect.details["named"],
            "at": case.began.at.isoformat(),
        }
        return await notify(self.workspace, section.notify, body, limit=section.notify_timeout)

    def _verify(self, case: Case, have: set[Step]) -> None:
        """Look at what the release that was gone back to does since; recorded once it is known."""
        assert case.ended is not None
        if Step.VERIFY not in have:
            since = case.ended.at.timestamp()
            blocks = [Block.from_wire(wire) for wire in self.workspace.ledger.blocks(self.workspace.route, since=since)]
            back = None if case.back_to is None else case.back_to.release
            found = recovery(blocks, back_to=back, since=since, policy=self.workspace.project.sla.policy())
            if found.verdict is Verdict.NO_DATA:
                return
            self._write(
                case,
                Step.VERIFY,
                {
                    "verdict": found.verdict.value,
                    "requests": found.requests,
                    "success_rate": found.success_rate,
                    "reason": found.reason,
                },
            )
        self._mark_deployment(case)  # before the step: once that is on record, nobody looks again
        if Step.MARK not in have:
            self._write(case, Step.MARK, {"release": case.bad.release, "version": case.bad.version})
        self._open.pop(case.incident, None)

    def _mark_deployment(self, case: Case) -> None:
        """The deployment of the bad release that is recorded as gone well did not, in the end."""
        ledger, route = self.workspace.ledger, self.workspace.route
        for record in ledger.list_deployments(route.agent, route.environment):
            if record.release == case.bad.release and record.status is DeploymentStatus.SUCCEEDED:
                at = case.began.at if case.ended is None else case.ended.at
                ledger.record_deployment(replace(record, status=DeploymentStatus.ROLLED_BACK, ended_at=at))
                return

    def _write(self, case: Case, step: Step, details: Mapping[str, Any]) -> None:
        write_entry(
            self.workspace,
            Entry(incident=case.incident, step=step, at=self.workspace.clock.now(), actor=ACTOR, details=dict(details)),
        )
        log.info("%s: rollback %s: %s", self.workspace.route, case.incident, step.value)

    # -- SLA

    def _snapshots(self) -> None:
        """Archive what is due: the first snapshot of a release, and each change of its status."""
        head = self.workspace.ledger.head(self.workspace.route)
        if head.state is None:
            return
        state = state_from_wire(head.state)
        source = SlaSource(
            ledger=self.workspace.ledger, route=self.workspace.route, policy=self.workspace.project.sla.policy()
        )
        now = self.workspace.clock.now()
        for release in _watched(state):
            manifest = _manifest(self.workspace, release)
            if manifest is None:
                continue
            taken = take_snapshot(source, manifest, now=now)
            if due(taken, archived(self.workspace.ledger, release), now=now, within=SNAPSHOT_WITHIN):
                found = as_evidence(taken, manifest, self.workspace.route, at=now, produced_by=f"fairway {__version__}")
                self.workspace.ledger.add_evidence([found])


def _watched(state: RouteState) -> tuple[Digest, ...]:
    """Releases whose snapshot may be due: those that serve, and the one that was just rolled back."""
    rollout = state.rollout
    named = [] if state.stable is None else [state.stable.release]
    if rollout is not None:
        named += [rollout.candidate.release, *([rollout.stable.release] if rollout.stable is not None else [])]
    just_left = {} if rollout is None or rollout.phase is not Phase.ROLLED_BACK else {rollout.candidate.release}
    left = {rollout.stable.release} if rollout is not None and rollout.going_back and rollout.stable else set()
    return tuple(one for one in dict.fromkeys(named) if serves(state, one) or one in just_left or one in left)


def _going_back(rollout: RolloutState | None) -> bool:
    return rollout is not None and rollout.going_back


def _manifest(workspace: Workspace, release: Digest) -> Manifest | None:
    try:
        return workspace.ledger.find_release(workspace.project.name, release).manifest
    except NotFoundError:
        return None  # released on another machine: nothing is known of its parts here


class Recording:
    """Keeps the records of a project in a thread of its own: no decision waits for it.

    It shares the process's ledger. A second opening of the file would not do: closing any descriptor of it lets go of
    every lock this process has on it (POSIX), and SQLite's writers would meet.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._recorder = Recorder(workspace)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="recorder", daemon=True)

    def __enter__(self) -> Recording:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop; a hook that still runs is left to itself: what is not recorded now, the next controller records."""
        self._stopping.set()
        self._thread.join(timeout=STOP_SECONDS)

    def _keep(self) -> None:
        while not self._stopping.wait(TICK_SECONDS):
            try:
                asyncio.run(self._recorder.tick())
            except Exception:
                log.exception("the record is not up to date")  # the next tick tries again
