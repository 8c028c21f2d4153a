"""A WebSocket passing through: placed as any request, then bytes both ways until both sides have ended.

To its client and its arm a session is one connection each; to the counts it is one request, whose time is the time to
the arm's 101. What became of it is told when it ends, or when the table's total time for requests is over, because a
block of telemetry waits no longer for anyone: an arm that cuts its sessions after that is counted apart.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter, time
from typing import TYPE_CHECKING

from fairway.gateway.exchange import Exchange
from fairway.gateway.framing import returned_head
from fairway.gateway.judging import Reason, Verdict
from fairway.gateway.noting import note_ended
from fairway.gateway.websocket import FAILED, GOING_AWAY, ArmFrames, judge_session

if TYPE_CHECKING:
    from fairway.gateway.telemetry import Cell

CLOSE_SECONDS = 10.0
"""When one side has ended, the other is given this long."""

SETTLE_SECONDS = 2.0
"""A session that goes on is counted this long before its block can wait no longer."""


class Tunnel(Exchange):
    """A request that the arm answered by switching to WebSocket."""

    _frames: ArmFrames
    _arm_ended = False
    _client_ended = False
    _ended_at = 0.0
    """When the first side ended."""
    _first = ""
    """Which that was."""
    _told: tuple[Verdict, str] = ("unknown", "")
    """What it was counted as."""
    _over = False
    _came = 0
    """Bytes of the client."""

    @classmethod
    def opened(cls, exchange: Exchange) -> Tunnel:
        """The session a request becomes; takes the request's place on both of its connections."""
        tunnel = cls.__new__(cls)
        tunnel.__dict__.update(exchange.__dict__)
        tunnel._frames = ArmFrames()
        tunnel.answered = tunnel.touched
        tunnel._first_byte = tunnel.touched
        tunnel._replay = None  # it is never sent again
        if tunnel.deadline is not None:
            tunnel.deadline.cancel()  # it was for the answer, which is here
        tunnel.client.exchange = tunnel
        upstream = tunnel.upstream
        if upstream is not None:
            upstream.exchange = upstream.tunnel = tunnel
            if upstream.pool.unusual:
                upstream.pool.arm.answered(upstream.pool, bad=False)  # how the session ends is too late to tell
        return tunnel

    def start(self, early: bytes, data: bytes) -> None:
        """Tell the client, and pass on what came meanwhile.

        Args:
            early: Bytes of the client that came before the arm's 101.
            data: Bytes of the arm that came with it.
        """
        answer, served, cell = self._answer, self._served, self.cell
        assert answer is not None
        assert served is not None
        if cell is not None:
            cell.dirty = True
            cell.sums["websockets"] = cell.sums.get("websockets", 0) + 1
        extra = b"%b%bx-fairway-request: %b\r\n" % (served.version_line, self.cookie, self.request_id)
        self.client.write(returned_head(answer, extra, length="kept"))
        if early:
            self.body_data(early)
        if data:
            self.answer_data(data)

    # --- bytes -------------------------------------------------------------------------------------------------

    def body_data(self, data: bytes) -> bytes:
        """Bytes of the client; all of them are the session's."""
        self.touched = perf_counter()
        self._came += len(data)
        if self.upstream is not None:
            self.upstream.transport.write(data)
        return b""

    @property
    def bytes_in(self) -> int:
        """Bytes the client sent."""
        return self._came

    def answer_data(self, data: bytes) -> None:
        """Bytes of the arm."""
        self.touched = perf_counter()
        self.bytes_out += len(data)
        data = self._frames.feed(data)
        if data:
            self.client.write(data)

    # --- the end -----------------------------------------------------------------------------------------------

    def arm_ended(self) -> bool:
        """The arm will send no more; whether its connection stays open for what the client still sends."""
        self._arm_ended = True
        self._first = self._first or "arm"
        self._flush()
        return self._half_closed(self.client.transport.can_write_eof(), self.client.transport.write_eof)

    def client_ended(self) -> bool:
        """The client will send no more; whether its connection stays open for what the arm still sends."""
        self._client_ended = True
        self._first = self._first or "client"
        upstream = self.upstream
        if upstream is None or upstream.closed:
            return False
        # what ended with TLS cannot be half open: uvloop closes it whatever is said here
        both_ways = self.client.transport.can_write_eof() and upstream.transport.can_write_eof()
        return self._half_closed(both_ways, upstream.transport.write_eof)

    def _half_closed(self, possible: bool, tell: Callable[[], None]) -> bool:
        if not possible or (self._arm_ended and self._client_ended):
            return False
        self._ended_at = perf_counter()
        tell()
        return True

    def _flush(self) -> None:
        if rest := self._frames.rest():
            self.client.write(rest)

    def upstream_lost(self, *, clean: bool) -> None:
        """The arm's connection is gone."""
        self.upstream = None
        self._flush()
        self._ended("arm")
        self._close_client()

    def client_gone(self) -> None:
        """The client's connection is gone."""
        self._ended("client")
        self._drop_upstream()

    def _close_client(self) -> None:
        client = self.client
        if client.exchange is self:
            client.since = perf_counter()
            client.cut(hard=False)

    def go_away(self, why: str = "drained") -> None:
        """Close the session from here, as far as that can be said."""
        if self._frames.between:
            self.client.write(GOING_AWAY)
        self._ended(why)
        self._drop_upstream()
        self._close_client()

    def overdue(self, now: float) -> None:
        """Called by the sweep; ``now`` in ``perf_counter()`` seconds."""
        timeouts = self._serving.table.timeouts
        if self._ended_at:
            if now - self._ended_at > CLOSE_SECONDS:
                self._ended("arm" if self._arm_ended else "client")
                self._drop_upstream()
                self._close_client()
        elif now - self.touched > timeouts.websocket:
            self.go_away("idle")
        elif not self.done and now - self.started > max(timeouts.total / 2, timeouts.total - SETTLE_SECONDS):
            self._record("agent", "", last=False)

    # --- counting ----------------------------------------------------------------------------------------------

    def _ended(self, by: str) -> None:
        """The session is over; ``by``: who ended it when nobody had before."""
        by = self._first or by
        closed = self._frames.close
        if self._over:
            return
        self._over = True
        if self.done:
            self._count_after(cut=closed in FAILED if closed is not None else by == "arm")
        elif closed is not None:
            self._record("agent", "")
        elif by == "arm":
            self._record("transport", "websocket_cut")
        else:
            self._record("client", "client_aborted" if by == "client" else f"websocket_{by}")

    def _judge(self, reason: Reason, code: str, cell: Cell) -> tuple[Verdict, str]:
        """What became of the session: how it was closed, then what the agent said of it, then whether it ever says."""
        if self._frames.outcome is not None and self._answer is not None:
            self._answer.headers[b"fairway-outcome"] = self._frames.outcome
        verdict, code = super()._judge(reason, code, cell)
        if not self._moved and reason == "agent":
            verdict, code = judge_session(self._frames.close, verdict, code, said=self.outcome is not None)
        self._told = (verdict, code)
        return verdict, code

    def _count_after(self, *, cut: bool) -> None:
        """Its block is past: what is still to be told is told of the present one."""
        served, worker = self._served, self.client.worker
        verdict, code = self._told
        if not self._rerun:
            note_ended(self, verdict, code, 0)
        if not cut or served is None:
            return
        serving = worker.serving
        cell = worker.telemetry.cell(
            start=time(),
            block_seconds=serving.table.block_seconds,
            release=served.arm.release,
            role=served.arm.role,
            fence=serving.table.fence,
            regime=serving.regime,
            split=int(serving.table.split),
        )
        cell.dirty = True
        cell.sums["websockets_cut"] = cell.sums.get("websockets_cut", 0) + 1
