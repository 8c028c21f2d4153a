"""One copy of a request on its way to a shadow, and what comes back of it; answers nobody."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING

from fairway.gateway.bodies import AnswerBody
from fairway.gateway.comparing import BODY_BYTES, Side, body_digest
from fairway.gateway.endpoints.verifying import RELEASE_HEADER, from_another
from fairway.gateway.framing import UNTIL_CLOSE, AnswerHead, RefusalError, parse_answer
from fairway.gateway.judging import Verdict, judge_answer, reported
from fairway.gateway.returning import passes_events
from fairway.gateway.serving import ArmServing
from fairway.gateway.sse import OutcomeFilter
from fairway.gateway.tracing import retold, trace_lines
from fairway.gateway.trailers import note_trailers
from fairway.gateway.upstream import Upstream
from fairway.traffic.table import Role, RouteTable

if TYPE_CHECKING:
    from fairway.gateway.mirroring import Pair

MAX_ANSWER_BYTES = 8 * 1024 * 1024
"""A shadow that answers with more is not listened to any longer."""


class ShadowCopy:
    """The shadow's half of a pair: has its own connection and its own time limits.

    Stands where an exchange stands for an :class:`fairway.gateway.upstream.Upstream`.
    """

    __slots__ = (
        "_answer", "_body", "_connecting", "_filter", "_held", "_kept", "_length", "_retried", "_touched", "arm",
        "begun", "data", "done", "going", "head_only", "pair", "started", "table", "upstream",
    )  # fmt: skip

    def __init__(self, pair: Pair, arm: ArmServing, table: RouteTable, data: bytes) -> None:
        """Take the bytes to send; nothing is sent before :meth:`start`."""
        self.pair = pair
        self.arm = arm
        self.table = table
        stable = table.arm(Role.STABLE)
        told = b"" if stable is None else trace_lines(table, stable)
        self.data = retold(data, told, arm.trace_lines)
        self.head_only = data.startswith(b"HEAD ")
        self.done = False
        self.started = self._touched = 0.0
        self.upstream: Upstream | None = None
        self.going = None
        self.begun = False
        self._connecting: asyncio.Task[None] | None = None
        self._retried = False
        self._forget_answer()

    def _forget_answer(self) -> None:
        self._answer: AnswerHead | None = None
        self._body = AnswerBody(0)
        self._filter: OutcomeFilter | None = None
        self._held = b""
        self._kept = bytearray()
        self._length = 0

    # --- sending -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Send the copy."""
        if self.done:
            return
        self.started = self._touched = perf_counter()
        pooled = next((one for pool in self.arm.order() if (one := pool.get(self.started))), None)
        if pooled is None:
            self._connecting = asyncio.ensure_future(self._open())
        else:
            self._attach(pooled)

    def _attach(self, upstream: Upstream) -> None:
        upstream.exchange = self
        self.upstream = upstream
        upstream.transport.write(self.data)

    async def _open(self) -> None:
        upstream = None
        for pool in self.arm.order():
            try:
                async with asyncio.timeout(self.table.timeouts.connect):
                    upstream = await pool.connect()
                    break
            except (OSError, TimeoutError):
                continue
        self._connecting = None
        if self.done:
            if upstream is not None:
                upstream.release(perf_counter())
        elif upstream is None:
            self._end("failed", "unreachable")
        else:
            self._attach(upstream)

    # --- what the connection tells -----------------------------------------------------------------------------

    @property
    def client(self) -> ShadowCopy:
        """Nobody waits for the answer: there is nobody whose reading could be held."""
        return self

    def hold_reading(self) -> None:
        """The shadow reads slowly; what it was sent is bounded."""

    def go_on_reading(self) -> None:
        """The shadow has read."""

    def answer_data(self, data: bytes) -> None:
        """Bytes of the shadow's answer."""
        self._touched = perf_counter()
        try:
            self._read(data)
        except RefusalError as refused:
            self._end("failed", refused.code)

    def _read(self, data: bytes) -> None:
        if self._answer is None:
            data = self._held + data
            self._held = b""
            answer = self._parse(data)
            while answer is not None and answer.status < 200:
                data = data[answer.end :]
                answer = self._parse(data) if data else None
            if answer is None:
                self._held = data
                return
            if from_another(answer.headers.get(RELEASE_HEADER), self.arm.digest):
                self._reached_another()
                return
            self._answer = answer
            self._body = AnswerBody(answer.length)
            if answer.length and not answer.plain and passes_events(answer):
                self._filter = OutcomeFilter()
            data = data[answer.end :]
        payload = self._body.feed(data)
        if self._filter is not None:
            payload = self._filter.feed(payload)
        self._length += len(payload)
        if len(self._kept) < BODY_BYTES:
            self._kept += payload[: BODY_BYTES - len(self._kept)]
        if self._body.complete:
            self._answered()
        elif self._length > MAX_ANSWER_BYTES:
            self._end("unknown", "too_long")

    def _reached_another(self) -> None:
        """Whoever answered is another release, perhaps one with real tools: nothing more is copied there."""
        if self.upstream is not None:
            self.arm.endpoints.wrong(self.upstream.pool)
        self._end("unknown", "wrong_release")

    def _parse(self, data: bytes) -> AnswerHead | None:
        return parse_answer(data, limit=self.table.limits.head_bytes, head_request=self.head_only)

    def upstream_lost(self, *, clean: bool) -> None:
        """The shadow closed the connection."""
        upstream, self.upstream = self.upstream, None
        answer = self._answer
        if answer is not None:
            if answer.length == UNTIL_CLOSE and clean:
                self._answered()
            else:
                self._end("failed", "answer_cut")
        elif upstream is not None and upstream.reused and not self._held and not self._retried:
            self._retried = True  # a kept connection went stale; whatever a shadow does twice harms nobody
            self._connecting = asyncio.ensure_future(self._open())
        else:
            self._end("failed", "arm_closed")

    def overdue(self, now: float) -> None:
        """End it when one of its time limits has passed; ``now`` in ``perf_counter()`` seconds."""
        timeouts = self.table.timeouts
        if not self.started or self._connecting is not None:
            return
        quiet = now - self._touched
        if now - self.started > timeouts.total:
            self._end("failed", "timeout_total")
        elif quiet > (timeouts.first_byte if self._answer is None else timeouts.idle):
            self._end("failed", "timeout_first_byte" if self._answer is None else "timeout_idle")

    # --- the end -----------------------------------------------------------------------------------------------

    def _answered(self) -> None:
        answer = self._answer
        assert answer is not None
        if self._filter is not None:
            rest = self._filter.end()
            self._length += len(rest)
            self._kept += rest[: max(0, BODY_BYTES - len(self._kept))]
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            if answer.reusable and not self._body.overlong:
                upstream.release(self._touched)
            else:
                upstream.close()
        note_trailers(answer, self._body)
        outcome, said = reported(answer, self._filter)
        verdict, code = judge_answer(answer.status, outcome, expected=said or self.arm.attested)
        side = Side(
            verdict=verdict,
            code=code,
            status=answer.status,
            outcome=outcome,
            seconds=perf_counter() - self.started,
            length=self._length,
            digest=body_digest(self._kept),
        )
        self._finish(side)

    def _end(self, verdict: Verdict, code: str) -> None:
        """It has no whole answer."""
        status = 0 if self._answer is None else self._answer.status
        seconds = perf_counter() - self.started
        self.close()
        self._finish(Side(verdict, code, status, None, seconds, self._length, body_digest(self._kept)))

    def _finish(self, side: Side) -> None:
        self.done = True
        self.pair.shadow_ended(self, side)

    def close(self) -> None:
        """Give it up."""
        self.done = True
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.close()
        if self._connecting is not None and self._connecting is not asyncio.current_task():
            self._connecting.cancel()
        self._connecting = None
