"""The first request of a conversation that this worker does not know: three hashes, the shared memory, a pin."""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING

from fairway.gateway.placing import cookie_tail
from fairway.gateway.serving import MAX_KNOWN, Known, Serving, Start, Unit, know
from fairway.traffic.keys import MAX_KEY_LENGTH
from fairway.traffic.pin import PIN_COOKIE, PIN_HEADER, Pin, PinSigner
from fairway.traffic.rules import Decision

if TYPE_CHECKING:
    from fairway.gateway.mirroring import Mirror
    from fairway.gateway.telemetry import Cell
    from fairway.gateway.worker import Worker

RENEW_SECONDS = 1 / 16
"""Conversations that begin within so long share when they expire."""

_PIN_LINE = f"{PIN_HEADER}: ".encode()
_COOKIE_LINE = f"\r\nset-cookie: {PIN_COOKIE}=".encode()
_NO_TAG, _FIRST_TAG = bytes(4), b"\0\0\0\1"
_unhashed = blake2b(digest_size=8)


def meet(serving: Serving, worker: Worker, key: bytes, started: float) -> tuple[Unit, Start | None] | None:
    """Assign a unit this worker does not know, from its key alone; ``None`` when it takes more than that.

    With how its conversation begins, if it does. Nothing is remembered before :func:`begun`, so that the general way
    can still be taken.

    Args:
        serving: The table in force.
        worker: Remembers conversations.
        key: As its header gives it, without white space around.
        started: ``perf_counter()`` seconds.
    """
    if not 0 < len(key) <= MAX_KEY_LENGTH:
        return None
    mirrored = False
    if serving.mirror is not None or serving.sample is not None:
        if serving.sample is not None and serving.sample.takes(key):
            return None
        mirrored = serving.mirror is not None and (serving.mirror.everybody or serving.mirror.takes(key))
    hashing = _unhashed.copy()
    hashing.update(key)
    digest = hashing.digest()
    now = started + worker.epoch
    found = worker.memory.find(digest, now)
    if found is not None:
        if mirrored:
            return None
        known = serving.recalled.get(found)
        decision = serving.ruleset.by_pin(found[0], found[2]) if known is None else None
        if decision is not None:
            known = _recalled(serving, decision, found)
        if known is not None:
            return Unit(known, digest), None
        if decision is not None:
            return None
    candidate = serving.everybody if serving.salted is None else _below(serving.salted, key, serving.below)
    start = serving.starts.get(candidate)
    if mirrored and not candidate:  # only what begins on stable is copied
        start = _crowded(serving, worker.mirror, now)
    elif start is None or now >= start.renew:
        start = _start(serving, candidate, now)
    return None if start is None else (Unit(start.known, digest), start)


def _below(salted: blake2b, key: bytes, limit: bytes) -> bool:
    """Whether a key's bucket is the candidate's."""
    hashing = salted.copy()
    hashing.update(key)
    return hashing.digest() < limit


def begun(met: tuple[Unit, Start | None], cell: Cell, worker: Worker) -> bytes:
    """Count the first request of a unit that :func:`meet` found; the lines its answer gains.

    When a conversation begins with it, that is remembered, and the lines let the client bring it back.
    """
    unit, start = met
    if start is None:
        cell.quick += 1
        return b""
    cell.begun += 1
    digest = unit.digest
    worker.memory.note(digest, start.release, start.salt, start.expires)
    tag = digest[:4]
    token = worker.signer.sign_for(start.pin, tag if tag != _NO_TAG else _FIRST_TAG)
    return b"".join((_PIN_LINE, token, _COOKIE_LINE, token, start.tail))


def _recalled(serving: Serving, decision: Decision, found: tuple[int, int, int]) -> Known | None:
    """How units go on that the shared memory knows; ``None`` when nobody serves them."""
    known = know(serving, decision, found[1])
    if known is not None:
        if len(serving.recalled) >= MAX_KNOWN:
            serving.recalled.clear()
        serving.recalled[found] = known
    return known


def _crowded(serving: Serving, mirror: Mirror, now: float) -> Start | None:
    """How mirrored conversations begin that there is no room for; ``None`` while there is some."""
    if mirror.room.open and mirror.has_room(serving):
        return None
    start = serving.crowded
    if start is None or now >= start.renew:
        start = _start(serving, False, now)
        if start is None:
            return None
        decision, served = start.known.placement.decision, start.known.served
        known = Known(decision, start.known.expires, served, start.known.thresholds, mirror.crowded(serving))
        start = serving.crowded = replace(start, known=known)
    return start


def _start(serving: Serving, candidate: bool, now: float) -> Start | None:
    """How conversations begin from now on for a moment; ``None`` when not on the assigned arm itself."""
    decision = serving.ruleset.by_hash(candidate=candidate)
    if not decision.served_as_assigned or decision.release is None:
        return None
    until = now + max(1.0, serving.table.pin_seconds)
    known = know(serving, serving.ruleset.afterwards(decision), until)
    if known is None:
        return None
    tag, salt = serving.arms[decision.release].tag, serving.ruleset.salt_tag
    pin = PinSigner.begin(Pin(release=tag, salt=salt, hashed=True, expires=int(until), unit=0))
    tail = cookie_tail(until - now, secure=serving.secure).encode()
    start = Start(
        known=known, renew=now + RENEW_SECONDS, release=tag, expires=int(until), salt=salt, pin=pin, tail=tail
    )
    serving.starts[candidate] = start
    return start
