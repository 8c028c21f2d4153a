"""One request from its head to the last byte of its answer: assigned once, served by one arm, counted once."""

from __future__ import annotations

import asyncio
import json
from time import perf_counter, time
from typing import TYPE_CHECKING, Literal

from fairway.gateway.framing import (
    CHUNKED,
    LAST_CHUNK,
    UNTIL_CLOSE,
    AnswerHead,
    Dechunker,
    RefusalError,
    RequestHead,
    as_chunk,
    forwarded_head,
    parse_answer,
    parse_request,
    returned_head,
)
from fairway.gateway.placing import place
from fairway.gateway.quick_answer import read_outcome
from fairway.gateway.serving import ArmServing, Known, Placement, Serving
from fairway.gateway.sse import OutcomeFilter
from fairway.gateway.telemetry import Cell
from fairway.gateway.upstream import Upstream
from fairway.traffic.outcome import COMMENT_PREFIX, Outcome, OutcomeStatus
from fairway.traffic.rules import By
from fairway.traffic.table import Role

if TYPE_CHECKING:
    from fairway.gateway.client import ClientConnection
    from fairway.gateway.quick_exchange import QuickExchange

REPLAY_BYTES = 65_536
"""A request up to this size is kept until its answer begins, to be sent again where that is safe."""

_IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

Reason = Literal["transport", "agent", "client"]
Verdict = Literal["ok", "failed", "unknown"]

REASONS = {
    400: "Bad Request", 408: "Request Timeout", 413: "Content Too Large", 431: "Request Header Fields Too Large",
    500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
    504: "Gateway Timeout", 505: "HTTP Version Not Supported",
}  # fmt: skip


def problem(status: int, code: str, message: str, extra: bytes = b"", *, head_only: bool = False) -> bytes:
    """An answer of the gateway itself, as JSON."""
    body = json.dumps({"error": {"code": code, "message": message}}).encode()
    head = (
        f"HTTP/1.1 {status} {REASONS.get(status, 'Error')}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n"
    ).encode()
    return b"%b%b\r\n%b" % (head, extra, b"" if head_only else body)


class Exchange:
    """One request and its answer.

    The class attributes are what most requests never change; not writing them for each is a tenth of its cost.
    """

    done = False
    upstream: Upstream | None = None
    _connecting: asyncio.Task[None] | None = None
    _answer: AnswerHead | None = None
    _answer_dechunk: Dechunker | None = None
    _answer_left = 0
    _framing: Literal["kept", "chunked", "close"] = "kept"
    _filter: OutcomeFilter | None = None
    _held = b""
    _early = b""
    _first_byte = -1.0
    _replay: bytes | None = b""
    _retried = False
    _moved = ""
    """Why another arm serves than the assigned one, which has failed by that; empty when it serves itself."""
    _waiting = False
    _body_dechunk: Dechunker | None = None
    _body_left = 0
    _body_sent = True
    cell: Cell | None = None
    _served: ArmServing | None = None
    _placement: Placement
    _head: RequestHead | None = None
    known: Known | None = None
    """Set when its answer may take the short way."""
    cookie = b""
    begun = False
    """Whether some of the answer has come."""
    sent = b""
    """The request as it came, when it took the short way."""
    unit: bytes | None = None
    """Key of its unit when it takes part in unit tests."""
    number: int
    """Of the request, in this worker."""

    def __init__(self, client: ClientConnection, head: RequestHead, serving: Serving) -> None:
        self.client = client
        self._head = head
        self._serving = serving
        self.started = self.touched = perf_counter()
        self.number = next(client.worker.count)

    @classmethod
    def taken_over(cls, quick: QuickExchange) -> Exchange:
        """The exchange of a request that was sent on the short way."""
        exchange = cls.__new__(cls)
        exchange.client = quick.client
        exchange.upstream = quick.upstream
        exchange._serving = quick.serving
        exchange.known = quick.known
        exchange._placement = quick.known.placement
        exchange._served = quick.known.served
        exchange.cell = quick.cell
        exchange.started = exchange.touched = quick.started
        exchange.sent = quick.sent
        exchange.unit = quick.unit
        exchange.cookie = quick.cookie
        exchange.number = quick.number
        return exchange

    @property
    def request_id(self) -> bytes:
        """Unique over gateways, boots and workers."""
        return b"%b%x" % (self.client.worker.prefix, self.number)

    @property
    def head(self) -> RequestHead:
        """The request's head; read again when it took the short way."""
        head = self._head
        if head is None:
            head = self._head = parse_request(self.sent, len(self.sent))
            assert head is not None
        return head

    # --- the request -------------------------------------------------------------------------------------------

    def begin(self, rest: bytes) -> bytes:
        """Place the request and start sending it; the bytes of ``rest`` that belong to what comes after it."""
        head = self.head
        length = head.length
        if head.plain and 0 <= length <= len(rest) and length <= self._serving.table.limits.body_bytes:
            return self._begin_whole(head, rest, length)
        if length:
            if length > self._serving.table.limits.body_bytes:
                self._body_sent = False
                text = f"the request body is larger than {self._serving.table.limits.body_bytes} bytes"
                self.client.refuse(RefusalError(413, "body_too_large", text))
                return b""
            self._body_sent = False
            if length == CHUNKED:
                self._body_dechunk = Dechunker(strict=True, limit=self._serving.table.limits.body_bytes)
            else:
                self._body_left = length
        self._place()
        if self._served is None:
            return rest if self._body_sent else b""
        extra = b"%bx-fairway-request: %b\r\n" % (self.client.forwarded_line, self.request_id)
        first = forwarded_head(head, extra)
        if length:
            if not rest and not head.plain and head.headers.get(b"expect", b"").strip().lower() == b"100-continue":
                self.client.write(_CONTINUE)
            try:
                payload, rest = self._take_body(rest)
            except RefusalError as refused:
                self._reject(refused)
                return b""
            first += payload
        self._connect(first)
        return rest

    def _begin_whole(self, head: RequestHead, rest: bytes, length: int) -> bytes:
        """The usual case: the whole request is here, and nothing in its head has to be taken out."""
        known = self._place()
        if self._served is None:
            return rest[length:]
        body, rest = (rest, b"") if len(rest) == length else (rest[:length], rest[length:])
        line = self.client.forwarded_line
        first = b"%b%bx-fairway-request: %b\r\n\r\n%b" % (head.raw[:-2], line, self.request_id, body)
        served = self._served
        assert served is not None
        upstream = served.pools[0].get(self.started) if len(served.pools) == 1 else None
        cell = self.cell
        if upstream is None or cell is None:
            self._connect(first)
            return rest
        upstream.exchange = self
        self.upstream = upstream
        if self._placement.decision.served_as_assigned:
            cell.served += 1
            self.known = known
        self._replay = first if len(first) <= REPLAY_BYTES else None
        upstream.transport.write(first)
        return rest

    def _place(self) -> Known | None:
        """Decide which arm serves, and count the request; when none does, that is answered."""
        serving = self._serving
        worker = self.client.worker
        now = time()
        placement, known = place(self.head, serving, worker, now)
        self._placement = placement
        self.cookie = placement.cookie
        decision = placement.decision
        if decision.release is not None:
            cell = serving.cells.get(decision.release)
            if cell is None or not cell.t0 <= now < cell.end:
                cell = serving.cells[decision.release] = worker.telemetry.cell(
                    start=now,
                    block_seconds=serving.table.block_seconds,
                    release=decision.release,
                    role=decision.role,
                    fence=serving.table.fence,
                    regime=serving.regime,
                )
            self.cell = cell
            cell.start(decision.by)
            if placement.key is not None:
                self.unit = placement.key.encode("utf-8", "surrogateescape")
                cell.mark("active", self.unit)
        if decision.moved:
            self._moved = "not_ready"
        if decision.served is None:
            self.fail(503, "no_release", "no release is serving", extra=b"retry-after: 1\r\n")
        else:
            self._served = serving.arms[decision.served.release]
        return known

    def body_data(self, data: bytes) -> bytes:
        """More bytes from the client; those that belong to what comes after the request are returned."""
        if self._body_sent:
            return data
        self.touched = perf_counter()
        try:
            payload, rest = self._take_body(data)
        except RefusalError as refused:
            self._reject(refused)
            return b""
        if payload:
            self._send(payload)
        return rest

    def _take_body(self, data: bytes) -> tuple[bytes, bytes]:
        """The part of ``data`` that is this request's body, framed for the arm, and the rest."""
        dechunk = self._body_dechunk
        if dechunk is None:
            payload = data[: self._body_left]
            self._body_left -= len(payload)
            self._body_sent = not self._body_left
            return payload, data[len(payload) :]
        payload, rest = dechunk.feed(data)
        framed = as_chunk(payload)
        if dechunk.done:
            self._body_sent = True
            framed += LAST_CHUNK
        return framed, rest

    def _reject(self, refused: RefusalError) -> None:
        """The client's body is wrong: not the arm's failure."""
        self._drop_upstream()
        self._record("client", f"refused_{refused.code}")
        self.client.exchange_refused(refused, answered=self._answer is not None)

    # --- the arm -----------------------------------------------------------------------------------------------

    def _connect(self, first: bytes) -> None:
        served = self._served
        assert served is not None
        pools = served.pools
        now = self.started
        if len(pools) == 1:
            upstream = pools[0].get(now)
        else:
            upstream = next((open_one for pool in served.order() if (open_one := pool.get(now))), None)
        if upstream is None:
            self._early = first
            self._connecting = asyncio.ensure_future(self._open())
            if not self._body_sent:
                self._waiting = True
                self.client.hold_reading()
        else:
            self._attach(upstream, first)

    def _attach(self, upstream: Upstream, data: bytes) -> None:
        upstream.exchange = self
        self.upstream = upstream
        assert self.cell is not None
        if self._placement.decision.served_as_assigned and not self._retried and not self._moved:
            self.cell.served += 1
            self.cell.dirty = True
        self._send(data)

    def _send(self, data: bytes) -> None:
        replay = self._replay
        if replay is not None:
            self._replay = replay + data if len(replay) + len(data) <= REPLAY_BYTES else None
        if self.upstream is None:
            self._early += data
        else:
            self.upstream.transport.write(data)

    async def _open(self) -> None:
        """Open a connection to an endpoint of the arm, or of stable when the arm has none that answers."""
        serving = self._serving
        served = self._served
        assert served is not None
        upstream = await self._first_that_answers(served)
        if upstream is None and served.arm.role is not Role.STABLE and self._placement.decision.why is not By.RULE:
            arm = serving.table.arm(Role.STABLE)
            if arm is not None and arm.endpoints and arm.release not in serving.table.masks:
                stable = serving.arms[arm.release]
                self._moved = "unreachable"  # the user is served; the arm that was not there has failed all the same
                self._served = stable
                upstream = await self._first_that_answers(stable)
        self._connecting = None
        if self.done:
            if upstream is not None:
                upstream.release(perf_counter())
            return
        if upstream is None:
            self.fail(502, "unreachable", "the release cannot be reached")
            return
        early, self._early = self._early, b""
        self._replay = b""
        self.touched = perf_counter()
        self._attach(upstream, early)
        if self._waiting:
            self._waiting = False
            self.client.go_on_reading()

    async def _first_that_answers(self, served: ArmServing) -> Upstream | None:
        for pool in served.order():
            try:
                async with asyncio.timeout(self._serving.table.timeouts.connect):
                    return await pool.connect()
            except (OSError, TimeoutError):
                continue
        return None

    def upstream_lost(self, *, clean: bool) -> None:
        """The arm closed the connection."""
        upstream, self.upstream = self.upstream, None
        answer = self._answer
        if answer is not None and answer.length == UNTIL_CLOSE:
            if clean:
                self._finish_answer()
            else:
                self.fail(502, "answer_cut", "the answer was cut off")
        elif answer is None and not self._held and upstream is not None and upstream.reused and self._may_repeat():
            self._retried = True
            self._early, self._replay = self._replay or b"", None
            self._connecting = asyncio.ensure_future(self._open())
        elif answer is None:
            self.fail(502, "arm_closed", "the release closed the connection without an answer")
        else:
            self.fail(502, "answer_cut", "the answer was cut off")

    def _may_repeat(self) -> bool:
        """Only a stale kept connection, once, and only what may be sent twice and is still here whole."""
        if self.sent and not self._retried:
            extra = b"%bx-fairway-request: %b\r\n" % (self.client.forwarded_line, self.request_id)
            self._replay = forwarded_head(self.head, extra) + self.sent[len(self.head.raw) :]
        return not self._retried and self._body_sent and bool(self._replay) and self.head.method in _IDEMPOTENT

    # --- the answer --------------------------------------------------------------------------------------------

    def answer_data(self, data: bytes) -> None:
        """Bytes of the answer."""
        self.begun = True
        self.touched = perf_counter()
        if self._answer is not None:
            self._answer_body(b"", data)
            return
        if self._held:
            data = self._held + data
            self._held = b""
        try:
            answer = self._parse(data)
            while answer is not None and answer.status < 200:
                if answer.status == 101:
                    raise RefusalError(502, "malformed_answer", "the arm switched protocols unasked")
                data = data[answer.end :]
                answer = self._parse(data) if data else None
        except RefusalError as refused:
            self.fail(502, refused.code, refused.message)
            return
        if answer is None:
            self._held = data
            return
        self._answer = answer
        if answer.plain and len(data) - answer.end == answer.length and self._body_sent and not self.head.http10:
            self._answer_whole(answer, data)
        else:
            self._answer_body(self._returned(answer), data[answer.end :])

    def _parse(self, data: bytes) -> AnswerHead | None:
        limit = self._serving.table.limits.head_bytes
        return parse_answer(data, limit=limit, head_request=self.head.method == b"HEAD")

    def _answer_whole(self, answer: AnswerHead, data: bytes) -> None:
        """The usual case: the whole answer in one piece, with nothing in its head to take out."""
        client = self.client
        if client.worker.draining:
            client.close_after = True
        served, upstream, cell = self._served, self.upstream, self.cell
        assert served is not None
        assert upstream is not None
        assert cell is not None
        head = answer.raw[:-2]
        close = b"connection: close\r\n" if client.close_after else b""
        extra = (head, served.version_line, self.cookie, close, self.request_id, data[answer.end :])
        client.transport.write(b"%b%b%b%bx-fairway-request: %b\r\n\r\n%b" % extra)
        self.upstream = None
        if answer.reusable:
            upstream.release(self.touched)
        else:
            upstream.close()
        if answer.status < 500 and not served.attested and not self._moved and not self._serving.slow_above_ms:
            self.done = True
            cell.dirty = True
            cell.open -= 1
            cell.finished += 1
            time_us = int((self.touched - self.started) * 1e6)
            cell.latency_us.append(time_us)
            cell.first_byte_us.append(time_us)
        else:
            self._first_byte = self.touched
            self._record("agent", "")
        client.exchange_done()

    def _returned(self, answer: AnswerHead) -> bytes:
        """The head for the client, and how the body will be framed to it."""
        client = self.client
        length = answer.length
        if length == CHUNKED:
            self._answer_dechunk = Dechunker(strict=False)
        elif length > 0:
            self._answer_left = length
        if length and not answer.plain:
            headers = answer.headers
            events = headers.get(b"content-type", b"")[:17].lower() == b"text/event-stream"
            if events and headers.get(b"content-encoding", b"identity").lower() == b"identity":
                self._filter = OutcomeFilter()
        if length == CHUNKED or self._filter is not None:
            self._framing = "close" if self.head.http10 or length == UNTIL_CLOSE else "chunked"
        elif length == UNTIL_CLOSE:
            self._framing = "close"
        if self._framing == "close":
            client.close_after = True
        if client.worker.draining or not self._body_sent:
            client.close_after = True  # what still comes of the request is not read
        assert self._served is not None
        extra = b"%b%bx-fairway-request: %b\r\n" % (self._served.version_line, self.cookie, self.request_id)
        if client.close_after:
            extra += b"connection: close\r\n"
        elif self.head.http10:
            extra += b"connection: keep-alive\r\n"
        return returned_head(answer, extra, length=self._framing)

    def _answer_body(self, head: bytes, data: bytes) -> None:
        """Pass on what came: ``head`` is the answer's head when it is being sent now."""
        answer = self._answer
        assert answer is not None
        complete = False
        extra = False
        if answer.length >= 0:
            left = self._answer_left
            extra = len(data) > left
            if extra:
                data = data[:left]
            self._answer_left = left - len(data)
            complete = not self._answer_left
        elif self._answer_dechunk is not None:
            try:
                data, rest = self._answer_dechunk.feed(data)
            except RefusalError as refused:
                if head:
                    self.client.write(head)
                self.fail(502, "malformed_answer", refused.message)
                return
            complete = self._answer_dechunk.done
            extra = bool(rest)
        if extra:
            answer.reusable = False
        if data and self._first_byte < 0:
            self._first_byte = perf_counter()
        if self._filter is not None or self._framing != "kept":
            data = self._reframed(data, complete)
        if head or data:
            self.client.write(head + data if data else head)
        if complete:
            self._finish_answer()

    def _reframed(self, data: bytes, complete: bool) -> bytes:
        """Payload as the client gets it: outcome comments taken out, in chunks of ours."""
        if self._filter is not None:
            data = self._filter.feed(data)
            if complete:
                data += self._filter.end()
        if self._framing == "chunked":
            data = as_chunk(data)
            if complete:
                data += LAST_CHUNK
        return data

    def _finish_answer(self) -> None:
        """The whole answer came."""
        answer = self._answer
        assert answer is not None
        if self._filter is not None and answer.length == UNTIL_CLOSE:
            rest = self._filter.end()
            if rest:
                self.client.write(rest)
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            if answer.reusable and self._body_sent:
                upstream.release(self.touched)
            else:
                upstream.close()
        self._record("agent", "")
        self.client.exchange_done()

    # --- the end -----------------------------------------------------------------------------------------------

    def overdue(self, now: float) -> None:
        """Called by the sweep: end the request when one of its time limits has passed.

        Args:
            now: ``perf_counter()`` seconds.
        """
        timeouts = self._serving.table.timeouts
        quiet = now - self.touched
        if now - self.started > timeouts.total:
            self._time_out("total", timeouts.total)
        elif self._connecting is None and self._answer is None and self._body_sent:
            if quiet > timeouts.first_byte:
                self._time_out("first_byte", timeouts.first_byte)
        elif quiet > timeouts.idle:
            if self._answer is None and not self._body_sent:
                self._reject(RefusalError(408, "timeout_body", "the request body did not arrive in time"))
            else:
                self._time_out("idle", timeouts.idle)

    def _time_out(self, which: str, seconds: float) -> None:
        if self.client.slow_reader:
            self._drop_upstream()
            self._record("client", f"slow_reader_{which}")
            self.client.abort()
            return
        self.fail(504, f"timeout_{which}", f"the release did not answer within {seconds:g} s")

    def fail(self, status: int, code: str, message: str, *, extra: bytes = b"") -> None:
        """The arm's failure: an error answer when none has begun, else the connection is cut so that it shows."""
        if self.done:
            return
        self._drop_upstream()
        self._record("transport", code, status)
        client = self.client
        if self._answer is not None:
            client.cut(hard=self._framing == "close")
            return
        if not self._body_sent:
            client.close_after = True
        if self._served is not None:
            extra = self._served.version_line + extra
        extra += b"x-fairway-request: %b\r\n" % self.request_id
        if client.close_after:
            extra += b"connection: close\r\n"
        client.write(problem(status, code, message, extra, head_only=self.head.method == b"HEAD"))
        client.exchange_done()

    def client_gone(self) -> None:
        """The client hung up: the arm's work is cancelled, and what became of the request is unknown."""
        if self.done:
            return
        self._drop_upstream()
        self._record("client", "client_aborted")

    def discard(self) -> None:
        """Forget a request that was refused before it was assigned."""
        self.done = True

    @property
    def request_complete(self) -> bool:
        """Whether all of the request has been read."""
        return self._body_sent

    def upstream_reading(self, *, on: bool) -> None:
        """Read the answer, or stop reading it."""
        if self.upstream is not None:
            self.upstream.reading(on=on)

    def _drop_upstream(self) -> None:
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.close()
        if self._connecting is not None and self._connecting is not asyncio.current_task():
            self._connecting.cancel()
            self._connecting = None

    def _record(self, reason: Reason, code: str, status: int = 0) -> None:
        """Count the request, once."""
        self.done = True
        cell = self.cell
        if cell is None:
            return
        now = perf_counter()
        cell.dirty = True
        cell.open -= 1
        cell.finished += 1
        verdict, code = self._judge(reason, code, cell)
        if verdict != "ok":
            self._describe(cell, verdict, code, status)
        if reason == "client":
            cell.sums["client_aborted"] = cell.sums.get("client_aborted", 0) + 1
            return
        if self._moved:
            return  # another arm's time
        latency = now - self.started
        cell.latency_us.append(int(latency * 1e6))
        if self._first_byte >= 0:
            cell.first_byte_us.append(int((self._first_byte - self.started) * 1e6))
        slow, unit = self._serving.slow_above_ms, self.unit
        if slow and unit is not None and latency * 1000 > slow.get(self._placement.decision.role, float("inf")):
            cell.mark("slow", unit)

    def _describe(self, cell: Cell, verdict: Verdict, code: str, status: int) -> None:
        """Note a request that failed, or whose outcome nobody knows."""
        if self.unit is not None:
            cell.mark(verdict, self.unit)
        if verdict == "unknown":
            cell.unknown += 1
            return
        cell.failed += 1
        status = status or (self._answer.status if self._answer is not None else 0)
        cell.describe({"request": self.request_id.decode(), "status": str(status), "reason": code})

    def _judge(self, reason: Reason, code: str, cell: Cell) -> tuple[Verdict, str]:
        """What became of the request: transport first, then what the agent said, then whether it ever says."""
        answer = self._answer
        outcome, said = None, False
        if answer is not None and not answer.plain:
            outcome, said = self._outcome(answer)
            if outcome is not None:
                cell.add(outcome)
        if self._moved:
            return "failed", self._moved
        if reason == "transport":
            return "failed", code
        if reason == "client":
            return "unknown", code
        assert answer is not None
        if answer.status >= 500:
            return "failed", f"status_{answer.status}"
        if outcome is not None:
            ok = outcome.status is OutcomeStatus.OK
            return ("ok" if ok else "failed"), f"outcome_{outcome.status.value}"
        if said or (self._served is not None and self._served.attested):
            return "unknown", "no_outcome"
        return "ok", ""

    def _outcome(self, answer: AnswerHead) -> tuple[Outcome | None, bool]:
        """What the agent reported, and whether it reported at all (a malformed report is one)."""
        raw = answer.headers.get(b"fairway-outcome")
        if raw is None and self._filter is not None and self._filter.comment is not None:
            raw = self._filter.comment[len(COMMENT_PREFIX) :]
        if raw is None:
            return None, False
        assert self._served is not None
        self.client.worker.attest(self._served)
        return read_outcome(raw), True
