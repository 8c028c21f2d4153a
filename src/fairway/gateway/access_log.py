"""The access log: one JSON object a line for every request, with nothing in it that a client or an agent wrote.

Of what came over the wire a line has the method, the path without its query (queries carry secrets), and the trace id
of a well-formed ``traceparent``. A request on the short way is noted as one tuple; what the line says is worked out
later, some requests at a time. What is not known is ``null``, never 0.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from time import gmtime, strftime
from typing import TYPE_CHECKING, Any

from fairway.gateway.framing import RequestHead
from fairway.gateway.log_file import LogFile
from fairway.gateway.repeats import one_like
from fairway.gateway.trace_context import trace_or_end
from fairway.gateway.usage import Usage
from fairway.traffic.outcome import Outcome
from fairway.traffic.rules import Decision

if TYPE_CHECKING:
    from fairway.gateway.client import ClientConnection
    from fairway.gateway.repeats import RequestRepeat
    from fairway.gateway.serving import ArmServing, Known
    from fairway.gateway.worker import Worker

TOGETHER = 64
"""Requests noted before their lines are written out; bounds what is held of their bytes."""

_HAND_OVER = 192
"""Lines handed over together while requests come fast: waking the thread that writes has its price. So has, beyond
128 KB, the memory, which malloc has from the kernel, and gives back, each time anew."""

_MOST_KEPT = 1024
"""Outcomes whose words are kept."""

MAX_PATH = 512
"""Characters of a path; what is longer is cut."""

_MOST_LINE = 32 + 1 + MAX_PATH + 1  # the longest method, a space, and enough of a path to see that it is cut

Short = tuple[
    float, float, "ClientConnection", bytes, "Known", "Asked", bytes, int, "Outcome | None", bytes, "Usage | None",
]  # fmt: skip
"""A request on the short way: when it started and how long it took (seconds of ``perf_counter``), its connection, its
number as it ends a line, where its unit goes, what it asked, the head of its answer as the arm sent it, bytes of its
answer's body, what its agent said, the lines its answer gained (none unless the conversation began with it), and the
tokens that its model said."""

Asked = bytes | RequestHead | tuple["RequestRepeat", int]
"""All of a request as it came; its head, when that was read; or the head that its connection knew it by, and the bytes
of its body."""


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
        self._second = -1
        self._stamp = ""
        self._prefix = worker.prefix.decode()
        self._millisecond = -1
        self._front = ""
        self._asked: dict[int, tuple[RequestRepeat, str]] = {}  # who asked for what, by the head, the same way
        self._said: dict[int, tuple[Outcome, str]] = {}  # by its id: one that is kept has it for itself

    def write(self, *, now: bool = False) -> None:
        """Write out what was noted; ``now``: hand it over, however little it is."""
        lines, self.lines[:] = self.lines.copy(), ()
        text = self._text
        self._add(text, lines)
        if len(text) >= _HAND_OVER or (now and text):
            self.file.put("".join(text).encode("ascii"), len(text))
            text.clear()

    def close(self) -> None:
        """Write all there is."""
        self.write(now=True)
        self.file.close()

    def stats(self) -> dict[str, int]:
        """Lines written and dropped so far."""
        return {"written": self.file.written, "dropped": self.file.dropped}

    def _at(self, millisecond: int) -> str:
        """What the lines of one millisecond of the wall clock begin with, up to the number of the request."""
        second, rest = divmod(millisecond, 1000)
        if second != self._second:
            self._second = second
            self._stamp = strftime('{"time":"%Y-%m-%dT%H:%M:%S.', gmtime(second))
        self._millisecond = millisecond
        self._front = f'{self._stamp}{rest:03d}Z","request":"{self._prefix}'
        return self._front

    def _add(self, text: list[str], lines: list[Short | Ended]) -> None:
        """The lines of requests, at the end of ``text``; at tens of thousands a second every call counts here."""
        epoch, asked, add = self._worker.epoch, self._asked, text.append
        for line in lines:
            if isinstance(line, Ended):
                add(self._ended(line))
                continue
            started, seconds, client, number, known, sent, answer, size, outcome, began, used = line
            millisecond = int((started + epoch) * 1000)
            front = self._front if millisecond == self._millisecond else self._at(millisecond)
            if type(sent) is tuple:
                repeat, length = sent
                kept = asked.get(id(repeat))
                who = kept[1] if kept is not None and kept[0] is repeat else self._keep(repeat, client)
            else:
                who, length = _read(sent, client)  # type: ignore[arg-type]
            arm = known.logged or self._arm(known)
            said = self._told(outcome, used)
            us = int(seconds * 1e6)
            add(
                f'{front}{number[:-2].decode()}{who}{_STATUS[answer[9:12]]}{length},"bytes_out":{size},'
                f'"duration_us":{us},"first_byte_us":{us}{arm[1 if began else 0]}{said}}}\n'
            )

    def _told(self, outcome: Outcome | None, used: Usage | None) -> str:
        """What was said of a request, by its agent or its model."""
        if used is not None:
            if outcome is not None:
                return _said_by_model(outcome, used.tokens_in, used.tokens_out)
            return _said_by_usage(used)
        if outcome is None:
            return _NOTHING_SAID
        told = self._said.get(id(outcome))
        return told[1] if told is not None and told[0] is outcome else self._reported(outcome)

    def _keep(self, repeat: RequestRepeat, client: ClientConnection) -> str:
        """What the lines of requests with this head say of it, and of the address all who send it have."""
        if len(self._asked) >= _MOST_KEPT:
            self._asked.clear()
        who = _who(one_like(repeat), client)
        self._asked[id(repeat)] = repeat, who
        return who

    def _arm(self, known: Known) -> tuple[str, str]:
        """What lines of a unit's requests have in common: of those that follow the first, and of that."""
        arm = _arm(self._agent(), known.placement.decision, known.served)
        known.logged = (f"{_NO_STREAM}{arm}{_PINNED}", f"{_NO_STREAM}{arm}{_BEGAN}")
        return known.logged

    def _reported(self, outcome: Outcome) -> str:
        """What an agent said, kept for the next one who says the same."""
        if len(self._said) >= _MOST_KEPT:
            self._said.clear()
        said = _said(outcome)
        self._said[id(outcome)] = outcome, said
        return said

    def _ended(self, line: Ended) -> str:
        head = line.head
        millisecond = int((line.started + self._worker.epoch) * 1000)
        front = self._front if millisecond == self._millisecond else self._at(millisecond)
        found = trace_or_end(head) if head else None
        trace = None if found is None else found[2]
        nobody = front.removesuffix(f'"{self._prefix}') + "null"
        begun = nobody if line.number is None else f'{front}{line.number:x}"'
        arm = _NO_ARM if line.decision is None else _arm(self._agent(), line.decision, line.served)
        by = "null" if line.decision is None else f'"{line.decision.by}"'
        said = _NOTHING_SAID if line.outcome is None else _said(line.outcome)
        if line.tokens_in is not None or line.tokens_out is not None:
            said = _said_by_model(line.outcome, line.tokens_in, line.tokens_out)
        asked = _asked(head[: head.find(b" HTTP/1.")]) if head else '"method":null,"path":null'
        code = "null" if not line.code or line.verdict == "ok" else json.dumps(line.code)
        return (
            f'{begun},"trace":{_quoted(trace)},'
            f'"client":"{line.client.address}",{asked},"status":{line.status or "null"},"bytes_in":{line.bytes_in},'
            f'"bytes_out":{line.bytes_out},"duration_us":{int(line.seconds * 1e6)},'
            f'"first_byte_us":{_us(line.first_byte)},"first_token_us":{_us(line.first_token)},'
            f'"largest_gap_us":{_us(line.largest_gap)},{arm},"by":{by},"verdict":"{line.verdict}","code":{code},{said}}}\n'
        )

    def _agent(self) -> str:
        return self._worker.serving.table.route.agent


_NOTHING_SAID = '"outcome":null,"tokens_in":null,"tokens_out":null,"cost":null'
_NO_STREAM = ',"first_token_us":null,"largest_gap_us":null,'
_PINNED = ',"by":"pin","verdict":"ok","code":null,'
_BEGAN = ',"by":"hash","verdict":"ok","code":null,'


class _Statuses(dict[bytes, str]):
    """What a line says of a status, by its three digits as they came; made when it is first asked for."""

    def __missing__(self, status: bytes) -> str:
        said = self[status] = f',"status":{int(status)},"bytes_in":'
        return said


_STATUS = _Statuses()
_NO_ARM = '"agent":null,"release":null,"digest":null,"role":null,"assigned":null,"rule":null'


def _us(seconds: float | None) -> str:
    return "null" if seconds is None else str(int(seconds * 1e6))


def _quoted(word: bytes | None) -> str:
    return "null" if word is None else f'"{word.decode()}"'


def _read(sent: bytes | RequestHead, client: ClientConnection) -> tuple[str, int]:
    """The same, and the bytes of the request's body."""
    if isinstance(sent, bytes):
        return _who(sent, client), len(sent) - sent.find(b"\r\n\r\n") - 4
    return _who(sent.raw, client), sent.length


def _who(request: bytes, client: ClientConnection) -> str:
    """What of a line follows the request's number: its trace, its client, and what that asked for."""
    found = trace_or_end(request)
    trace = f'"{found[2].decode()}"' if found is not None and found.lastindex == 2 else "null"
    return f'","trace":{trace},"client":"{client.address}",{_asked(request[: request.find(b" HTTP/1.")])}'


def _asked(line: bytes) -> str:
    """Method and path of a request line, as JSON; without the query, which is long, and each another."""
    return _asked_for(line.partition(b"?")[0][:_MOST_LINE])


@lru_cache(maxsize=1024)
def _asked_for(line: bytes) -> str:
    method, _, path = line.decode("latin-1").partition(" ")
    cut = path if len(path) <= MAX_PATH else path[:MAX_PATH] + "…"
    return f'"method":{json.dumps(method)},"path":{json.dumps(cut)}'


def _arm(agent: str, decision: Decision, served: ArmServing | None) -> str:
    """Which release served, which was assigned when that is another one, and the rule that sent it there."""
    facts: dict[str, Any] = {"agent": agent, "release": None, "digest": None, "role": None}
    assigned = None
    if served is not None:
        arm = served.arm
        facts |= {"release": arm.version, "digest": arm.release, "role": arm.role.value}
    if decision.release is not None and (served is None or served.arm.release != decision.release):
        assigned = decision.release
    return json.dumps({**facts, "assigned": assigned, "rule": decision.rule}, separators=(",", ":"))[1:-1]


def _said(outcome: Outcome) -> str:
    """What an agent said, as JSON."""
    tokens = (outcome.tokens_in, outcome.tokens_out) if outcome.counted else ("null", "null")
    cost = "null" if outcome.cost is None else f"{outcome.cost:f}"
    return f'"outcome":"{outcome.status}","tokens_in":{tokens[0]},"tokens_out":{tokens[1]},"cost":{cost}'


@lru_cache(maxsize=_MOST_KEPT)
def _said_by_usage(used: Usage) -> str:
    """The same where the agent said nothing."""
    return _said_by_model(None, used.tokens_in, used.tokens_out)


def _said_by_model(outcome: Outcome | None, tokens_in: int | None, tokens_out: int | None) -> str:
    """What the agent said, with the tokens its model counted."""
    status = "null" if outcome is None else f'"{outcome.status}"'
    cost = "null" if outcome is None or outcome.cost is None else f"{outcome.cost:f}"
    tokens = ["null" if count is None else str(count) for count in (tokens_in, tokens_out)]
    return f'"outcome":{status},"tokens_in":{tokens[0]},"tokens_out":{tokens[1]},"cost":{cost}'
