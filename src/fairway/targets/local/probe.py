"""Asking an instance whether it is ready, and which release it is."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

import httptools

from fairway.targets.port import AttestedBy
from fairway.units import Digest, short

_BODY_LIMIT = 65_536  # bytes; a ready path has no reason to say more
_HTTP_OK = 200
_SERVER_ERROR = 500


class ProbeError(Exception):
    """No usable answer; the message says why, for people.

    Attributes:
        advice: What to change when it stays so; empty when nothing more is known.
    """

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        self.advice = advice


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back; ``body`` is cut at 64 KiB."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """What an answer at the ready path means.

    Attributes:
        reported: The release digest it named, matching or not.
        detail: Why it is not ready; empty when it is.
        advice: What to change when it stays so; empty when nothing more is known.
    """

    ready: bool
    attested_by: AttestedBy = AttestedBy.SUPERVISOR
    reported: Digest | None = None
    detail: str = ""
    advice: str = ""


class _Collector:
    """Callbacks of the HTTP parser."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.complete = False

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body."""
        self.body += data

    def on_message_complete(self) -> None:
        """Note the end."""
        self.complete = True


async def fetch(host: str, port: int, path: str, *, timeout: float) -> Answer:  # noqa: ASYNC109 - the limit is the point
    """GET a path on a fresh connection within ``timeout`` seconds.

    Raises:
        ProbeError: When there is no HTTP answer in time.
    """
    try:
        async with asyncio.timeout(timeout):
            return await _fetch(host, port, path)
    except TimeoutError:
        raise ProbeError(f"GET {path} gave no answer within {timeout:g} s") from None
    except ConnectionRefusedError:
        raise ProbeError(
            f"nothing listens on {host}:{port} yet",
            advice="service.command in fairway.yaml has to make it listen on {host}:{port}, as given to it",
        ) from None
    except (OSError, httptools.HttpParserError) as error:
        raise ProbeError(f"GET {path} failed: {str(error) or type(error).__name__}") from error


async def _fetch(host: str, port: int, path: str) -> Answer:
    """The exchange itself, without a time limit."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
        writer.write(request.encode("ascii", "replace"))
        collector = _Collector()
        parser = httptools.HttpResponseParser(collector)
        while not collector.complete and len(collector.body) < _BODY_LIMIT:
            data = await reader.read(16_384)
            if not data:
                break
            parser.feed_data(data)
        status = parser.get_status_code()
        if not status:
            raise ProbeError(f"GET {path}: the connection was closed without an answer")
        return Answer(status=status, body=bytes(collector.body[:_BODY_LIMIT]))
    finally:
        writer.close()


def judge(answer: Answer, *, path: str, release: Digest, effective: Digest) -> Readiness:
    """Whether an answer at the ready path says that this release is ready.

    200 naming both digests is attested by the arm, 200 with anything else by the supervisor; a digest that differs is
    not ready, whatever else is said.
    """
    if answer.status != _HTTP_OK:
        advice = (
            "" if answer.status >= _SERVER_ERROR else f"service.ready in fairway.yaml says {path}: is that its path?"
        )
        return Readiness(ready=False, detail=f"GET {path} answered {answer.status}", advice=advice)
    try:
        said = json.loads(answer.body)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        said = {}
    reported = said.get("release")
    reported_effective = said.get("effective")
    named = Digest(reported) if isinstance(reported, str) else None
    if named is not None and named != release:
        detail = f"serves release {short(named)}, not {short(release)}, which it was started for"
        return Readiness(ready=False, attested_by=AttestedBy.ARM, reported=named, detail=detail)
    if isinstance(reported_effective, str) and reported_effective != effective:
        detail = f"serves configuration {short(reported_effective)}, not {short(effective)}"
        return Readiness(ready=False, attested_by=AttestedBy.ARM, reported=named, detail=detail)
    attested = named is not None and isinstance(reported_effective, str)
    by = AttestedBy.ARM if attested else AttestedBy.SUPERVISOR
    return Readiness(ready=True, attested_by=by, reported=named)
