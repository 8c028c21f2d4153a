"""One request from its head to the last byte of its answer: assigned once, served by one arm, counted once."""

from __future__ import annotations

import asyncio
from time import monotonic, perf_counter
from typing import TYPE_CHECKING

from fairway.gateway.bodies import RequestBody
from fairway.gateway.endpoints.line import Turn
from fairway.gateway.endpoints.verifying import RELEASE_HEADER, from_another
from fairway.gateway.framing import UNTIL_CLOSE, AnswerHead, RefusalError, RequestHead, parse_answer, returned_head
from fairway.gateway.judging import Reason
from fairway.gateway.noting import note_ended
from fairway.gateway.pace import Pace
from fairway.gateway.problems import problem
from fairway.gateway.quick_stream import QuickStream
from fairway.gateway.reading import StreamReading
from fairway.gateway.recording import Recording
from fairway.gateway.rerunning import RERUN_LINE, failed_already, stable_instead
from fairway.gateway.returning import Returning
from fairway.gateway.serving import ArmServing
from fairway.gateway.telemetry import bin_of_us
from fairway.gateway.tracing import retold
from fairway.gateway.usage import usage_at

if TYPE_CHECKING:
    from fairway.gateway.quick_exchange import QuickExchange

SERVER_ERROR = 500

STALE_SECONDS = 1.0
"""A kept connection that its arm had closed by the time a request was sent breaks within a round trip. What broke later
had the request."""


class Exchange(Recording):
    """One request and its answer."""

    _pace: Pace | None = None
    """Of a body that was looked at while it came."""
    _stream: QuickStream | None = None
    """The short way of a stream of events."""

    @classmethod
    def taken_over(cls, quick: QuickExchange) -> Exchange:
        """The exchange of a request that was sent on the short way."""
        exchange = cls.__new__(cls)
        exchange.client = quick.client
        exchange.upstream = quick.upstream
        exchange._serving = quick.serving
        known = quick.known  # its answer never takes the short way again: it is under way, or the request still is
        exchange._placement = known.placement
        exchange._served = known.served
        exchange.cell = quick.cell
        exchange.started = exchange.touched = quick.started
        exchange.sent = quick.sent
        exchange.unit = quick.unit
        exchange.cookie = quick.cookie
        exchange.number = quick.number
        if quick.upstream.held:
            exchange._held, quick.upstream.held = quick.upstream.held, b""
        return exchange

    def resume(self, head: RequestHead, left: int, touched: float) -> None:
        """It was taken over while it came, or has come, in pieces.

        Args:
            head: Its head.
            left: Bytes of its body that are still to come.
            touched: When something of it came last.
        """
        self._head = head
        self.touched = touched
        if left:
            self._body = RequestBody(head.length, limit=head.length, left=left)
            self._replay = self._head_for_arm() + self.sent[len(head.raw) :] if self.sent else None
            self.sent = b""
        elif not self.sent:
            self._replay = None

    def pass_held(self) -> None:
        """Pass on a head that was kept for its body, which does not come at once."""
        if self._held:
            self.answer_data(b"")

    # --- what a head says that a usual one, which has taken the short way and is not read again for this, does not ---

    @property
    def _http10(self) -> bool:
        """Whether the client knows no chunks."""
        return self._head is not None and self._head.http10

    @property
    def _takes_trailers(self) -> bool:
        """Whether the client reads trailers."""
        return self._head is not None and self._head.takes_trailers

    @property
    def _asks_for_head(self) -> bool:
        """Whether no body comes, whatever the answer's head says."""
        return self._head is not None and self._head.method == b"HEAD"

    # --- the answer --------------------------------------------------------------------------------------------

    def answer_data(self, data: bytes) -> None:
        """Bytes of the answer."""
        stream = self._stream
        if stream is not None and stream.open and stream.passed(self, data):
            return
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
                data = data[answer.end :]
                if answer.status == 101:
                    self._switch(answer, data)
                    return
                self._pass_interim(answer)
                answer = self._parse(data) if data else None
        except RefusalError as refused:
            self.fail(502, refused.code, refused.message)
            return
        if answer is None:
            self._held = data
            return
        self._answer = answer
        if not answer.plain and self._wrong_release(answer):
            return
        if self.client.buffer and self.head.upgrade:
            self.client.close_after = True  # what came early was for the session there is not: no request
        if (code := failed_already(answer)) and self._run_again("agent", code):
            return
        if answer.plain and len(data) - answer.end == answer.length and self.request_complete and not self._http10:
            self._answer_whole(answer, data)
        else:
            self._answer_body(self._returned(answer), data[answer.end :])

    def _pass_interim(self, answer: AnswerHead) -> None:
        """Pass on an interim answer, such as early hints; but no 100, which the gateway has given itself."""
        if answer.status != 100 and not self.head.http10:
            self.client.write(returned_head(answer, b"", length="kept"))

    def _switch(self, answer: AnswerHead, data: bytes) -> None:
        """The arm goes on as a WebSocket, of which ``data`` came with its answer.

        Raises:
            RefusalError: When it was not asked to, or goes on as something else.
        """
        if not (self.head.upgrade and answer.switches):
            raise RefusalError(502, "malformed_answer", "the arm switched protocols unasked")
        self._answer = answer
        if not self._wrong_release(answer):
            self.client.switch(self, data)

    def _parse(self, data: bytes) -> AnswerHead | None:
        limit = self._serving.table.limits.head_bytes
        return parse_answer(data, limit=limit, head_request=self._asks_for_head)

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
        upstream.finish(self.touched, bad=answer.status >= SERVER_ERROR, reusable=answer.reusable)
        if self._pair is not None:
            self._pair.primary_data(data[answer.end :])
        if self._judged_by_status(answer.status, served):
            self.done = True
            cell.dirty = True
            cell.open -= 1
            cell.finished += 1
            time_bin = bin_of_us(int((self.touched - self.started) * 1e6))
            cell.latency[time_bin] += 1
            cell.first_byte[time_bin] += 1
            self._first_byte = self.touched
            self.bytes_out = answer.length
            self._count_usage(cell, usage_at(data) if cell.reads_usage else None)
            note_ended(self, "ok", "", 0)
        else:
            self._first_byte = self.touched
            self.bytes_out = answer.length
            self.usage = usage_at(data) if cell.reads_usage else None
            self._record("agent", "")
        client.exchange_done()

    def _judged_by_status(self, status: int, served: ArmServing) -> bool:
        """Whether a plain answer says all there is to say about a request."""
        plain = status < 500 and not served.attested and not self._moved and not self._rerun and self.deadline is None
        return plain and not self._broken and not self._serving.thresholds and self._pair is None

    def _returned(self, answer: AnswerHead) -> bytes:
        """The head for the client, once it is known how the body will be framed to it."""
        client = self.client
        returning = self._returning = Returning(answer, http10=self._http10, trailers=self._takes_trailers)
        if self._pair is not None:
            returning.overheard = self._pair.primary_data
        if returning.framing == "close":
            client.close_after = True
        if client.worker.draining or not self.request_complete:
            client.close_after = True  # what still comes of the request is not read
        self.reading = self._to_read(answer, returning)
        assert self._served is not None
        extra = b"%b%bx-fairway-request: %b\r\n" % (self._served.version_line, self.cookie, self.request_id)
        if client.close_after:
            extra += b"connection: close\r\n"
        elif self._http10:
            extra += b"connection: keep-alive\r\n"
        return returning.head(extra)

    def _answer_body(self, head: bytes, data: bytes) -> None:
        """Pass on what came: ``head`` is the answer's head when it is being sent now."""
        answer, returning = self._answer, self._returning
        assert answer is not None
        assert returning is not None
        body = returning.body
        try:
            data = body.feed(data)
        except RefusalError as refused:
            if head:
                self.client.write(head)
            self.fail(502, "malformed_answer", refused.message)
            return
        if body.overlong:
            answer.reusable = False
        if data:
            self.bytes_out += len(data)
            if self._first_byte < 0:
                self._first_byte = perf_counter()
            if self.reading is not None:
                self.reading.came(data, self.touched)
        data = returning.passed(data)
        if head or data:
            self.client.write(head + data if data else head)
        if body.complete:
            self._finish_answer()
        elif self._stream is not None:
            self._stream.look()
        elif isinstance(self.reading, StreamReading):
            self._stream = QuickStream(self.client.transport, returning, self.reading)

    def _finish_answer(self) -> None:
        """The whole answer came."""
        answer, returning = self._answer, self._returning
        assert answer is not None
        assert returning is not None
        rest = returning.rest()
        if rest:
            self.client.write(rest)
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            reusable = answer.reusable and self.request_complete
            upstream.finish(self.touched, bad=answer.status >= SERVER_ERROR, reusable=reusable)
        self._record("agent", "")
        self.client.exchange_done()

    # --- the end -----------------------------------------------------------------------------------------------

    def upstream_lost(self, *, clean: bool) -> None:
        """The arm closed the connection."""
        upstream, self.upstream = self.upstream, None
        answer = self._answer
        if answer is not None and answer.length == UNTIL_CLOSE and clean:
            if upstream is not None:
                upstream.pool.arm.answered(upstream.pool, bad=answer.status >= SERVER_ERROR)
            self._finish_answer()
            return
        stale = upstream is not None and upstream.reused and clean and answer is None and not self._held
        stale = stale and perf_counter() - self.touched < STALE_SECONDS
        if upstream is not None and not stale:
            upstream.pool.arm.broke(upstream.pool)
        self._broken_by = None if upstream is None else upstream.pool
        if answer is None and self._send_anew():
            if not stale:
                self._broken = "arm_closed"
            return
        if answer is None:
            self.fail(502, "arm_closed", "the release closed the connection without an answer")
        else:
            self.fail(502, "answer_cut", "the answer was cut off")

    def _send_anew(self) -> bool:
        """Send the request once more to the same arm, when that is safe and the arm's budget allows it."""
        served = self._served
        if served is None or not self._may_repeat() or not served.endpoints.retries.take(monotonic()):
            return False
        self._drop_upstream()
        self._retried = True
        self.known = None  # whose answer comes now, and what it counts as, is not what the short way takes it for
        self._held = b""
        self._early, self._replay = self._replay or b"", None
        self._connecting = asyncio.ensure_future(self._open())
        return True

    def _wrong_release(self, answer: AnswerHead) -> bool:
        """Whether another release gave the answer: then it is not passed on, and its endpoint gets nothing more.

        The request has been sent, to the wrong agent: only what may be sent twice goes to another endpoint.
        """
        said, served, upstream = answer.headers.get(RELEASE_HEADER), self._served, self.upstream
        if said is None or served is None or upstream is None:
            return False
        if not from_another(said, served.digest):
            served.endpoints.named(upstream.pool)
            return False
        served.endpoints.wrong(upstream.pool)
        self._answer = None
        if not self._send_anew():
            self.fail(502, "wrong_release", "the instance that answered serves another release")
        return True

    def _reject(self, refused: RefusalError) -> None:
        """The client's body is wrong: not the arm's failure."""
        self._drop_upstream()
        self._record("client", f"refused_{refused.code}", 0 if self._answer is not None else refused.status)
        self.client.exchange_refused(refused, answered=self._answer is not None)

    def overdue(self, now: float) -> None:
        """Called by the sweep: end the request when one of its time limits has passed.

        Args:
            now: ``perf_counter()`` seconds.
        """
        timeouts = self._serving.table.timeouts
        quiet = now - self.touched
        if now - self.started > timeouts.total:
            self._time_out("total", timeouts.total)
        elif self._answer is None and not self.request_complete and self._crawls(now):
            self._reject(RefusalError(408, "slow_body", "the request body arrives too slowly"))
        elif self._connecting is not None:
            pass  # the wait for a connection has limits of its own
        elif self._answer is None and self.request_complete:
            if quiet > timeouts.first_byte:
                self._time_out("first_byte", timeouts.first_byte)
        elif quiet > timeouts.idle:
            if self._answer is None and not self.request_complete:
                self._reject(RefusalError(408, "timeout_body", "the request body did not arrive in time"))
            else:
                self._time_out("idle", timeouts.idle)

    def _crawls(self, now: float) -> bool:
        rate, body = self._serving.table.limits.body_rate, self._body
        if not rate or body is None:
            return False
        if self._pace is None:
            self._pace = Pace(self.started, 0)
        taken = body.taken if self._waits is None else self._waits.came
        return self._pace.crawls(now, taken, rate=rate, held=self.client.held_by > 0)

    def deadline_passed(self) -> None:
        """The client waits no longer, as it said it would not: as when it hangs up, nobody's failure."""
        if self.done:
            return
        self._drop_upstream()
        self._record("client", "timeout_deadline", 504)
        self._tell_failed(504, "timeout_deadline", "the request's own deadline has passed")

    def gateway_short(self) -> None:
        """No file descriptor or port is left to reach an arm with, which is no arm's failure."""
        if self.done:
            return
        self.client.worker.count_refused("no_descriptors")
        self._record("client", "no_descriptors", 503)
        self._tell_failed(503, "no_descriptors", "the gateway has too many connections", b"retry-after: 1\r\n")

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
        self._hold_against_endpoint(code)
        again = status == 502 or code in (Turn.FULL, Turn.LATE)
        if again and self._answer is None and self._run_again("transport", code, status):
            return
        self._drop_upstream()
        self._record("transport", code, status)
        self._tell_failed(status, code, message, extra)

    def _tell_failed(self, status: int, code: str, message: str, extra: bytes = b"") -> None:
        client = self.client
        if self._answer is not None:
            client.cut(hard=self._returning is not None and self._returning.framing == "close")
            return
        if not self.request_complete:
            client.close_after = True
        if self._served is not None:
            extra = self._served.version_line + extra
        extra += b"x-fairway-request: %b\r\n" % self.request_id
        if client.close_after:
            extra += b"connection: close\r\n"
        client.write(problem(status, code, message, extra, head_only=self.head.method == b"HEAD"))
        client.exchange_done()

    def _hold_against_endpoint(self, code: str) -> None:
        """Note that an endpoint broke the request, which is not done by a long answer that takes longer than it may."""
        upstream = self.upstream
        if upstream is None or code == "wrong_release" or (code == "timeout_total" and self._answer is not None):
            return
        upstream.pool.arm.broke(upstream.pool)

    def _run_again(self, reason: Reason, code: str, status: int = 0) -> bool:
        """Count the arm's failure and run the request again on stable, once, when the table in force says so.

        Nothing of an answer has been sent. The conversation stays where it is: its next request goes where the table
        says. What timed out is not run again: it may still run, and the client has waited for long enough.
        """
        served, cell = self._served, self.cell
        if served is None or cell is None or self._rerun or self._moved:
            return False
        if self._pair is not None and self._pair.copied:
            return False
        stable = stable_instead(self.client.worker.serving, self._placement.decision, served, self.head)
        request = b"" if stable is None else self._whole_request()
        if stable is None or not request:
            return False
        request = retold(request, served.trace_lines, stable.trace_lines)
        if self.upstream is not None and self._answer is not None and self._answer.status >= SERVER_ERROR:
            self.upstream.pool.arm.answered(self.upstream.pool, bad=True)
        self._drop_upstream()
        self._rerun_code = code
        self._record(reason, code, status, last=False)
        cell.open += 1  # its block is not told to be over before this is
        cell.sums["reruns"] = cell.sums.get("reruns", 0) + 1
        self._rerun = self._retried = True
        self.done = self.begun = False
        self._answer = self._returning = self._outcome = self.known = self.reading = self.usage = self._stream = None
        self._held, self._first_byte, self.bytes_out = b"", -1.0, 0
        self._served = stable
        self.touched = perf_counter()
        end = request.find(b"\r\n") + 2
        self._early = b"%b%b%b" % (request[:end], RERUN_LINE, request[end:])
        self._connecting = asyncio.ensure_future(self._open())
        return True

    def client_gone(self) -> None:
        """The client hung up: the arm's work is cancelled, and what became of the request is unknown."""
        if self.done:
            return
        self._drop_upstream()
        self._record("client", "client_aborted")

    def discard(self) -> None:
        """Forget a request that was refused before it was assigned."""
        self.done = True
        if self.deadline is not None:
            self.deadline.cancel()
