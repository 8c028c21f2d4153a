"""Following a rollout to its end: what a route's state means for one release (pure), and the watching."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fairway.errors import NotFoundError, TransientError
from fairway.pipeline.port import Finding, StageOutcome, StageStatus
from fairway.release.values import Manifest
from fairway.rollout.advised import proved_in_soak, ways_on
from fairway.rollout.people import Override
from fairway.rollout.port import JournalEntry
from fairway.rollout.requests import Answer, AnswerKind, Request, Verb
from fairway.rollout.values import Phase, RolloutState, RouteState
from fairway.rollout.wire import state_from_wire
from fairway.stages.context import DeliveryContext
from fairway.units import Digest, RouteId, format_duration

NO_CONTROLLER_SECONDS = 5.0
"""How long a route may be without a living controller before that is said."""
ANSWER_SECONDS = 30.0
WAITING_SECONDS = 5.0
"""How often it is said what a rollout waits for."""
_POLL_SECONDS = 0.2


class Standing(StrEnum):
    """Where a release stands on a route."""

    ABSENT = "absent"
    """No rollout of it is live and it does not serve."""
    STEPPING = "stepping"
    PROMOTING = "promoting"
    """It has gone through every step; the last traffic is moving."""
    PROVING = "proving"
    """All traffic is on it, and only now it is compared with what was stable: until that has passed it may go back."""
    SERVING = "serving"
    GOING_BACK = "going_back"
    ROLLED_BACK = "rolled_back"


def standing_of(state: RouteState | None, release: Digest) -> Standing:
    """Pure: where a release stands by the state of a route; ``None``: nothing has ever happened there."""
    if state is None:
        return Standing.ABSENT
    rollout = state.rollout
    ours = rollout is not None and rollout.candidate.release == release
    if ours:
        assert rollout is not None
        match rollout.phase:
            case Phase.PREPARING | Phase.STEPPING:
                return Standing.STEPPING
            case Phase.PROMOTING:
                return Standing.PROMOTING
            case Phase.ROLLING_BACK:
                return Standing.GOING_BACK
            case Phase.ROLLED_BACK:
                return Standing.ROLLED_BACK
            case Phase.SOAKING if proved_in_soak(rollout):
                return Standing.PROVING
            case Phase.SOAKING | Phase.DONE:
                pass  # then it is stable, unless something came after
    if state.stable is not None and state.stable.release == release:
        return Standing.SERVING
    return Standing.ABSENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """How watching ended: where the release stands, and why, for people and reports."""

    standing: Standing
    reason: str
    details: Mapping[str, Any]


class RolloutWatcher:
    """Asks for a rollout of a release, once, and follows it."""

    def __init__(self, context: DeliveryContext, manifest: Manifest, route: RouteId) -> None:
        self._context = context
        self._manifest = manifest
        self._route = route
        self._release = manifest.release_digest
        self._ledger = context.ledger
        self._seen = 0
        self._last: JournalEntry | None = None
        self._said = ""
        self._said_at = context.clock.monotonic()
        self._paused_since: float | None = None

    def state(self) -> RouteState | None:
        """The route as it is in the ledger."""
        head = self._ledger.head(self._route)
        self._seen = self._seen or head.fence.seq
        return None if head.state is None else state_from_wire(head.state)

    def standing(self) -> Standing:
        """Where the release stands now: one read."""
        return standing_of(self.state(), self._release)

    async def ask(self) -> Answer:
        """Ask for the rollout. The request is named after the run and the release: a resumed run asks the same one.

        Raises:
            TransientError: ``no_controller`` when nobody is there to answer, ``no_answer`` when nobody does.
        """
        delivery = self._context.delivery
        name = uuid.uuid5(uuid.NAMESPACE_URL, f"{delivery.run_id}/{self._route}/{self._release}/start")
        answer = self._ledger.submit(
            Request(
                id=name.hex,
                route=self._route,
                verb=Verb.START,
                actor=delivery.actor,
                at=self._context.clock.now(),
                args={"release": self._release},
                reason=f"fairway run {delivery.run_id}",
            )
        )
        deadline = self._context.clock.monotonic() + ANSWER_SECONDS
        absent = _Absence(self._context)
        while answer.kind is AnswerKind.PENDING:
            absent.note(self._ledger.lease_of(self._route) is not None)
            if self._context.clock.monotonic() > deadline:
                raise TransientError(
                    "the controller has not answered; the request stays recorded",
                    code="no_answer",
                    hint="fairway rollout status shows what it waits for",
                )
            await self._context.clock.sleep(_POLL_SECONDS)
            answer = self._ledger.answer(answer.request_id)
        return answer

    async def follow(self, until: frozenset[Standing], *, limit: float, paused: float) -> Watched:
        """Follow the rollout until the release stands where it is waited for, is rolled back or replaced.

        Args:
            until: Standings that end the watching, beside rolled back and absent.
            limit: Seconds.
            paused: Seconds a paused rollout is waited for when nobody sees the run.

        Raises:
            TransientError: ``no_controller`` when nobody decides any more, ``rollout_paused`` when only a person can
                go on and none did, ``watch_timeout`` when time is up; the rollout is left as it is.
        """
        try:
            return await self._follow(until, limit=limit, paused=paused)
        except asyncio.CancelledError:
            waits = self._paused()
            goes_on = "goes on by itself (fairway rollout status, fairway rollout abort)"
            left = goes_on if waits is None else f"does not go on by itself: {_ways(waits)}"
            raise asyncio.CancelledError(f"no longer followed; the rollout {left}") from None

    async def _follow(self, until: frozenset[Standing], *, limit: float, paused: float) -> Watched:
        deadline = self._context.clock.monotonic() + limit
        ends = until | {Standing.ROLLED_BACK, Standing.ABSENT}
        absent = _Absence(self._context)
        while (standing := self.standing()) not in ends:
            self._tell_news()
            self._wait_for_a_person(paused)
            absent.note(self._ledger.lease_of(self._route) is not None)
            if self._context.clock.monotonic() > deadline:
                raise TransientError(
                    f"still {standing.value} after {format_duration(limit)}; the rollout goes on by itself",
                    code="watch_timeout",
                    hint="fairway rollout watch follows it; fairway run --resume takes this up again",
                )
            await self._context.clock.sleep(_POLL_SECONDS)
        self._tell_news()
        return Watched(standing=standing, reason=self._reason(), details=self._details())

    def _paused(self) -> RolloutState | None:
        """Our rollout, while it waits for a person."""
        state = self.state()
        rollout = state.rollout if state else None
        ours = rollout is not None and rollout.live and rollout.candidate.release == self._release
        return rollout if ours and rollout is not None and rollout.paused else None

    def _wait_for_a_person(self, limit: float) -> None:
        """Say that a person is needed; where nobody sees that, for so long only."""
        rollout = self._paused()
        now = self._context.clock.monotonic()
        if rollout is None:
            self._paused_since = None
            return
        if self._paused_since is None:
            self._paused_since = now
            self._context.progress(f"paused, a person is needed: {_ways(rollout)}")
        if now - self._paused_since > limit and not self._context.delivery.attended:
            raise TransientError(
                f"paused for {format_duration(limit)}, and no person went on: {rollout.paused}",
                code="rollout_paused",
                hint=f"{_ways(rollout)}; then fairway run --resume takes this up again",
            )

    def _tell_news(self) -> None:
        for event in self._ledger.events(self._route, after=self._seen):
            self._seen = event.fence.seq
            self._last = event
            self._context.progress(f"{event.kind}: {event.reason}")
            self._said, self._said_at = event.reason, self._context.clock.monotonic()
        self._tell_waiting()

    def _tell_waiting(self) -> None:
        """Say what is waited for, when it has changed and nothing else was said for a while."""
        now = self._context.clock.monotonic()
        if now - self._said_at < WAITING_SECONDS:
            return
        self._said_at = now
        waiting = self._context.delivery.waiting_for(self._route)
        if waiting and waiting != self._said:
            self._said = waiting
            self._context.progress(f"now: {waiting}")

    def _reason(self) -> str:
        state = self.state()
        rollout = state.rollout if state else None
        if rollout is not None and rollout.candidate.release == self._release and rollout.cause_text:
            return rollout.cause_text
        return self._last.reason if self._last else ""

    def _details(self) -> dict[str, Any]:
        state = self.state()
        rollout = state.rollout if state else None
        details: dict[str, Any] = {"release": self._release, "release_version": self._manifest.release_version}
        if rollout is not None and rollout.candidate.release == self._release:
            details |= {"rollout": rollout.id, "phase": rollout.phase.value, "cause": rollout.cause}
            if rollout.overrides:
                details["overrides"] = [
                    {"verb": one.verb, "by": one.actor, "reason": one.reason, "past": one.past, "whole": one.whole}
                    for one in rollout.overrides
                ]
        evidence = self._evidence()
        if evidence is not None:
            details["evidence"] = evidence
        return details

    def overrides(self) -> tuple[Override, ...]:
        """Where people moved this rollout past its gates."""
        state = self.state()
        rollout = state.rollout if state else None
        ours = rollout is not None and rollout.candidate.release == self._release
        return rollout.overrides if ours and rollout is not None else ()

    def proved_in_soak(self) -> bool:
        """Whether only its soak compares it with what was stable."""
        state = self.state()
        rollout = state.rollout if state else None
        ours = rollout is not None and rollout.candidate.release == self._release
        return ours and rollout is not None and proved_in_soak(rollout)

    def soak(self) -> float:
        """Seconds of observed traffic after which it counts as done, while it soaks; 0 when it does not."""
        state = self.state()
        rollout = state.rollout if state else None
        ours = rollout is not None and rollout.candidate.release == self._release
        return rollout.plan.soak if ours and rollout is not None and rollout.phase is Phase.SOAKING else 0.0

    def _evidence(self) -> Any:
        """What the last rollback or promotion of this watch was decided on."""
        decision = self._last.decision if self._last else {}
        return decision.get("evidence") or None


def _ways(rollout: RolloutState) -> str:
    return " | ".join(ways_on(rollout))


class _Absence:
    """How long nobody has held the route."""

    def __init__(self, context: DeliveryContext) -> None:
        self._context = context
        self._since: float | None = None

    def note(self, present: bool) -> None:
        """Take one look.

        Raises:
            TransientError: When nobody has been there for too long (``code="no_controller"``).
        """
        now = self._context.clock.monotonic()
        if present:
            self._since = None
            return
        self._since = now if self._since is None else self._since
        if now - self._since > NO_CONTROLLER_SECONDS:
            raise TransientError(
                "no controller is alive; what was asked for is recorded",
                code="no_controller",
                hint="start it in another terminal (fairway up), then: fairway run --resume",
            )


def find_manifest(context: DeliveryContext) -> Manifest:
    """The release this run is about: just cut, or cut by an earlier run.

    Raises:
        NotFoundError: When there is none of that version (``code="release_not_cut"``).
    """
    delivery = context.delivery
    if delivery.packaged is not None:
        return delivery.packaged.manifest
    version = delivery.release_version or ""
    try:
        manifest = context.ledger.find_release(context.project.name, version).manifest
    except NotFoundError as error:
        raise NotFoundError(
            f"release {version} is not cut yet", code="release_not_cut", hint=f"fairway run --version {version}"
        ) from error
    if manifest.release_digest != context.release:
        raise NotFoundError(
            f"release {version} is not what is checked out",
            code="release_not_cut",
            hint=f"check out its tag, or deploy it as it is: fairway deploy {version}",
        )
    return manifest


def by_hand(overrides: tuple[Override, ...]) -> tuple[Finding, ...]:
    """What a report says of each override: it is no pass."""
    return tuple(
        Finding(
            severity="warning",
            rule="rollout/override",
            message=f"{one.actor} went past the gates ({one.verb.replace('_', ' ')}; {one.past}): {one.reason}",
        )
        for one in overrides
    )


def rolled_back(watched: Watched) -> StageOutcome:
    """The outcome of a rollout that went back or was replaced: a verdict, with what it was decided on."""
    replaced = watched.standing is Standing.ABSENT
    said = "another rollout took its place" if replaced else "rolled back"
    return StageOutcome(
        status=StageStatus.FAILED,
        summary=f"{said}: {watched.reason}" if watched.reason else said,
        details={
            **watched.details,
            "code": "superseded" if replaced else "rolled_back",
            "hint": "fairway rollout status shows the evidence; fairway audit log who did what",
        },
    )
