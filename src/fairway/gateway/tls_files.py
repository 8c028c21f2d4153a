"""The certificate in force and the one on disk, which is read when it changes, and taken only when it serves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any

from fairway.gateway.tls import Certificate, KeyPair, TlsError, TlsFiles, inspect, read_pair

log = logging.getLogger("fairway.gateway")

LOOK_SECONDS = 1.0
"""How often the files are looked at."""


class TlsKeeper:
    """The pair that workers serve with.

    Attributes:
        pair: In force.
        certificate: What it says.
        error: Why what is on disk is not in force; ``None`` when it is.
        reloads: Pairs put in force since the start, by whether they were: ``ok``, ``failed``.
    """

    def __init__(self, files: TlsFiles) -> None:
        """Read the files.

        Raises:
            TlsError: When they do not serve.
        """
        self._files = files
        self._stamp = self._seen = files.stamp()
        self.pair, self.certificate = _usable(files)
        self.error: str | None = None
        self.reloads = {"ok": 0, "failed": 0}

    def look(self, *, now: bool = False) -> bool:
        """Whether another pair is in force from now on.

        Two files are hardly replaced at once, so a change is read when it has stood for one look.

        Args:
            now: Read the files though nothing seems to have changed, or only just.
        """
        stamp = self._files.stamp()
        settled, self._seen = stamp == self._seen, stamp
        if not now and (stamp == self._stamp or not settled):
            return False
        self._stamp = stamp
        try:
            pair, certificate = _usable(self._files)
        except TlsError as error:
            self.error = error.message
            self.reloads["failed"] += 1
            log.error("the certificate in force stays: %s", error.message)
            return False
        self.error = None
        if pair == self.pair:
            return False
        self.pair, self.certificate = pair, certificate
        self.reloads["ok"] += 1
        log.info("a new certificate is in force, for %s", ", ".join(certificate.names) or "nobody")
        return True

    async def look_forever(self, changed: Callable[[], None]) -> None:
        """Look now and then, and say so when another pair is in force."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self.look():
                changed()

    def gauges(self) -> Iterator[tuple[str, str, str, dict[str, str], float]]:
        """For ``/metrics``: name, type, help, labels, value."""
        text = "When the certificate in force expires, epoch seconds."
        yield "fairway_gateway_tls_not_after_seconds", "gauge", text, {}, self.certificate.not_after
        text = "1 while the certificate on disk does not serve, and an older one stays in force."
        yield "fairway_gateway_tls_stale", "gauge", text, {}, int(self.error is not None)
        text = "Certificates read again, by whether they were put in force."
        for result, count in self.reloads.items():
            yield "fairway_gateway_tls_reloads_total", "counter", text, {"result": result}, count

    def status(self) -> dict[str, Any]:
        """For people."""
        return {
            "names": list(self.certificate.names),
            "not_after": self.certificate.not_after,
            "error": self.error,
            "reloads": dict(self.reloads),
        }


def _usable(files: TlsFiles) -> tuple[KeyPair, Certificate]:
    """What is on disk.

    Raises:
        TlsError: When it does not serve; names the file to change.
    """
    try:
        pair = read_pair(files)
        return pair, inspect(pair)
    except TlsError as error:
        path = str(files.certificate if error.part == "certificate" else files.key)
        if path in error.message:
            raise
        raise TlsError(f"{path}: {error.message}", part=error.part, hint=error.hint or "") from error
