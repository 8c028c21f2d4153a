"""An arm's answer on its way to the client: what is taken out of it, and how it is framed anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from fairway.gateway.bodies import AnswerBody
from fairway.gateway.chunks import LAST_CHUNK, as_chunk
from fairway.gateway.framing import CHUNKED, UNTIL_CLOSE, AnswerHead, returned_head
from fairway.gateway.sse import OutcomeFilter
from fairway.gateway.trailers import announced, note_trailers, passed_trailers


class Returning:
    """One answer being passed on.

    Attributes:
        body: What has come of it.
        framing: How the client sees where it ends.
        filter: Takes the outcome out of a stream of events; ``None`` for everything else.
        overheard: Is told the payload that is passed on, when somebody compares it.
    """

    __slots__ = ("_trailers", "answer", "body", "filter", "framing", "overheard")

    def __init__(self, answer: AnswerHead, *, http10: bool, trailers: bool = False) -> None:
        """Decide how it is passed on.

        Args:
            answer: Its head.
            http10: The client knows no chunks.
            trailers: The client reads trailers.
        """
        self.answer = answer
        self._trailers = trailers and answer.length == CHUNKED
        self.body = AnswerBody(answer.length)
        self.filter: OutcomeFilter | None = None
        self.overheard: Callable[[bytes], None] | None = None
        self.framing: Literal["kept", "chunked", "close"] = "kept"
        length = answer.length
        if length and not answer.plain and passes_events(answer):
            self.filter = OutcomeFilter()
        if length == CHUNKED or self.filter is not None:
            self.framing = "close" if http10 or length == UNTIL_CLOSE else "chunked"
        elif length == UNTIL_CLOSE:
            self.framing = "close"

    def head(self, extra: bytes) -> bytes:
        """The head for the client with ``extra`` lines."""
        if self._trailers and (names := announced(self.answer.headers.get(b"trailer", b""))):
            extra += b"trailer: %b\r\n" % names
        return returned_head(self.answer, extra, length=self.framing)

    def passed(self, payload: bytes) -> bytes:
        """Payload as the client gets it: outcome comments taken out, in chunks of ours."""
        complete = self.body.complete
        if complete and self.body.trailers:
            note_trailers(self.answer, self.body)
        if self.filter is not None:
            payload = self.filter.feed(payload)
            if complete:
                payload += self.filter.end()
        if self.overheard is not None:
            self.overheard(payload)
        if self.framing == "chunked":
            payload = as_chunk(payload)
            if complete:
                payload += self._last_chunk()
        return payload

    def _last_chunk(self) -> bytes:
        trailers = passed_trailers(self.body.trailers) if self._trailers else b""
        return b"0\r\n%b\r\n" % trailers if trailers else LAST_CHUNK

    @property
    def between(self) -> bool:
        """Whether it is a stream of events in chunks that stands between two of them, and between two lines."""
        return self.framing == "chunked" and self.filter is not None and self.body.between and self.filter.between

    def rest(self) -> bytes:
        """What was still held back of an answer that ended with its connection."""
        return self.filter.end() if self.filter is not None and self.answer.length == UNTIL_CLOSE else b""


def passes_events(answer: AnswerHead) -> bool:
    """Whether the body is a stream of events that can be read."""
    headers = answer.headers
    events = headers.get(b"content-type", b"")[:17].lower() == b"text/event-stream"
    return events and headers.get(b"content-encoding", b"identity").lower() == b"identity"
