"""The access log: one JSON object a line for every request, with nothing in it that a client or an agent wrote.

Of what came over the wire a line has the method, the path without its query (queries carry secrets), and the trace id
of a well-formed ``traceparent``. What is not known is left out, never 0.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from time import gmtime, strftime
from typing import TYPE_CHECKING

from fairway.gateway.log_file import LogFile
from fairway.gateway.trace_context import trace_or_end
from fairway.traffic.outcome import Outcome
from fairway.traffic.rules import By, Decision

if TYPE_CHECKING:
    from fairway.gateway.client import ClientConnection
    from fairway.gateway.framing import RequestHead
    from fairway.gateway.serving import ArmServing, Known
    from fairway.gateway.worker import Worker

_MOST_KEPT = 1024
"""Outcomes whose words are kept."""

MAX_PATH = 512
"""Characters of a path; what is longer is cut."""

_MOST_LINE = 32 + 1 + MAX_PATH + 1  # the longest method, a space, and enough of a path to see that it is cut


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A request that did not take the short way, or was refused before it was placed.

    Attributes:
        started: Seconds of ``perf_counter``.
        seconds: From there to the last byte of its answer.
        client: Its connection.
        number: In this worker; ``None``: refused before it had one.
        head: As it came; empty: it was no readable one.
        status: Of the answer; 0: none was sent.
        bytes_in, bytes_out: Of both bodies.
        first_byte, first_token, largest_gap: Seconds; ``None``: there was none, or nobody looked.
        decision, served: Where it went.
        verdict, code: What became of it, and why.
        outcome: What its agent said.
        tokens_in, tokens_out: As its agent or its model said; ``None``: neither did.
    """

    started: float
    seconds: float
    client: ClientConnection
    number: int | None
    head: bytes
    status: int
    bytes_in: int
    bytes_out: int
    first_byte: float | None = None
    first_token: float | None = None
    largest_gap: float | None = None
    decision: Decision | None = None
    served: ArmServing | None = None
    verdict: str
    code: str
    outcome: Outcome | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None


NOTHING_SAID = b"}\n"

LINE = b'%b%b%b,"status":%b,"bytes_in":%d,"bytes_out":%d,"duration_us":%d,"first_byte_us":%d%b%b'
"""Of a request on the short way: what lines begin with now; its number; what :func:`asked` tells; its status; bytes of
its body and of its answer's; microseconds to its answer, twice; where it went; what was said of it."""

_AFTER_NUMBER = b'",'


class AccessLog:
    """What a worker makes lines of, and has not yet written.

    The short way makes its lines itself, see :mod:`fairway.gateway.quick_answer`: every call is paid by all traffic.

    Attributes:
        lines: Append whole lines here.
        front: What lines begin with, up to the number of the request.
        until: Seconds of ``perf_counter()`` up to which they do; from then on :meth:`begin` is to be called.
    """

    def __init__(self, worker: Worker, path: str) -> None:
        """Log to the file at ``path``, ``-`` for standard output."""
        self._file = LogFile(path)
        self._worker = worker
        self._second = -1
        self._stamp = b""
        self._said: dict[int, tuple[Outcome, bytes]] = {}  # by its id: one that is kept has it for itself
        self.lines = self._file.lines
        self.front = b""
        self.until = 0.0

    def ended(self, request: Ended) -> None:
        """Note a request that did not take the short way."""
        self.lines.append(self._line(request))

    def look(self) -> None:
        """Have written what is here; to be called some times a second."""
        self._file.look()

    def reopen(self) -> None:
        """Open the file anew: somebody has moved it away."""
        self._file.reopen()

    def close(self) -> None:
        """Write all there is."""
        self._file.close()

    def stats(self) -> dict[str, int]:
        """Lines written and dropped so far."""
        return {"written": self._file.written, "dropped": self._file.dropped}

    # --- parts of lines ----------------------------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """Find what lines begin with from now on for a millisecond; ``now`` in seconds of ``perf_counter()``."""
        epoch = self._worker.epoch
        millisecond = int((now + epoch) * 1000)
        second, rest = divmod(millisecond, 1000)
        if second != self._second:
            self._second = second
            self._stamp = strftime('{"time":"%Y-%m-%dT%H:%M:%S.', gmtime(second)).encode()
        self.front = b'%b%03dZ","request":"%b' % (self._stamp, rest, self._worker.prefix)
        self.until = (millisecond + 1) / 1000 - epoch

    def arm(self, known: Known) -> bytes:
        """What lines of a unit's requests have in common after the first."""
        known.logged = _judged(self._arm(known.placement.decision, known.served), By.PIN, "ok")
        return known.logged

    def arm_of_first(self, known: Known) -> bytes:
        """The same of the first, which begins its conversation."""
        if not known.first_logged:
            known.first_logged = _judged(self._arm(known.placement.decision, known.served), By.HASH, "ok")
        return known.first_logged

    def reported(self, outcome: Outcome) -> bytes:
        """What an agent said, kept for the next one who says the same."""
        told = self._said.get(id(outcome))
        if told is None or told[0] is not outcome:
            if len(self._said) >= _MOST_KEPT:
                self._said.clear()
            told = self._said[id(outcome)] = outcome, said_by(outcome)
        return told[1]

    def _line(self, request: Ended) -> bytes:
        now = request.started + request.seconds
        if now >= self.until:
            self.begin(now)
        front = self.front
        who = who_asked(request.head, request.client)
        if request.number is None:
            begun = front[: front.rfind(b',"request"') + 1] + who[len(_AFTER_NUMBER) :]
        else:
            begun = b"%b%x%b" % (front, request.number, who)
        arm = b"" if request.decision is None else self._arm(request.decision, request.served)
        by = None if request.decision is None else request.decision.by
        return b'%b%b,"bytes_in":%d,"bytes_out":%d,"duration_us":%d%b%b%b' % (
            begun,
            _members({"status": request.status or None}),
            request.bytes_in,
            request.bytes_out,
            int(request.seconds * 1e6),
            _times(request),
            _judged(arm, by, request.verdict, request.code),
            said_by(request.outcome, request.tokens_in, request.tokens_out),
        )

    def _arm(self, decision: Decision, served: ArmServing | None) -> bytes:
        """Which release served, which was assigned when that is another one, and the rule that sent it there."""
        facts: dict[str, object] = {"agent": self._worker.serving.table.route.agent}
        if served is not None:
            arm = served.arm
            facts |= {"release": arm.version, "digest": arm.release, "role": arm.role.value}
        if decision.release is not None and (served is None or served.arm.release != decision.release):
            facts["assigned"] = decision.release
        return _members({**facts, "rule": decision.rule})


def _members(facts: Mapping[str, object]) -> bytes:
    """Members of a line's object, each after a comma; none for what is not known."""
    known = {name: value for name, value in facts.items() if value is not None}
    return b"," + json.dumps(known, separators=(",", ":"))[1:-1].encode() if known else b""


def _times(request: Ended) -> bytes:
    """Times within an answer."""
    seconds = {
        "first_byte_us": request.first_byte,
        "first_token_us": request.first_token,
        "largest_gap_us": request.largest_gap,
    }
    return _members({name: None if time is None else int(time * 1e6) for name, time in seconds.items()})


def asked(sent: bytes | RequestHead, client: ClientConnection) -> tuple[bytes, int]:
    """What a line says of a request, all of which is here or whose head was read; and the bytes of its body."""
    if isinstance(sent, bytes):
        return who_asked(sent, client), len(sent) - sent.find(b"\r\n\r\n") - 4
    return who_asked(sent.raw, client), sent.length


def who_asked(request: bytes, client: ClientConnection) -> bytes:
    """What of a line follows the request's number: its trace, its client, and what that asked for.

    Args:
        request: Its head, and what follows that; empty when it was no readable one.
        client: Who sent it.
    """
    found = trace_or_end(request) if request else None
    trace = b'"trace":"%b",' % found[2] if found is not None and found.lastindex == 2 else b""
    line = request[: request.find(b" HTTP/1.")].partition(b"?")[0][:_MOST_LINE]  # queries are long, and each another
    return b'%b%b"client":"%b"%b' % (_AFTER_NUMBER, trace, client.address.encode(), _asked_for(line))


@lru_cache(maxsize=1024)
def _asked_for(line: bytes) -> bytes:
    """Method and path of a request line, as JSON."""
    if not line:
        return b""
    method, _, path = line.decode("latin-1").partition(" ")
    return _members({"method": method, "path": path if len(path) <= MAX_PATH else path[:MAX_PATH] + "…"})


def _judged(arm: bytes, by: str | None, verdict: str, code: str = "") -> bytes:
    """Where a request went and why, and what became of it, and why."""
    return arm + _members({"by": by, "verdict": verdict, "code": None if verdict == "ok" else code or None})


def said_by(outcome: Outcome | None, tokens_in: int | None = None, tokens_out: int | None = None) -> bytes:
    """The end of a line: what an agent said; its tokens are those its model counted when these are given."""
    if outcome is None:
        if tokens_in is None or tokens_out is None:
            return _members({"tokens_in": tokens_in, "tokens_out": tokens_out}) + NOTHING_SAID
        return b',"tokens_in":%d,"tokens_out":%d}\n' % (tokens_in, tokens_out)
    if outcome.counted and tokens_in is None and tokens_out is None:
        tokens_in, tokens_out = outcome.tokens_in, outcome.tokens_out
    said = _members({"outcome": outcome.status.value, "tokens_in": tokens_in, "tokens_out": tokens_out})
    cost = b"" if outcome.cost is None else b',"cost":%b' % f"{outcome.cost:f}".encode()
    return said + cost + NOTHING_SAID
