"""A request on its way: placed once, framed anew, sent to its arm, or to stable when that one is not there."""

from __future__ import annotations

import asyncio
from time import perf_counter, time
from typing import TYPE_CHECKING

from fairway.gateway.bodies import RequestBody
from fairway.gateway.body_key import BodyKey, waits_for_key
from fairway.gateway.deadline import Deadline, deadline_of, told_anew
from fairway.gateway.facts import HeadFacts
from fairway.gateway.forwarding import forwarded_lines
from fairway.gateway.framing import RefusalError, RequestHead, forwarded_head, parse_request
from fairway.gateway.placing import place
from fairway.gateway.reaching import Reaching
from fairway.gateway.refusing import refused
from fairway.gateway.sampling import SamplePlan
from fairway.gateway.serving import Known, Serving
from fairway.gateway.telemetry import Cell
from fairway.gateway.thresholds import TOKENS_BY_UNIT
from fairway.gateway.trace_context import trace_id
from fairway.gateway.tracing import traced
from fairway.gateway.upstream import Upstream
from fairway.traffic.bucket import unit_hash
from fairway.traffic.flags import flag_lines
from fairway.traffic.keys import unit_key
from fairway.traffic.rerun import IDEMPOTENT
from fairway.traffic.table import Role

if TYPE_CHECKING:
    from fairway.gateway.client import ClientConnection
    from fairway.gateway.mirroring import Pair
    from fairway.gateway.sampling import Sample

REPLAY_BYTES = 65_536
"""A request up to this size is kept until its answer begins, to be sent again where that is safe."""

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

Going = tuple[
    "ClientConnection", Known, Cell, float, bytes, bytes, "bytes | None", bytes, Serving, bytes, int,
]  # fmt: skip
"""A request on the short way: its connection; where its unit goes; where it is counted; when it started, in seconds of
``perf_counter()``; the request as it came (nothing, when that is not kept); the lines its answer gains; the key of its
unit, when that takes part in unit tests; its number in this worker; the table it was placed by; what the access log
says of its head, and the bytes of its body (nothing and 0: that is to be found out)."""


class Sending(Reaching):
    """One request being sent.

    The class attributes are what most requests never change; not writing them for each is a tenth of its cost.
    """

    begun = False
    """Whether some of the answer has come."""
    upstream: Upstream | None = None
    _retried = False
    _body: RequestBody | None = None
    """What has been read of the request's body; ``None``: all of it, or it has none."""
    _waits: BodyKey | None = None
    """What waits for the key in its body, while it is not placed."""
    _beginning = b""
    """Of its body, when its key may stand there."""
    cell: Cell | None = None
    """Where it is counted; ``None``: nowhere, or not yet."""
    _uncounted: Cell | None = None
    """Where it is counted once an arm is reached, while none has been since this gateway began."""
    _head: RequestHead | None = None
    may_hold = False
    """Whether the head of its answer may be kept until the body comes."""
    known: Known | None = None
    """Set when its answer may take the short way."""
    _flags = b""
    """Header lines that tell the arm which feature flags are on."""
    sent = b""
    """The request as it came, when it took the short way."""
    _pair: Pair | Sample | None = None
    """Its other half when it is mirrored; who overhears it when it is sampled."""
    deadline: Deadline | None = None
    """The client's own, when that is sooner than the gateway's."""
    number: int
    """Of the request, in this worker."""

    def __init__(self, client: ClientConnection, head: RequestHead, serving: Serving) -> None:
        self.client = client
        self._head = head
        self._serving = serving
        self.started = self.touched = perf_counter()
        self.number = int(next(client.worker.numbers), 16)
        if b"-timeout" in head.lower:
            self.deadline = deadline_of(head.lower, serving.table.timeouts.total, self.deadline_passed)

    @property
    def request_id(self) -> bytes:
        """Unique over gateways, boots and workers."""
        return b"%b%x" % (self.client.worker.prefix, self.number)

    @property
    def going(self) -> Going | None:
        """What the short way back needs to know; ``None`` when its answer may not take that."""
        known, cell = self.known, self.cell
        if known is None or cell is None:
            return None
        return (
            self.client, known, cell, self.started, self.sent, self.cookie, self.unit, b"%x" % self.number,
            self._serving, b"", 0,
        )  # fmt: skip

    @property
    def head(self) -> RequestHead:
        """The request's head; read again when it took the short way."""
        head = self._head
        if head is None:
            head = self._head = parse_request(self.sent, len(self.sent))
            assert head is not None
        return head

    @property
    def _added(self) -> bytes:
        """Header lines the request gets on its way to the arm."""
        client = self.client
        said = client.forwarded_line if self.head.plain else forwarded_lines(self.head, client.peer)
        if self.deadline is not None:
            said += self.deadline.line
        return b"%b%bx-fairway-request: %b\r\n" % (said, self._flags, self.request_id)

    def _head_for_arm(self) -> bytes:
        return forwarded_head(self.head, self._added, trusted=self.client.peer.trusted)

    # --- the request -------------------------------------------------------------------------------------------

    def begin(self, rest: bytes) -> bytes:
        """Place the request and start sending it; the bytes of ``rest`` that belong to what comes after it."""
        if self._serving.reads_bodies and (waits := waits_for_key(self.head, self._serving.table)) is not None:
            if not rest and self._expects_continue():
                self.client.write(_CONTINUE)
            self._body = RequestBody(self.head.length, limit=self._serving.table.limits.body_bytes)
            return self._await_key(waits, rest)
        return self._begin(rest)

    def _await_key(self, waits: BodyKey, data: bytes) -> bytes:
        """More of a request that is placed once its key, or that it has none, is known."""
        settled = waits.feed(data)
        self._waits = None if settled else waits
        if not settled:
            return b""
        self._beginning, self._body = waits.beginning, None
        self._serving = self.client.worker.serving  # a release may have been taken away while the body came
        return self._begin(waits.raw)

    def _expects_continue(self) -> bool:
        head = self.head
        return head.expects_continue

    def _begin(self, rest: bytes) -> bytes:
        head = self.head
        length = head.length
        if head.plain and 0 <= length <= len(rest) and length <= self._serving.table.limits.body_bytes:
            return self._begin_whole(head, rest, length)
        if length:
            limit = self._serving.table.limits.body_bytes
            self._body = RequestBody(length, limit=limit)
            if length > limit:
                text = f"the request body is larger than {limit} bytes"
                self.client.refuse(RefusalError(413, "body_too_large", text))
                return b""
        self._place()
        if self._served is None:
            return rest if self.request_complete else b""
        first = traced(self._head_for_arm(), self._served.trace_lines)
        if self._body is not None:
            if not rest and self._expects_continue():
                self.client.write(_CONTINUE)
            try:
                payload, rest = self._body.take(rest)
            except RefusalError as refused:
                self._reject(refused)
                return b""
            first += payload
        self._connect(first, self._served.endpoints.take(self.started))
        return rest

    def _begin_whole(self, head: RequestHead, rest: bytes, length: int) -> bytes:
        """The usual case: the whole request is here, and nothing in its head has to be taken out."""
        known = self._place()
        if self._served is None:
            return rest[length:]
        body, rest = (rest, b"") if len(rest) == length else (rest[:length], rest[length:])
        served = self._served
        first = traced(b"%b%b\r\n%b" % (head.raw[:-2], self._added, body), served.trace_lines)
        upstream = served.endpoints.take(self.started)
        cell = self.cell
        if upstream is None or cell is None:
            self._connect(first, upstream)
            return rest
        upstream.exchange = self
        self.upstream = upstream
        if self._placement.decision.served_as_assigned:
            cell.served += 1
            usual = self._pair is None and self.deadline is None and head.method != b"HEAD"
            if usual and known is not None:
                self.known = known
        self._replay = first if len(first) <= REPLAY_BYTES else None
        upstream.transport.write(first)
        if self._pair is not None:
            self._pair.sent(self._replay)
        return rest

    def _place(self) -> Known | None:
        """Decide which arm serves, and count the request; when none does, that is answered."""
        serving = self._serving
        worker = self.client.worker
        now = time()
        placement, known = place(self.head, serving, worker, now, self._beginning)
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
                    split=int(serving.table.split),
                    tells_tokens=TOKENS_BY_UNIT in serving.table.theta,
                    reads_usage=serving.table.reading.usage,
                )
            if worker.arms_known:
                self._count(cell, now)
            else:
                self._uncounted = cell
        if serving.mirror is not None and known is not None and not known.direct and self._pair is None:
            worker.mirror.let_pass(serving, known, self.unit)
        if decision.moved:
            self._moved = "not_ready"
        if decision.served is None:
            nobody = refused(decision.refused)
            self.fail(nobody.status, nobody.code, nobody.message, extra=nobody.lines)
        else:
            self._served = serving.arms[decision.served.release]
        if serving.table.flags:
            facts = HeadFacts(self.head, self._beginning)
            key = placement.key if placement.key is not None else unit_key(serving.table.keys, facts)
            self._flags = flag_lines(serving.table.flags, facts, key)
        return known

    def _count(self, cell: Cell, now: float) -> None:
        """It is assigned: whatever becomes of it is for or against its release."""
        self.cell, self._uncounted = cell, None
        placement, serving = self._placement, self._serving
        decision = placement.decision
        cell.start(decision.told)
        if placement.key is not None:
            self.unit = placement.key.encode("utf-8", "surrogateescape")
            cell.mark("active", self.unit)
            if serving.mirror is not None and decision.served_as_assigned and decision.role is Role.STABLE:
                mirror, fresh = self.client.worker.mirror, decision.fresh
                self._pair = mirror.begin(serving, self.unit, self.request_id, fresh=fresh, now=now)
                if self.head.upgrade and self._pair is not None:
                    mirror.drop(self._pair)  # nobody overhears a WebSocket: a shadow cannot follow from here on
                    self._pair = None
            if serving.sample is not None and self._pair is None and decision.served_as_assigned:
                self._pair = None if self.head.upgrade else self._sampled(serving.sample, cell, now)

    def _sampled(self, plan: SamplePlan, cell: Cell, now: float) -> Sample | None:
        """Who overhears it; ``None`` when its conversation is not sampled."""
        served, key = self._placement.decision.served, self._placement.key
        if self.unit is None or served is None or key is None or not plan.takes(self.unit):
            return None
        sampler = self.client.worker.sampler
        trace = trace_id(self.head.raw) or ""
        return sampler.begin(plan, cell, served, request=self.request_id, unit=unit_hash(key), now=now, trace=trace)

    def body_data(self, data: bytes) -> bytes:
        """More bytes from the client; those that belong to what comes after the request are returned."""
        body = self._body
        if body is None or body.sent:
            return data
        self.touched = perf_counter()
        if self._waits is not None:
            return self._await_key(self._waits, data)
        try:
            payload, rest = body.take(data)
        except RefusalError as refused:
            self._reject(refused)
            return b""
        if payload:
            self._send(payload)
        return rest

    # --- the arm -----------------------------------------------------------------------------------------------

    def _connect(self, first: bytes, upstream: Upstream | None) -> None:
        if upstream is None:
            self._early = first
            self._connecting = asyncio.ensure_future(self._open())
            if not self.request_complete:
                self._waiting = True
                self.client.hold_reading()
        else:
            self._attach(upstream, first)

    def _attach(self, upstream: Upstream, data: bytes) -> None:
        upstream.exchange = self
        self.upstream = upstream
        if self.client.slow_reader:
            upstream.reading(on=False)  # it was told so before there was this connection
        if self._uncounted is not None:
            self._count(self._uncounted, time())
        assert self.cell is not None
        if self._placement.decision.served_as_assigned and not self._retried and not self._moved:
            self.cell.served += 1
            self.cell.dirty = True
        self._send(data if self.deadline is None else told_anew(data, self.deadline.left))

    def _send(self, data: bytes) -> None:
        replay = self._replay
        if replay is not None:
            self._replay = replay + data if len(replay) + len(data) <= REPLAY_BYTES else None
        if self.upstream is None:
            self._early += data
            return
        self.upstream.transport.write(data)
        if self._pair is not None and self.request_complete:
            self._pair.sent(self._replay)

    def _whole_request(self) -> bytes:
        """The request as an arm gets it; empty when it is not all here any more."""
        if self.sent:
            self._replay = self._head_for_arm() + self.sent[len(self.head.raw) :]
        return self._replay or self._early if self.request_complete else b""

    def _may_repeat(self) -> bool:
        """Once, and only what may be sent twice (RFC 9110, 9.2.2) and is still here whole."""
        if self.sent and not self._retried:
            self._whole_request()
        return not self._retried and self.request_complete and bool(self._replay) and self.head.method in IDEMPOTENT

    @property
    def request_complete(self) -> bool:
        """Whether all of the request has been read."""
        return self._body is None or self._body.sent

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

    # --- what an exchange does with it --------------------------------------------------------------------------

    def answer_data(self, data: bytes) -> None:
        """Bytes of the answer."""
        raise NotImplementedError

    def upstream_lost(self, *, clean: bool) -> None:
        """The arm closed the connection."""
        raise NotImplementedError

    def deadline_passed(self) -> None:
        """The client waits no longer."""
        raise NotImplementedError

    def fail(self, status: int, code: str, message: str, *, extra: bytes = b"") -> None:
        """The arm has failed."""
        raise NotImplementedError

    def _reject(self, refused: RefusalError) -> None:
        """The client's body is wrong."""
        raise NotImplementedError
