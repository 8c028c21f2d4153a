"""The short way back: a usual answer is passed on in one piece and counted; see :mod:`quick_request`.

A call more is paid by all traffic, so it is one function.
"""

from __future__ import annotations

from math import inf
from time import perf_counter
from typing import TYPE_CHECKING

from fairway.gateway.access_log import LINE, NOTHING_SAID, asked, said_by
from fairway.gateway.endpoints.verifying import from_another
from fairway.gateway.judging import read_outcome
from fairway.gateway.repeats import CONNECTION, AnswerRepeat, without
from fairway.gateway.shapes import match_answer
from fairway.gateway.usage import usage_at
from fairway.traffic.outcome import OutcomeStatus

if TYPE_CHECKING:
    from fairway.gateway.quick_exchange import QuickExchange
    from fairway.gateway.sending import Sending
    from fairway.gateway.serving import ArmServing
    from fairway.gateway.upstream import Upstream

_OUTCOME = len(b"fairway-outcome:")
_RELEASE = len(b"fairway-release:")
HELD_BYTES = 65_536
"""A body up to this size is waited for before its head is passed on, for at most one sweep."""
MAX_IDLE = 256
"""Open connections to an endpoint that nobody uses at the moment."""


def quick_answer(upstream: Upstream, exchange: Sending | QuickExchange, data: bytes) -> bool:  # noqa: C901 - see above
    """Pass a usual answer on and count it; ``False``, with nothing done, when it is not usual."""
    going = exchange.going
    if going is None:
        return False
    client, known, cell, started, sent, lines, unit, number, _, who, length = going
    worker = client.worker
    if client.close_after or worker.draining:
        return False
    reading, raw, end, size, head, at, outcome, status = upstream.repeat
    if reading is not known.served.reading or len(data) != size or data[:end] != raw or upstream.held:
        whole = read_anew(upstream, exchange, known.served, data, worker.prefix)
        if not whole:
            return whole is not None
        data, size = whole, len(whole)
        _, _, end, _, head, at, outcome, status = upstream.repeat
    if lines:
        client.transport.write(b"".join((head, number, b"\r\n", lines, data[at + 2 :])))
    else:
        client.transport.write(b"".join((head, number, data[at:])))
    now = perf_counter()
    pool = upstream.pool
    idle = pool.idle
    if pool.unusual or len(idle) >= MAX_IDLE or upstream.paused:
        upstream.release(now)
    else:
        upstream.exchange = None
        upstream.idle_since = now
        idle.append(upstream)
    taken = now - started
    micros = int(taken * 1e6)
    try:
        cell.whole[micros] += 1
    except IndexError:
        cell.whole_later[micros] += 1
    if outcome is not None:
        cell.add(outcome)
        if unit is not None:
            if outcome.values or (cell.tells_tokens and outcome.counted):
                cell.valued.append((unit, outcome))
            if outcome.marks or outcome.tokens > known.tokens_above or outcome.iterations > known.iterations_above:
                known.thresholds.mark_outcome(cell, unit, outcome)
    if taken > known.slow_above and unit is not None:
        known.thresholds.mark_times(cell, unit, taken, taken)
    used = None
    if cell.reads_usage and (outcome is None or not outcome.counted):
        used = usage_at(data)
        if used is not None:
            cell.used.append(used)
            if unit is not None and (cell.tells_tokens or known.tokens_above < inf):
                cell.weigh(used, unit, known.thresholds)
    log = worker.access_log
    if log is not None:
        if not who:
            who, length = asked(sent or exchange.head, client)  # type: ignore[union-attr]  # one of them is there
        if now >= log.until:
            log.begin(now)
        arm = known.logged or log.arm(known)
        if lines:
            arm = log.arm_of_first(known)
        if used is not None:
            said = said_by(outcome, used[0], used[1])
        else:
            said = NOTHING_SAID if outcome is None else log.reported(outcome)
        log.lines.append(LINE % (log.front, number, who, status, length, size - end, micros, micros, arm, said))
    client.exchange = None
    if upstream.quick is not None:
        upstream.quick.going = None
    worker.in_flight -= 1
    client.since = now
    if client.buffer or client.held_by:
        client.go_on()
    return True


def read_anew(
    upstream: Upstream, exchange: Sending | QuickExchange, served: ArmServing, data: bytes, prefix: bytes
) -> bytes | None:
    """Read an answer that is not, in one piece, like the one before; the connection knows its head from then on.

    Many arms write a head and a small body one after the other: such a head is kept until its body comes.

    Returns:
        The whole answer; nothing, when its head is kept; ``None``, when it is not usual.
    """
    held = upstream.held
    if held:
        data = held + data
    reading, raw, end, size, *_ = upstream.repeat
    if reading is not served.reading or not data.startswith(raw):
        read = upstream.pool.repeat  # connections to one endpoint keep one head among them
        reading, raw, *_ = read
        if reading is not served.reading or not data.startswith(raw):
            anew = read_answer(data, served, prefix)
            if anew is None:
                return None
            read = upstream.pool.repeat = anew
        upstream.repeat = read
        end, size = read[2:4]
    if len(data) == size:
        upstream.held = b""
        return data
    if len(data) == end and size - end <= HELD_BYTES and exchange.may_hold:
        upstream.held = data
        return b""
    return None


def read_answer(data: bytes, served: ArmServing, prefix: bytes) -> AnswerRepeat | None:
    """A usual answer of an arm, to know its head by when it comes again; ``None`` when it is not usual.

    Its body need not be here. ``prefix``: what the numbers of requests begin with.
    """
    match = match_answer(data)
    if match is None:
        return None
    _, length, _, said, release = match.groups()
    end = match.end()
    if length is None or len(data) - end > int(length):
        return None
    if from_another(release, served.digest):
        return None
    outcome = None
    if said is not None:
        outcome = read_outcome(said)
        if outcome is None or outcome.status is not OutcomeStatus.OK or not served.attested:
            return None
    elif served.attested:
        return None
    head = data[: end - 2]  # before the empty line
    kept = match.start(3)
    if said is not None or kept >= 0 or release is not None:
        lines = [(match.start(5), 5, _RELEASE), (match.start(4), 4, _OUTCOME), (kept, 3, CONNECTION)]
        for start, group, name in sorted(lines, reverse=True):
            if start >= 0:
                head = without(head, match, group, name)
    head = b"".join((head, served.version_line, b"x-fairway-request: ", prefix))
    return served.reading, data[:end], end, end + int(length), head, end - 4, outcome, data[9:12]
