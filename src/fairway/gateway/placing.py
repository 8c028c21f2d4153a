"""Which arm a request goes to, and what its answer tells the client to bring back next time."""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b
from os import urandom
from random import random
from typing import TYPE_CHECKING

from fairway.gateway.facts import HeadFacts
from fairway.gateway.framing import RequestHead
from fairway.gateway.serving import ArmServing, Known, Placement, Serving, Unit, cookie_told, know, remember
from fairway.traffic.bucket import unit_hash
from fairway.traffic.keys import MAX_KEY_LENGTH
from fairway.traffic.pin import PIN_COOKIE, PIN_HEADER, Pin, sent_pin, unit_tag
from fairway.traffic.rules import Assigned, By
from fairway.units import UnitHash

if TYPE_CHECKING:
    from fairway.gateway.worker import Worker


def place(
    head: RequestHead, serving: Serving, worker: Worker, now: float, body: bytes = b""
) -> tuple[Placement, Known | None]:
    """Place a request; with what is known of its unit from now on.

    Args:
        head: Of the request.
        serving: The table in force.
        worker: Remembers conversations and signs pins.
        now: Epoch seconds.
        body: Its beginning, when the key may stand there.
    """
    if body:
        return _place(HeadFacts(head, body), head, serving, worker, now, b"", serving.known)
    facts = HeadFacts(head)
    line = serving.key_line
    if head.plain:
        at = (
            head.lower.find(line)
            if line and (serving.other_lines is None or not serving.other_lines(head.lower))
            else -1
        )
        if at >= 0:
            at += len(line)
            raw = head.raw[at : head.raw.find(b"\r\n", at)].strip(b" \t")
            return _seen(raw, serving, now) or _place(facts, head, serving, worker, now, raw, serving.known)
    elif (match := serving.usual(head.raw)) is not None:
        _, _, raw, cookie, _ = match.groups()
        if raw and cookie is not None and len(raw) <= MAX_KEY_LENGTH:
            return _place(facts, head, serving, worker, now, raw, serving.with_cookie, cookie_told(cookie))
        if raw and cookie is None:
            return _seen(raw, serving, now) or _place(facts, head, serving, worker, now, raw, serving.known)
    return _place(facts, head, serving, worker, now, b"", serving.known)


def _seen(raw: bytes, serving: Serving, now: float) -> tuple[Placement, Known] | None:
    """Where a unit's requests go that this worker has placed under this table."""
    unit = serving.known.get(raw)
    if unit is None or unit.known.expires <= now:
        return None
    known = unit.known
    key = raw.decode("utf-8", "surrogateescape") if known.counts else None
    return Placement(known.placement.decision, key, b""), known


def _place(
    facts: HeadFacts,
    head: RequestHead,
    serving: Serving,
    worker: Worker,
    now: float,
    seen_as: bytes,
    units: dict[bytes, Unit],
    cookie_seen: bytes | None = None,
) -> tuple[Placement, Known | None]:
    """Place a request that cannot be placed by what is at hand.

    ``seen_as``: what it can be told by from now on, in ``units``; empty when it cannot.
    """
    until = now + max(1.0, serving.table.pin_seconds)

    def recall(unit: UnitHash, /) -> Pin | None:
        nonlocal until
        known = worker.recall(unit, now)
        if known is not None:
            until = known.expires
        return known

    chance = int(random() * 100_000)  # noqa: S311 - a coin for requests without a key, no secret
    sent = named = None
    if not head.plain:  # a plain head has neither a cookie nor a header of the gateway's own
        sent = sent_pin(facts, worker.signer, now)
    if not head.plain or serving.ruleset.named_elsewhere:
        named = serving.ruleset.named(facts, worker.passes, now)
    assigned = serving.ruleset.assign(facts, chance=chance, named=named, pin=sent, recall=recall)
    cookie = b""
    if assigned.decision.why is By.KEYLESS and serving.issue_cookie is not None:
        assigned, cookie = _issue(facts, serving, serving.issue_cookie)
    decision = assigned.decision
    if decision.fresh and decision.release is not None:
        cookie += _begin(assigned, serving, worker, now, until)
    known = None
    if len(seen_as) > MAX_KEY_LENGTH:
        seen_as = b""  # too long for a key, so that what stands elsewhere may have decided
    if seen_as and decision.why in (By.HASH, By.PIN) and assigned.key is not None:
        if sent is not None and decision.why is By.PIN:
            until = min(until, sent.expires)
        known = know(serving, serving.ruleset.afterwards(decision), until)
        if known is not None:
            if overheard(serving, assigned.key.encode("utf-8", "surrogateescape")):
                known.direct = False
            remember(units, seen_as, Unit(known, blake2b(seen_as, digest_size=8).digest(), cookie_seen))
    return Placement(decision, _counted(assigned), cookie), known


def overheard(serving: Serving, key: bytes) -> bool:
    """Whether a conversation is mirrored or sampled, and so never takes the short way."""
    mirror, sample = serving.mirror, serving.sample
    return (mirror is not None and mirror.takes(key)) or (sample is not None and sample.takes(key))


def _counted(assigned: Assigned) -> str | None:
    return assigned.key if assigned.decision.counts else None


def _issue(facts: HeadFacts, serving: Serving, name: str) -> tuple[Assigned, bytes]:
    """Give a keyless client a key for good, and assign it by that."""
    value = urandom(16).hex()
    facts.issue(name, value)
    line = f"set-cookie: {name}={value}{cookie_tail(_YEAR, secure=serving.secure)}"
    return serving.ruleset.assign(facts, chance=0), line.encode()


def _begin(assigned: Assigned, serving: Serving, worker: Worker, now: float, until: float) -> bytes:
    """A conversation begins: remember where, and let the client bring it back.

    One that another arm had to begin stays there, and is no unit any more: its salt is nobody's.
    """
    decision = assigned.decision
    assert decision.release is not None
    arm = serving.arms[decision.release]
    salt = serving.ruleset.salt_tag
    if decision.moved and decision.served is not None:
        arm, salt = serving.arms[decision.served.release], 0
    hashed = decision.why is By.HASH
    pin = Pin(release=arm.tag, salt=salt, hashed=hashed, expires=int(until), unit=unit_tag(assigned.key))
    return _pin_lines(pin, assigned.key, serving, worker, now)


def _pin_lines(pin: Pin, key: str | None, serving: Serving, worker: Worker, now: float) -> bytes:
    """What lets a client bring back where its conversation began, which is remembered as well."""
    if pin.hashed and key is not None:
        worker.memory.remember(unit_hash(key), release=pin.release, salt=pin.salt, expires=pin.expires)
    token = worker.signer.sign(pin)
    tail = cookie_tail(pin.expires - now, secure=serving.secure)
    return f"{PIN_HEADER}: {token}\r\nset-cookie: {PIN_COOKIE}={token}{tail}".encode()


def begun_elsewhere(
    lines: bytes, key: bytes | None, arm: ArmServing, serving: Serving, worker: Worker, now: float
) -> bytes:
    """The lines of a conversation's first answer once another arm gives it: there it stays, and is no unit any more.

    Args:
        lines: As they were meant; unchanged when no conversation begins with this answer.
        key: Of its unit; ``None``: keyless.
        arm: Who serves it.
        serving: The table it was placed by.
        worker: Remembers conversations and signs pins.
        now: Epoch seconds.
    """
    issued, begins, rest = lines.partition(_PIN_LINE)
    meant = worker.signer.read(rest.partition(b"\r\n")[0].decode(), now=now) if begins else None
    if meant is None:
        return lines
    if key is not None:
        for table in (serving, worker.serving):
            table.known.pop(key, None)
            table.with_cookie.pop(key, None)
    text = None if key is None else key.decode("utf-8", "surrogateescape")
    return issued + _pin_lines(replace(meant, release=arm.tag, salt=0), text, serving, worker, now)


def cookie_tail(seconds: float, *, secure: bool) -> str:
    """What follows the value in a cookie line.

    Args:
        seconds: The client keeps it for so long.
        secure: It only brings it back over TLS, as it got it.
    """
    return f"; Path=/; Max-Age={max(1, int(seconds))}; HttpOnly; SameSite=Lax{'; Secure' if secure else ''}\r\n"


_PIN_LINE = f"{PIN_HEADER}: ".encode()
_YEAR = 31_536_000.0  # seconds
