"""A recorded history taken again, event by event: the same decisions, or the first difference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fairway.canonical import canonical_json
from fairway.errors import FairwayError, NotFoundError
from fairway.ledger.comparison import Difference, first_difference
from fairway.release.wire import plain, read_json
from fairway.rollout.deciding import ENGINE_VERSION
from fairway.rollout.port import JournalEntry, RolloutLedger
from fairway.rollout.replay import DecidedAgain, OnTheEdge, decide_again
from fairway.rollout.wire import decision_from_wire, decision_to_wire, state_from_wire, state_to_wire
from fairway.units import RouteId

_PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One event, taken again.

    Attributes:
        seq, code: Of the event.
        replayed: Whether it kept what it looked at.
        difference: Where it comes out otherwise first; ``None`` when it does not.
        edge: Figures within 1e-9 of their threshold; a difference beside one is no error.
        engine: Version of the code that decided it; ``""`` when the event kept nothing, or it cannot be read.
        follows: Whether it began where the event before ended; no version of the code makes that come out otherwise.
    """

    route: RouteId
    seq: int
    code: str
    replayed: bool
    difference: Difference | None = None
    edge: tuple[OnTheEdge, ...] = ()
    engine: str = ""
    follows: bool = True

    @property
    def wrong(self) -> bool:
        """Whether it comes out otherwise, no figure stood on the edge, and the same version of the code decided it."""
        return self.difference is not None and not self.edge and not self.by_other_engine

    @property
    def by_other_engine(self) -> bool:
        """Whether it comes out otherwise, and another version of the code decided it: neither right nor wrong."""
        other = self.engine not in ("", ENGINE_VERSION)
        return self.difference is not None and not self.edge and other and self.follows


def replay_route(
    ledger: RolloutLedger, route: RouteId, *, first: int = 1, last: int | None = None
) -> Iterator[Replayed]:
    """Take the events ``first`` to ``last`` (both included; ``None``: all there are) of a route again, in order."""
    before = _state_before(ledger, route, first)
    for entry in _events(ledger, route, after=first - 1):
        if last is not None and entry.fence.seq > last:
            return
        yield _replayed(ledger, entry, before)
        before = entry


def _events(ledger: RolloutLedger, route: RouteId, *, after: int) -> Iterator[JournalEntry]:
    while page := ledger.events(route, after=after, limit=_PAGE):
        yield from page
        after = page[-1].fence.seq


def _state_before(ledger: RolloutLedger, route: RouteId, first: int) -> JournalEntry | None:
    found = ledger.events(route, after=first - 2, limit=1) if first > 1 else ()
    return found[0] if found and found[0].fence.seq == first - 1 else None


def _replayed(ledger: RolloutLedger, entry: JournalEntry, before: JournalEntry | None) -> Replayed:
    result = Replayed(route=entry.route, seq=entry.fence.seq, code=entry.code, replayed=False)
    try:
        snapshot = ledger.snapshot(entry.route, entry.fence.seq)
    except NotFoundError:
        return result
    try:
        again = decide_again(snapshot)
        recorded = _as_read(entry)
    except (FairwayError, ValueError) as error:
        text = f"cannot be replayed: {error}"
        unreadable = Difference(path="snapshot", recorded=None, replayed=text)
        return Replayed(route=entry.route, seq=entry.fence.seq, code=entry.code, replayed=False, difference=unreadable)
    taken = {"decision": _json(again.decision), "state": _json(again.state)}
    broken = _does_not_follow(entry, before, again)
    decided = first_difference(recorded, taken)
    # What another version decided is expected to differ: then the break is what is told.
    difference = decided or broken if again.engine == ENGINE_VERSION else broken or decided
    return Replayed(
        route=entry.route,
        seq=entry.fence.seq,
        code=entry.code,
        replayed=True,
        difference=difference,
        edge=again.edge,
        engine=again.engine,
        follows=broken is None,
    )


def _as_read(entry: JournalEntry) -> Mapping[str, Any]:
    """The recorded decision and state as this code reads them: what a later version added has its default."""
    state = state_from_wire(entry.state)
    decision = decision_to_wire(decision_from_wire(entry.decision, state))
    return {"decision": _json(decision), "state": _json(state_to_wire(state))}


def _does_not_follow(entry: JournalEntry, before: JournalEntry | None, again: DecidedAgain) -> Difference | None:
    """Whether the event looked at something else than the event before left."""
    if again.head != entry.fence.seq - 1:
        return Difference(path="looked_at.head", recorded=entry.fence.seq - 1, replayed=again.head)
    if before is None or before.fence.seq != entry.fence.seq - 1:
        return None
    left = _json(state_to_wire(state_from_wire(before.state)))
    return first_difference(left, _json(again.looked_at), "looked_at.state")


def _json(wire: Mapping[str, Any]) -> Any:
    return read_json(canonical_json(plain(wire)))
