"""Requests that did not take the short way, noted for the access log."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from fairway.gateway.access_log import Ended
from fairway.gateway.reading import StreamReading

if TYPE_CHECKING:
    from fairway.gateway.client import ClientConnection
    from fairway.gateway.framing import RefusalError
    from fairway.gateway.recording import Recording


def note_ended(exchange: Recording, verdict: str, code: str, status: int) -> None:
    """Note a request whose answer has ended.

    Args:
        exchange: It.
        verdict: What became of it.
        code: Why.
        status: Of the gateway's own answer; 0: it gave none.
    """
    log = exchange.client.worker.access_log
    if log is None:
        return
    answer, reading, outcome, usage = exchange.answer, exchange.reading, exchange.outcome, exchange.usage
    counted: tuple[int | None, int | None] = (None, None)
    if outcome is not None and outcome.counted:
        counted = (outcome.tokens_in, outcome.tokens_out)
    elif usage is not None:
        counted = (usage.tokens_in, usage.tokens_out)
    streamed = reading if isinstance(reading, StreamReading) else None
    first_byte = exchange.first_byte
    log.ended(
        Ended(
            started=exchange.started,
            seconds=perf_counter() - exchange.started,
            client=exchange.client,
            number=exchange.number,
            head=exchange.head.raw,
            status=status if answer is None else answer.status,
            bytes_in=exchange.bytes_in,
            bytes_out=exchange.bytes_out,
            first_byte=first_byte - exchange.started if first_byte >= 0 else None,
            first_token=None if streamed is None else streamed.first_token,
            largest_gap=None if streamed is None else streamed.largest_gap,
            decision=exchange.decision,
            served=exchange.served,
            verdict=verdict,
            code=code,
            outcome=outcome,
            tokens_in=counted[0],
            tokens_out=counted[1],
        )
    )


def note_refused(client: ClientConnection, refused: RefusalError, head: bytes = b"") -> None:
    """Note a message that was refused before it was placed; ``head``: its own, as far as that could be read."""
    log = client.worker.access_log
    if log is None:
        return
    now = perf_counter()
    log.ended(
        Ended(
            started=now,
            seconds=0.0,
            client=client,
            number=None,
            head=head,
            status=refused.status,
            bytes_in=0,
            bytes_out=0,
            verdict="refused",
            code=refused.code,
        )
    )
