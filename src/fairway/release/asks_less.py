"""Where a release asks for less evidence than the one that serves did, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fairway.release.ladder import Rung
from fairway.release.required import Required


def asks_less(
    before: Required, after: Required, *, rungs: Iterable[Rung] = (), rungs_after: Iterable[Rung] = ()
) -> tuple[str, ...]:
    """Kinds of evidence, environments and promises that are no longer asked for; empty when none is.

    Args:
        before: What the release that is stable needed.
        after: What the candidate needs, by its own files.
        rungs: Environments the stable one had to pass first.
        rungs_after: Those of the candidate.
    """
    gone = (f"evidence: {kind} is not needed{_why(after, kind)}" for kind in before.kinds if kind not in after.kinds)
    later = {rung.environment: rung for rung in rungs_after}
    return (*gone, *(words for rung in rungs for words in _rung(rung, later.get(rung.environment))))


def _why(after: Required, kind: str) -> str:
    return f" (switched off: {after.off[kind]})" if kind in after.off else ""


def _rung(before: Rung, after: Rung | None) -> Iterator[str]:
    if after is None:
        yield f"evidence: {before.environment} need not be passed first"
        return
    least, most = before.tool_accuracy, before.latency_p95_ms
    if least is not None and (after.tool_accuracy is None or after.tool_accuracy < least):
        now = "nothing" if after.tool_accuracy is None else f"{after.tool_accuracy:g}"
        yield f"evidence: tool_accuracy of {now} instead of {least:g} in {before.environment}"
    if most is not None and (after.latency_p95_ms is None or after.latency_p95_ms > most):
        now = "anything" if after.latency_p95_ms is None else f"{after.latency_p95_ms:g} ms"
        yield f"evidence: a P95 of {now} instead of {most:g} ms in {before.environment}"
