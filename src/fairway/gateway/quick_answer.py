"""The short way back: a usual answer is passed on in one piece and counted; see :mod:`quick_request`.

A call more is paid by all traffic, so it is one function.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from fairway.gateway.access_log import TOGETHER
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
MAX_IDLE = 256
"""Open connections to an endpoint that nobody uses at the moment."""


def quick_answer(upstream: Upstream, exchange: Sending | QuickExchange, data: bytes) -> bool:  # noqa: C901 - see above
    """Pass a usual answer on and count it; ``False``, with nothing done, when it is not usual."""
    client = exchange.client
    known = exchange.known
    worker = client.worker
    if known is None or client.close_after or worker.draining:
        return False
    served = known.served
    arm, raw, size, head, outcome, expected = upstream.repeat
    if arm is not served or expected is not served.attested or not data.startswith(raw) or len(data) != size:
        read = read_answer(data, served)
        if read is None:
            return False
        _, raw, _, head, outcome, _ = upstream.repeat = read
    answer = (head, exchange.cookie, worker.prefix, exchange.number, data[len(raw) :])
    client.transport.write(b"%b%bx-fairway-request: %b%x\r\n\r\n%b" % answer)
    now = perf_counter()
    pool = upstream.pool
    if upstream.closed or upstream.paused or pool.unusual or len(pool.idle) >= MAX_IDLE:
        upstream.release(now)
    else:
        upstream.exchange = None
        upstream.idle_since = now
        pool.idle.append(upstream)
    cell = exchange.cell
    assert cell is not None
    cell.open -= 1
    taken = now - exchange.started
    cell.whole[int(taken * 1e6)] += 1
    unit = exchange.unit
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
            cell.use(used, unit, known.thresholds)
    if worker.access_log is not None:
        lines = worker.access_log.lines
        size = len(data) - len(raw)
        asked = exchange.sent or exchange.head  # type: ignore[union-attr]  # a quick one is never without what was sent
        lines.append(
            (exchange.started, taken, client, exchange.number, known, asked, raw, size, outcome, exchange.cookie, used)
        )
        if len(lines) >= TOGETHER:
            worker.access_log.write()
    client.exchange = exchange.upstream = None
    worker.in_flight -= 1
    client.since = now
    if client.buffer or client.held_by:
        client.go_on()
    return True


def read_answer(data: bytes, served: ArmServing) -> AnswerRepeat | None:
    """A usual answer of an arm, to know its head by when it comes again; ``None`` when it is not usual."""
    match = match_answer(data)
    if match is None:
        return None
    _, length, _, said, release = match.groups()
    end = match.end()
    if length is None or len(data) - end != int(length):
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
    lines = [(match.start(5), 5, _RELEASE), (match.start(4), 4, _OUTCOME), (match.start(3), 3, CONNECTION)]
    for start, group, name in sorted(lines, reverse=True):
        if start >= 0:
            head = without(head, match, group, name)
    return served, data[:end], len(data), head + served.version_line, outcome, served.attested
