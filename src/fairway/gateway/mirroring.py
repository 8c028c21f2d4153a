"""Requests of some conversations copied to a shadow: bounded, in nobody's way, compared once both have answered.

A conversation is mirrored from its first request or not at all, and one request after the other, so that the shadow
knows what the primary knows. One it can no longer follow (a request was dropped, a pair diverged, only one of the two
failed) is not mirrored any further.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import count
from time import time
from typing import TYPE_CHECKING

from fairway.gateway.attesting import Attesting
from fairway.gateway.comparing import BODY_BYTES, Side, body_digest, compare
from fairway.gateway.left_out import LeftOut
from fairway.gateway.pairs import PairLog
from fairway.gateway.room import Processor, Room
from fairway.gateway.serving import Known, MirrorPlan, Serving
from fairway.gateway.shadow_copy import ShadowCopy
from fairway.gateway.telemetry import Cell
from fairway.gateway.trace_context import apart
from fairway.traffic.table import Role

if TYPE_CHECKING:
    from fairway.gateway.worker import Worker

SHADOW_LINE = b"x-fairway-shadow: 1\r\n"
"""Marks a copy, so that the agent mocks its tools; a client's own header of that name never gets here."""

_NOT_FOLLOWED = 0
_SAFE = (b"GET ", b"HEAD ", b"OPTIONS ")


class Pair:
    """One request that is answered twice."""

    __slots__ = (
        "_body", "_copied", "_length", "_mirror", "_primary", "_shadow", "key", "plan", "request", "serving", "unit",
        "void",
    )  # fmt: skip

    copied = True
    """A copy of it runs elsewhere: it is not run again on stable."""

    def __init__(
        self, mirror: Mirror, serving: Serving, plan: MirrorPlan, *, key: bytes, unit: bytes, request: bytes
    ) -> None:
        self._mirror = mirror
        self.serving = serving
        self.plan = plan
        self.key = key
        """Of its conversation."""
        self.unit = unit
        """Its conversation, as the mirror knows it."""
        self.request = request
        """Id of the request."""
        self.void = False
        """Whether there is no copy after all."""
        self._copied = False
        self._primary: Side | None = None
        self._shadow: Side | None = None
        self._body = bytearray()
        self._length = 0

    def sent(self, data: bytes | None) -> None:
        """All of the request has been sent to the primary.

        Args:
            data: As it was sent; ``None`` when it was too large to be kept.
        """
        if self._copied:
            return  # a request sent again to another connection of the primary
        self._copied = True
        if data is None:
            self._mirror.drop(self)
        else:
            data = apart(data)
            end = data.find(b"\r\n") + 2
            self._mirror.copy(self, b"%b%b%b" % (data[:end], SHADOW_LINE, data[end:]))

    def primary_data(self, payload: bytes) -> None:
        """Some of the primary's answer."""
        if self.void:
            return
        self._length += len(payload)
        if len(self._body) < BODY_BYTES:
            self._body += payload[: BODY_BYTES - len(self._body)]

    def primary_ended(self, side: Side) -> None:
        """What became of the primary; its body is what :meth:`primary_data` was told."""
        if not self._copied:
            self._copied = True
            self._mirror.drop(self)
        elif not self.void:
            self._primary = side._replace(length=self._length)
            self._mirror.soon(self._settle)  # the user's request has still to be ended

    def shadow_ended(self, copy: ShadowCopy, side: Side) -> None:
        """What became of the copy."""
        if self._mirror.hears(self, side, safe=copy.data.startswith(_SAFE)):
            self._shadow = side
            self._settle()
        self._mirror.ended(copy)

    def _settle(self) -> None:
        primary, shadow = self._primary, self._shadow
        if primary is None or shadow is None:
            return
        self._primary = None  # once
        self._mirror.settle(self, primary._replace(digest=body_digest(self._body)), shadow)


class Mirror:
    """What a worker mirrors."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._copies: dict[bytes, deque[ShadowCopy]] = {}  # by conversation: the first is under way
        self._loop = asyncio.get_running_loop()
        self.room = Room()
        self.log = PairLog()
        self._processor = Processor()
        self._uncounted: list[tuple[Serving, str, LeftOut]] = []
        self._left = count()  # the same table may come again, while what was left out under the one before is untold
        self._attesting: dict[tuple[int, str], Attesting] = {}  # by salt and release of the shadow; the last one

    def begin(self, serving: Serving, key: bytes, request: bytes, *, fresh: bool, now: float) -> Pair | None:
        """A request of a conversation begins; ``None`` when it is not to be copied.

        Args:
            serving: The table in force, which has a mirror.
            key: Of the conversation.
            request: Id of the request.
            fresh: Whether the conversation begins with it.
            now: Epoch seconds.
        """
        plan = serving.mirror
        if plan is None or not plan.takes(key):
            return None
        if plan.says and self._attested(plan).broken:
            self._count(serving, plan, {"shadow_unattested": 1})  # what is read later still shows that it ended
            return None
        unit = plan.unit(key)
        if fresh:
            if not self.has_room(serving):
                self._count(serving, plan, {"shadow_dropped": 1})
                return None
            self.room.taken_up()
            self._note(plan, unit, plan.arm.tag, now + max(1.0, serving.table.pin_seconds))
        else:
            found = self._worker.memory.find(unit, now)
            if found is None or found[0] != plan.arm.tag or found[2] != plan.salt_tag:
                self._count(serving, plan, {"shadow_skipped": 1})
                return None
        return Pair(self, serving, plan, key=key, unit=unit, request=request)

    def has_room(self, serving: Serving) -> bool:
        """Whether a conversation that begins now can be taken up."""
        plan = serving.mirror
        if plan is None or self._worker.draining:
            return False
        return self.room.open and (not plan.says or self._one_more(self._attested(plan)))

    def crowded(self, serving: Serving) -> LeftOut:
        """Where requests of conversations are counted that there was no room for."""
        return self._left_out(serving, "shadow_dropped")

    def let_pass(self, serving: Serving, known: Known, key: bytes | None) -> None:
        """A request was not copied, and no later one of its conversation will be: they may take the short way.

        Args:
            serving: The table it was placed under.
            known: Where its conversation's requests go.
            key: Of the conversation, when it has one.
        """
        plan, sample, decision = serving.mirror, serving.sample, known.placement.decision
        if plan is None or key is None or not decision.served_as_assigned:
            return
        if sample is not None and sample.takes(key):
            return
        if decision.role is Role.STABLE:
            broken = plan.says and self._attested(plan).broken
            known.leave_out(self._left_out(serving, "shadow_unattested" if broken else "shadow_skipped"))
        known.direct = True

    def _left_out(self, serving: Serving, counted_as: str) -> LeftOut:
        found = serving.left_out.get(counted_as)
        if found is None:
            found = serving.left_out[counted_as] = LeftOut(self._worker.telemetry, f"{counted_as} {next(self._left)}")
            self._uncounted.append((serving, counted_as, found))
        return found

    def tell(self) -> None:
        """Count what took the short way since the last report; to be called right before each."""
        for serving, counted_as, left_out in self._uncounted:
            count = left_out.counted()
            if count and serving.mirror is not None:
                self._count(serving, serving.mirror, {counted_as: count})
        self._uncounted = [one for one in self._uncounted if one[0] is self._worker.serving]

    def copy(self, pair: Pair, data: bytes) -> None:
        """Send a copy, after the other copies of its conversation; or drop it."""
        if self._worker.draining or not self.room.for_copy(len(data)):
            self.drop(pair)
            return
        if pair.plan.says and not self._may_copy(pair):
            self.drop(pair)
            return
        copy = ShadowCopy(pair, pair.plan.arm, pair.serving.table, data)
        self.room.take(len(data))
        queue = self._copies.get(pair.unit)
        if queue is None:
            self._copies[pair.unit] = deque((copy,))
            self._loop.call_soon(copy.start)  # after what the primary's request still has to do
        else:
            queue.append(copy)

    def soon(self, what: Callable[[], None]) -> None:
        """Do something once nobody waits for this turn of the loop."""
        self._loop.call_soon(what)

    def drop(self, pair: Pair) -> None:
        """A request is not copied: the shadow cannot follow the conversation from here on."""
        pair.void = True
        self.lose(pair)
        self._count(pair.serving, pair.plan, {"shadow_dropped": 1})

    def lose(self, pair: Pair) -> None:
        """The shadow knows other things of a conversation than the primary from here on."""
        self._note(pair.plan, pair.unit, _NOT_FOLLOWED, time() + max(1.0, pair.serving.table.pin_seconds))

    def ended(self, copy: ShadowCopy) -> None:
        """A copy has its answer, or never will: the next of its conversation is sent."""
        self.room.give_back(len(copy.data))
        unit = copy.pair.unit
        queue = self._copies.get(unit)
        if queue is None:
            return
        if queue and queue[0] is copy:
            queue.popleft()
        if queue:
            self._loop.call_soon(queue[0].start)
        else:
            del self._copies[unit]

    def hears(self, pair: Pair, shadow: Side, *, safe: bool) -> bool:
        """Whether an answer of a shadow may be compared; the first that does not say it is one's ends the mirror.

        Args:
            pair: Its own.
            shadow: The answer.
            safe: The request's method changes nothing: its answer need not say what it did.
        """
        plan = pair.plan
        if not plan.says or self._attested(plan).heard(shadow, safe=safe):
            return True
        self.lose(pair)
        self._count(pair.serving, plan, {"shadow_unattested": 1})
        self._stop(plan)
        return False

    def settle(self, pair: Pair, primary: Side, shadow: Side) -> None:
        """Both halves of a pair have ended: compare and count them."""
        found = compare(primary, shadow)
        release = pair.plan.arm.arm.release
        self.log.note(found, primary, shadow, at=time(), request=pair.request, key=pair.key, release=release)
        if not found.same_state:
            self.lose(pair)
            self._give_up(pair.unit)
        if found.reason:
            cell = self._cell(pair.serving, pair.plan)
            if cell is not None:
                status = f"{shadow.status} ({primary.status})"
                cell.describe({"request": pair.request.decode(), "status": status, "reason": found.reason})
        self._count(pair.serving, pair.plan, found.sums)

    def _attested(self, plan: MirrorPlan) -> Attesting:
        key = (plan.salt_tag, plan.arm.arm.release)
        known = self._attesting.get(key)
        if known is None:
            known = Attesting()
            self._attesting = {key: known}
        return known

    def _may_copy(self, pair: Pair) -> bool:
        """Whether one more copy may go out."""
        known = self._attested(pair.plan)
        return not known.broken and self._one_more(known)

    def _one_more(self, known: Attesting) -> bool:
        """Until a shadow has said that it is one, a single copy at a time."""
        return known.proved or not self.room.copies

    def _stop(self, plan: MirrorPlan) -> None:
        """Nothing that waits goes to a shadow that may have acted; what is under way cannot be taken back."""
        for unit in tuple(self._copies):
            if self._copies[unit][0].pair.plan.arm is plan.arm:
                self._give_up(unit)

    def _give_up(self, unit: bytes) -> None:
        """What waits of a conversation that is not followed any longer is not sent."""
        queue = self._copies.get(unit)
        while queue and len(queue) > 1:
            copy = queue.pop()
            self._discard(copy, "shadow_skipped")

    def _discard(self, copy: ShadowCopy, counted_as: str) -> None:
        copy.close()
        copy.pair.void = True
        self.room.give_back(len(copy.data))
        self._count(copy.pair.serving, copy.pair.plan, {counted_as: 1})

    def overdue(self, now: float) -> None:
        """Called by the sweep; ``now`` in ``perf_counter()`` seconds."""
        self.room.look(now, self._processor.wanted)
        for queue in tuple(self._copies.values()):
            queue[0].overdue(now)

    def abandon(self) -> None:
        """The worker ends: nothing waits for a shadow."""
        copies = [copy for queue in self._copies.values() for copy in queue]
        self._copies.clear()
        for copy in copies:
            self._discard(copy, "shadow_dropped")

    def close(self) -> None:
        """The worker has ended."""
        self.abandon()
        self._processor.close()

    def _note(self, plan: MirrorPlan, unit: bytes, release: int, expires: float) -> None:
        self._worker.memory.note(unit, release, plan.salt_tag, int(expires))

    def _count(self, serving: Serving, plan: MirrorPlan, sums: dict[str, float]) -> None:
        cell = self._cell(serving, plan)
        if cell is None:
            return
        cell.dirty = True
        for name, value in sums.items():
            cell.sums[name] = cell.sums.get(name, 0) + value

    def _cell(self, serving: Serving, plan: MirrorPlan) -> Cell | None:
        """Where pairs are counted: the block in which they were compared; ``None`` once something else is in force."""
        current = self._worker.serving
        if current.regime != serving.regime:
            return None
        return self._worker.telemetry.cell(
            start=time(),
            block_seconds=current.table.block_seconds,
            release=plan.arm.arm.release,
            role=Role.SHADOW,
            fence=current.table.fence,
            regime=current.regime,
            split=int(current.table.split),
        )
