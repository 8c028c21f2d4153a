"""Which arm a request goes to, and what its answer tells the client to bring back next time."""

from __future__ import annotations

from random import random
from typing import TYPE_CHECKING
from uuid import uuid4

from fairway.gateway.facts import HeadFacts
from fairway.gateway.framing import RequestHead
from fairway.gateway.serving import Known, Placement, Serving, know, known_as, remember
from fairway.traffic.bucket import unit_hash
from fairway.traffic.pin import PIN_COOKIE, PIN_HEADER, Pin, unit_tag
from fairway.traffic.rules import MAX_KEY_LENGTH, Assigned, By, cookie_value
from fairway.units import UnitHash

if TYPE_CHECKING:
    from fairway.gateway.worker import Worker


def place(head: RequestHead, serving: Serving, worker: Worker, now: float) -> tuple[Placement, Known | None]:
    """Place a request; with what is known of its unit from now on.

    Args:
        head: Of the request.
        serving: The table in force.
        worker: Remembers conversations and signs pins.
        now: Epoch seconds.
    """
    line = serving.key_line
    raw = b""
    if head.plain and line and (serving.other_lines is None or serving.other_lines(head.lower) is None):
        at = head.lower.find(line)
        if at >= 0:
            at += len(line)
            raw = head.raw[at : head.raw.find(b"\r\n", at)]
            known = serving.known.get(raw)
            if known is not None and known.expires > now:
                return known.placement, known
    return _place(head, serving, worker, now, raw)


def _place(
    head: RequestHead, serving: Serving, worker: Worker, now: float, raw: bytes
) -> tuple[Placement, Known | None]:
    """Place a request that cannot be placed by what is at hand; ``raw``: its key, when it can be from now on."""
    facts = HeadFacts(head)
    until = now + max(1.0, serving.table.pin_seconds)

    def recall(unit: UnitHash, /) -> Pin | None:
        nonlocal until
        known = worker.recall(unit, now)
        if known is not None:
            until = known.expires
        return known

    chance = int(random() * 100_000)  # noqa: S311 - a coin for requests without a key, no secret
    assigned = serving.ruleset.assign(facts, chance=chance, pin=_sent_pin(facts, head, worker, now), recall=recall)
    cookie = b""
    if assigned.decision.why is By.KEYLESS and serving.issue_cookie is not None:
        assigned, cookie = _issue(facts, serving, serving.issue_cookie)
    decision = assigned.decision
    if decision.fresh and decision.release is not None:
        cookie += _begin(assigned, serving, worker, now, until)
    known = None
    if raw and decision.why in (By.HASH, By.PIN) and assigned.key is not None:
        later = serving.ruleset.afterwards(decision)
        afterwards = Placement(later, assigned.key if later.counts else None, b"")
        known = know(serving, raw, afterwards, until)
    return Placement(decision, _counted(assigned), cookie), known


def meet(serving: Serving, worker: Worker, raw: bytes, now: float) -> tuple[Assigned, Known] | None:
    """Assign a unit this worker does not know, from its key alone; ``None`` when it takes more than that.

    Nothing is remembered before :func:`begin_met`, so that the general way can still be taken.

    Args:
        serving: The table in force.
        worker: Remembers conversations.
        raw: The key as its header gives it.
        now: Epoch seconds.
    """
    key = raw.strip(b" \t").decode("utf-8", "surrogateescape")
    if not 0 < len(key) <= MAX_KEY_LENGTH:
        return None
    pin = worker.recall(unit_hash(key), now)
    assigned = serving.ruleset.assign_key(key, None if pin is None else lambda _: pin)
    decision = assigned.decision
    if decision.served is None or not decision.served_as_assigned:
        return None
    fresh = pin is None or decision.fresh
    until = now + max(1.0, serving.table.pin_seconds) if fresh or pin is None else pin.expires
    afterwards = Placement(serving.ruleset.afterwards(decision), _counted(assigned), b"")
    return assigned, known_as(serving, afterwards, until, decision.served.release)


def begin_met(assigned: Assigned, known: Known, serving: Serving, worker: Worker, raw: bytes, now: float) -> bytes:
    """Keep what :func:`meet` found; the lines for the answer when the conversation begins here."""
    remember(serving, raw, known)
    return _begin(assigned, serving, worker, now, known.expires) if assigned.decision.fresh else b""


def _counted(assigned: Assigned) -> str | None:
    return assigned.key if assigned.decision.counts else None


def _sent_pin(facts: HeadFacts, head: RequestHead, worker: Worker, now: float) -> Pin | None:
    if head.plain:
        return None
    token = facts.header(PIN_HEADER) or cookie_value(facts, PIN_COOKIE)
    return worker.signer.read(token, now=now) if token else None


def _issue(facts: HeadFacts, serving: Serving, name: str) -> tuple[Assigned, bytes]:
    """Give a keyless client a key for good, and assign it by that."""
    value = uuid4().hex
    facts.issue(name, value)
    line = f"set-cookie: {name}={value}; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax\r\n".encode()
    return serving.ruleset.assign(facts, chance=0), line


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
    if hashed and assigned.key is not None:
        worker.memory.remember(unit_hash(assigned.key), release=arm.tag, salt=salt, expires=int(until))
    pin = Pin(release=arm.tag, salt=salt, hashed=hashed, expires=int(until), unit=unit_tag(assigned.key))
    token = worker.signer.sign(pin)
    age = max(1, int(until - now))
    cookie = f"{PIN_COOKIE}={token}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax"
    return f"{PIN_HEADER}: {token}\r\nset-cookie: {cookie}\r\n".encode()
