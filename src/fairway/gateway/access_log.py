"""The access log: one JSON object a line for every request, with nothing in it that a client or an agent wrote.

Of what came over the wire a line has the method, the path without its query (queries carry secrets), and the trace id
of a well-formed ``traceparent``. A request on the short way is noted as one tuple; what the line says is worked out
later, some requests at a time. What is not known is ``null``, never 0.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from time import gmtime, strftime
from typing import TYPE_CHECKING, Any

from fairway.gateway.framing import RequestHead
from fairway.gateway.log_file import LogFile
from fairway.gateway.usage import Usage
from fairway.traffic.outcome import Outcome
from fairway.traffic.rules import Decision

if TYPE_CHECKING:
    from fairway.gateway.client import ClientConnection
    from fairway.gateway.serving import ArmServing, Known
    from fairway.gateway.worker import Worker

TOGETHER = 64
"""Requests noted before their lines are written out; bounds what is held of their bytes."""

_HAND_OVER = 65_536
"""Bytes of lines handed over together while requests come fast."""

_MOST_KEPT = 1024
"""Outcomes whose words are kept."""

MAX_PATH = 512
"""Characters of a path; what is longer is cut."""

Short = tuple[
    float, float, "ClientConnection", int, "Known", bytes | RequestHead, bytes, int, "Outcome | None", bytes,
    "Usage | None",
]  # fmt: skip
"""A request on the short way: when it started and how long it took (seconds of ``perf_counter``), its connection, its
number, where its unit goes, all of it as it came (or its head, when that was read), the head of its answer as the arm
sent it, bytes of its answer's body, what its agent said, the lines its answer gained (none unless the conversation
began with it), and the tokens that its model said."""

_TRACE = rb"[tT][rR][aA][cC][eE][pP][aA][rR][eE][nN][tT]"
_trace_or_end = re.compile(
    rb"\r\n(?:\r\n|"
    + _TRACE
    + rb":[ \t]*(?:(?!ff)(?!00-[0-9a-f\-]{52}-)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-"
    rb"[0-9a-f]{2}(?:-[^\r\n]*|[ \t]*)(?=\r))?)"
).search
"""Finds ``traceparent`` in a head, or the end of that; group 1: the trace id of one that is well formed (W3C Trace
Context, section 3.2.2)."""


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


class AccessLog:
    """What a worker has noted and not yet written."""

    def __init__(self, worker: Worker, path: str) -> None:
        """Log to the file at ``path``, ``-`` for standard output."""
        self.lines: list[Short | Ended] = []
        """Append a request here, and call :meth:`write` when there are :data:`TOGETHER`."""
        self.file = LogFile(path)
        self._worker = worker
        self._text: list[str] = []
        self._count = 0
        self._bytes = 0
        self._second = -1
        self._stamp = ""
        self._prefix = worker.prefix.decode()
        self._said: dict[int, tuple[Outcome, str]] = {}  # by its id: one that is kept has it for itself

    def write(self, *, now: bool = False) -> None:
        """Write out what was noted; ``now``: hand it over, however little it is."""
        lines, self.lines[:] = self.lines.copy(), ()
        for line in lines:
            text = self._ended(line) if isinstance(line, Ended) else self._short(line)
            self._text.append(text)
            self._bytes += len(text)
        self._count += len(lines)
        if self._count and (now or self._bytes >= _HAND_OVER):
            self.file.put("".join(self._text).encode("ascii"), self._count)
            self._text, self._count, self._bytes = [], 0, 0

    def close(self) -> None:
        """Write all there is."""
        self.write(now=True)
        self.file.close()

    def stats(self) -> dict[str, int]:
        """Lines written and dropped so far."""
        return {"written": self.file.written, "dropped": self.file.dropped}

    def _time(self, started: float) -> str:
        at = started + self._worker.epoch
        second = int(at)
        if second != self._second:
            self._second = second
            self._stamp = strftime("%Y-%m-%dT%H:%M:%S", gmtime(second))
        return f"{self._stamp}.{int((at - second) * 1000):03d}Z"

    def _short(self, noted: Short) -> str:
        started, seconds, client, number, known, sent, answer, size, outcome, began, used = noted
        if isinstance(sent, bytes):
            asked = sent
            length = len(sent) - sent.find(b"\r\n\r\n") - 4
        else:
            asked, length = sent.raw, sent.length
        found = _trace_or_end(asked)
        trace = None if found is None else found[1]
        arm = known.logged
        if not arm:
            arm = known.logged = _arm(self._agent(), known.placement.decision, known.served)
        line = _asked(asked[: asked.find(b" HTTP/1.")])
        if used is not None:
            said = _said_by_model(outcome, used.tokens_in, used.tokens_out)
        else:
            said = _NOTHING_SAID if outcome is None else self._reported(outcome)
        milliseconds = f"{seconds * 1000:.3f}"
        return (
            f'{{"time":"{self._time(started)}","request":"{self._prefix}{number:x}",'
            f'"trace":{_quoted(trace)},"client":"{client.address}",{line},"status":{answer[9:12].decode()},'
            f'"bytes_in":{length},"bytes_out":{size},"duration_ms":{milliseconds},'
            f'"first_byte_ms":{milliseconds},"first_token_ms":null,"largest_gap_ms":null,{arm},'
            f'"by":"{"hash" if began else "pin"}","verdict":"ok","code":null,'
            f"{said}}}\n"
        )

    def _reported(self, outcome: Outcome) -> str:
        known = self._said.get(id(outcome))
        if known is None or known[0] is not outcome:
            if len(self._said) >= _MOST_KEPT:
                self._said.clear()
            known = self._said[id(outcome)] = outcome, _said(outcome)
        return known[1]

    def _ended(self, line: Ended) -> str:
        head = line.head
        found = _trace_or_end(head) if head else None
        request = "null" if line.number is None else f'"{self._prefix}{line.number:x}"'
        arm = _NO_ARM if line.decision is None else _arm(self._agent(), line.decision, line.served)
        by = "null" if line.decision is None else f'"{line.decision.by}"'
        said = _NOTHING_SAID if line.outcome is None else _said(line.outcome)
        if line.tokens_in is not None or line.tokens_out is not None:
            said = _said_by_model(line.outcome, line.tokens_in, line.tokens_out)
        asked = _asked(head[: head.find(b" HTTP/1.")]) if head else '"method":null,"path":null'
        return (
            f'{{"time":"{self._time(line.started)}","request":{request},'
            f'"trace":{_quoted(None if found is None else found[1])},"client":"{line.client.address}",{asked},'
            f'"status":{line.status or "null"},"bytes_in":{line.bytes_in},"bytes_out":{line.bytes_out},'
            f'"duration_ms":{line.seconds * 1000:.3f},"first_byte_ms":{_ms(line.first_byte)},'
            f'"first_token_ms":{_ms(line.first_token)},"largest_gap_ms":{_ms(line.largest_gap)},{arm},'
            f'"by":{by},"verdict":"{line.verdict}","code":{json.dumps(line.code) if line.code else "null"},'
            f"{said}}}\n"
        )

    def _agent(self) -> str:
        return self._worker.serving.table.route.agent


_NOTHING_SAID = '"outcome":null,"tokens_in":null,"tokens_out":null,"cost":null'
_NO_ARM = '"agent":null,"release":null,"digest":null,"role":null,"gray_tag":null,"assigned":null,"rule":null'


def _ms(seconds: float | None) -> str:
    return "null" if seconds is None else f"{seconds * 1000:.3f}"


def _quoted(word: bytes | None) -> str:
    return "null" if word is None else f'"{word.decode()}"'


@lru_cache(maxsize=1024)
def _asked(line: bytes) -> str:
    """Method and path of a request line, as JSON; without the query."""
    method, _, target = line.decode("latin-1").partition(" ")
    path = target.partition("?")[0]
    cut = path if len(path) <= MAX_PATH else path[:MAX_PATH] + "…"
    return f'"method":{json.dumps(method)},"path":{json.dumps(cut)}'


def _arm(agent: str, decision: Decision, served: ArmServing | None) -> str:
    """Which release served, which was assigned when that is another one, and the rule that sent it there."""
    facts: dict[str, Any] = {"agent": agent, "release": None, "digest": None, "role": None, "gray_tag": None}
    assigned = None
    if served is not None:
        arm = served.arm
        facts |= {"release": arm.version, "digest": arm.release, "role": arm.role.value, "gray_tag": arm.role.value}
    if decision.release is not None and (served is None or served.arm.release != decision.release):
        assigned = decision.release
    return json.dumps({**facts, "assigned": assigned, "rule": decision.rule}, separators=(",", ":"))[1:-1]


def _said(outcome: Outcome) -> str:
    """What an agent said, as JSON."""
    tokens = (outcome.tokens_in, outcome.tokens_out) if outcome.counted else ("null", "null")
    cost = "null" if outcome.cost is None else f"{outcome.cost:f}"
    return f'"outcome":"{outcome.status}","tokens_in":{tokens[0]},"tokens_out":{tokens[1]},"cost":{cost}'


def _said_by_model(outcome: Outcome | None, tokens_in: int | None, tokens_out: int | None) -> str:
    """What the agent said, with the tokens its model counted."""
    status = "null" if outcome is None else f'"{outcome.status}"'
    cost = "null" if outcome is None or outcome.cost is None else f"{outcome.cost:f}"
    tokens = ["null" if count is None else str(count) for count in (tokens_in, tokens_out)]
    return f'"outcome":{status},"tokens_in":{tokens[0]},"tokens_out":{tokens[1]},"cost":{cost}'
