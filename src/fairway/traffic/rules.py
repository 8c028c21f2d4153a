"""Who serves a request: rules, then the pin, then the hash. Pure, and the same in the gateway and in `explain`.

Order (SPEC H1): explicit release header, header and cookie rules, tenant, region, trace type, feature flag, then the
conversation's pin, then ``bucket < split``. Rules of one kind keep the order of the table.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol
from urllib.parse import unquote

from fairway.traffic.bucket import bucket, mirror_salt, tag_of, unit_hash
from fairway.traffic.pin import Pin, release_tag, unit_tag
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable, Rule, RuleKind
from fairway.units import Digest, UnitHash

MAX_KEY_LENGTH = 512
"""Characters; a longer key is no key (the request is keyless)."""

ISSUED_COOKIE = "fairway_unit"
"""Cookie of an ``issue_cookie`` extractor that gives no name."""

RELEASE_HEADER = "x-fairway-release"
"""Names the arm a request must go to; looked at before every rule, whether or not the table has one for it."""

RELEASE_RULE = "release-header"
"""What `explain` calls that rule."""

_ORDER = {
    RuleKind.RELEASE_HEADER: 0,
    RuleKind.HEADER: 1,
    RuleKind.COOKIE: 1,
    RuleKind.TENANT: 2,
    RuleKind.REGION: 3,
    RuleKind.TRACE_TYPE: 4,
    RuleKind.FLAG: 5,
}
_DEFAULT_HEADER = {
    RuleKind.RELEASE_HEADER: RELEASE_HEADER,
    RuleKind.TENANT: "x-tenant",
    RuleKind.REGION: "x-region",
    RuleKind.TRACE_TYPE: "x-trace-type",
}
FLAGS_HEADER = "x-feature-flags"
"""Comma-separated flags of a request, ``name`` or ``name=value``."""


class By(StrEnum):
    """Why a request went where it went."""

    RULE = "rule"
    PIN = "pin"
    HASH = "hash"
    FALLBACK = "fallback"
    KEYLESS = "keyless"


class Facts(Protocol):
    """What is known about a request before it is assigned."""

    @property
    def path(self) -> str:
        """Path without the query."""
        ...

    def header(self, name: str) -> str | None:
        """Value of the first header of that lower-case name."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenFacts:
    """Facts written down: for `explain` and tests. Header names in lower case."""

    path: str = "/"
    headers: Mapping[str, str]

    def header(self, name: str) -> str | None:
        """Value of that header."""
        return self.headers.get(name)


class Recall(Protocol):
    """Where a unit was seen before, if that is remembered."""

    def __call__(self, unit: UnitHash, /) -> Pin | None:
        """The unexpired pin of the unit."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Where a request belongs and who serves it; one value for all requests that are decided alike.

    Attributes:
        role, release: Assigned; what verdicts count it under. ``release`` is ``None`` when no arm has the role.
        served: The arm that serves it: the assigned one, or stable when that one does not take traffic; ``None``
            when nobody can.
        by: Why; ``fallback`` when ``served`` is not what the request asked for by rule, pin or hash.
        why: Why it was assigned, whoever serves it (never ``fallback``).
        rule: Id of the rule that fired.
        counts: Whether the unit takes part in unit tests: assigned by the hash under the current salt.
        fresh: Whether the conversation begins here, so that the answer carries a pin.
        served_as_assigned: Whether the assigned arm itself serves.
        moved: Whether another arm serves because the assigned one is not ready or is kept from traffic: the user gets
            an answer, and the request has failed for the assigned release all the same (intention to treat).
    """

    role: Role
    release: Digest | None
    served: Arm | None
    by: By
    why: By
    rule: str | None
    counts: bool
    fresh: bool
    served_as_assigned: bool
    moved: bool


class Assigned(NamedTuple):
    """A decision and what it was made from.

    Attributes:
        decision: Where the request goes.
        key: Key of the unit; ``None`` when keyless.
        bucket: 0-99,999; ``None`` when neither the hash nor chance decided.
    """

    decision: Decision
    key: str | None = None
    bucket: int | None = None

    @property
    def unit(self) -> UnitHash | None:
        """Hash of the key."""
        return None if self.key is None else unit_hash(self.key)


class Ruleset:
    """A table prepared for assigning: arms by role and tag, rules in order, masks applied, decisions made once.

    A release the *table* masks takes part in nothing on purpose (it is being prepared, or was rolled back): pins and
    rules that name it mean stable, and only a split that contradicts the mask still assigns to it. A release that is
    *withheld* by the gateway alone (it tripped, or a person pinned another one), or that is not ready, is assigned as
    ever; what it does not serve counts against it. An arm of role ``shadow`` serves nobody, whatever a rule, a pin or a
    request says: to all of these it is not there.
    """

    def __init__(self, table: RouteTable, withheld: frozenset[Digest] = frozenset()) -> None:
        """Prepare ``table``; it is not changed.

        Args:
            table: As the controller, or the gateway's parent, wants it served.
            withheld: Releases the gateway keeps from traffic by itself.
        """
        self.table = table
        self._withheld = withheld
        self.salt_tag = tag_of(table.salt)
        self._serving = _serving(table)
        self._arms = {arm.role: arm for arm in reversed(self._serving)}
        self._by_tag = {release_tag(arm.release): arm for arm in self._serving if not self._masked(arm)}
        self._rules = tuple(sorted(table.rules, key=lambda rule: _ORDER[rule.kind]))
        stable = self._arms.get(Role.STABLE)
        self._stable = stable if stable is not None and self._ready(stable) else None
        self._decisions: dict[tuple[Role, Digest | None, By, str | None, bool], Decision] = {}

    def _ready(self, arm: Arm) -> bool:
        return bool(arm.endpoints) and not self._masked(arm) and arm.release not in self._withheld

    def _masked(self, arm: Arm) -> bool:
        return arm.release in self.table.masks

    def assign(self, facts: Facts, *, chance: int, pin: Pin | None = None, recall: Recall | None = None) -> Assigned:
        """Assign one request; total.

        Args:
            facts: Of the request.
            chance: 0-99,999, decides for a request without a key (drawn by the caller, so that this stays pure).
            pin: The valid pin the request brought, if any; ignored when it is another unit's.
            recall: Looks a unit up among those seen before, asked only when no rule and no pin decided.
        """
        named = _named_arm(facts.header(RELEASE_HEADER), self._serving)
        if named is not None:
            return Assigned(self._decide(named, By.RULE, rule=RELEASE_RULE), unit_key(self.table.keys, facts))
        for rule in self._rules:
            target = _match(rule, facts, self._serving)
            if target is not None:
                return Assigned(self._decide(target, By.RULE, rule=rule.id), unit_key(self.table.keys, facts))
        key = unit_key(self.table.keys, facts)
        if pin is not None and pin.release in self._by_tag and pin.unit == unit_tag(key):
            return self._pinned(pin, key)
        if key is None:
            role = Role.CANDIDATE if chance < self.table.split else Role.STABLE
            return Assigned(self._decide(role, By.KEYLESS), None, chance)
        return self.assign_key(key, recall)

    def assign_key(self, key: str, recall: Recall | None = None) -> Assigned:
        """Assign a request that no rule and no pin of its own decides, by its key alone."""
        if recall is not None:
            known = recall(unit_hash(key))
            if known is not None and known.release in self._by_tag:
                return self._pinned(known, key)
        number = bucket(self.table.salt, key)
        role = Role.CANDIDATE if number < self.table.split else Role.STABLE
        return Assigned(self._decide(role, By.HASH, counts=True), key, number)

    def by_hash(self, *, candidate: bool) -> Decision:
        """The decision for a unit whose bucket is below the split, or not."""
        return self._decide(Role.CANDIDATE if candidate else Role.STABLE, By.HASH, counts=True)

    def by_pin(self, release: int, salt: int) -> Decision | None:
        """The decision for a unit known to have begun by the hash on that release (tag) under that salt (tag).

        ``None`` when the release is not to be had any more, so that the hash decides.
        """
        arm = self._by_tag.get(release)
        return None if arm is None else self._decide(arm, By.PIN, counts=salt == self.salt_tag)

    def afterwards(self, decision: Decision) -> Decision:
        """How later requests of a conversation are decided that began with, or was pinned by, ``decision``.

        A conversation that had to begin elsewhere ends there, and has said all it can about the arm it was meant for.
        """
        if decision.fresh and decision.moved and decision.served is not None:
            return self._decide(decision.served, By.PIN)
        arm = next((arm for arm in self._serving if arm.release == decision.release), None)
        return self._decide(arm or decision.role, By.PIN, counts=decision.counts)

    def _pinned(self, pin: Pin, key: str | None) -> Assigned:
        counts = key is not None and pin.hashed and pin.salt == self.salt_tag
        return Assigned(self._decide(self._by_tag[pin.release], By.PIN, counts=counts), key)

    def _decide(self, to: Role | Arm, why: By, *, rule: str | None = None, counts: bool = False) -> Decision:
        """The decision for an arm, or for the first of a role; the same value every time."""
        role, arm = (to.role, to) if isinstance(to, Arm) else (to, self._arms.get(to))
        key = (role, None if arm is None else arm.release, why, rule, counts)
        known = self._decisions.get(key)
        if known is not None:
            return known
        asked = arm
        if why is By.RULE and role is not Role.STABLE and (arm is None or self._masked(arm)):
            role, arm = Role.STABLE, self._arms.get(Role.STABLE)
        served = arm if arm is not None and self._ready(arm) else self._stable
        decision = Decision(
            role=role,
            release=None if arm is None else arm.release,
            served=served,
            by=why if served is asked else By.FALLBACK,
            why=why,
            rule=rule,
            counts=counts,
            fresh=why in (By.HASH, By.KEYLESS),
            served_as_assigned=served is not None and served is arm,
            moved=served is not None and arm is not None and served is not arm,
        )
        self._decisions[key] = decision
        return decision


def assign(
    table: RouteTable, facts: Facts, *, chance: int = 0, pin: Pin | None = None, recall: Recall | None = None
) -> Assigned:
    """Assign one request under ``table``; see :meth:`Ruleset.assign`."""
    return Ruleset(table).assign(facts, chance=chance, pin=pin, recall=recall)


def explain(table: RouteTable, facts: Facts, *, pin: Pin | None = None) -> dict[str, object]:
    """Why a request with these facts goes where it goes, as a JSON-able value: what each rule saw, and the result."""
    assigned = assign(table, facts, pin=pin)
    decision = assigned.decision
    tried: list[dict[str, object]] = []
    for rule in () if decision.rule == RELEASE_RULE else sorted(table.rules, key=lambda item: _ORDER[item.kind]):
        matched = _match(rule, facts, _serving(table))
        tried.append({"rule": rule.id, "kind": rule.kind.value, "matched": matched is not None})
        if matched is not None:
            break
    served = decision.served
    return {
        "fence": str(table.fence),
        "assigned": {"role": decision.role.value, "release": decision.release},
        "served": None
        if served is None
        else {"role": served.role.value, "release": served.release, "version": served.version},
        "by": decision.by.value,
        "why": decision.why.value,
        "rule": decision.rule,
        "tried": tried,
        "key": assigned.key,
        "unit": assigned.unit,
        "bucket": assigned.bucket,
        "split": int(table.split),
        "mirrored": _mirrored(table, assigned),
    }


def _serving(table: RouteTable) -> tuple[Arm, ...]:
    """The arms that may serve somebody."""
    return tuple(arm for arm in table.arms if arm.role is not Role.SHADOW)


def _mirrored(table: RouteTable, assigned: Assigned) -> bool:
    """Whether requests like this are copied to a shadow, provided that the conversation begins now."""
    shadow, decision = table.arm(Role.SHADOW), assigned.decision
    if shadow is None or not shadow.endpoints or shadow.release in table.masks or assigned.key is None:
        return False
    if not (decision.counts and decision.served_as_assigned and decision.role is Role.STABLE):
        return False
    return bucket(mirror_salt(table.salt), assigned.key) < table.mirror


def looked_at(rules: tuple[Rule, ...]) -> tuple[str, ...]:
    """Lower-case names of the headers that decide whether any of these rules applies."""
    names = {
        "cookie"
        if rule.kind is RuleKind.COOKIE
        else FLAGS_HEADER
        if rule.kind is RuleKind.FLAG
        else (rule.name or _DEFAULT_HEADER.get(rule.kind, "")).lower()
        for rule in rules
    }
    return tuple(sorted(names - {""}))


def cookie_value(facts: Facts, name: str) -> str | None:
    """Value of a cookie of the request, ``None`` when it has none of that name."""
    header = facts.header("cookie")
    if header is None or name not in header:
        return None
    for part in header.split(";"):
        found, equals, value = part.strip().partition("=")
        if equals and found == name:
            return value.strip('"')
    return None


def _match(rule: Rule, facts: Facts, arms: tuple[Arm, ...]) -> Role | Arm | None:
    """The role or arm a rule sends the request to, ``None`` when it does not apply. No values: any value matches."""
    if rule.kind is RuleKind.COOKIE:
        value = cookie_value(facts, rule.name)
    elif rule.kind is RuleKind.FLAG:
        value = _flag(facts, rule.name)
    else:
        value = facts.header((rule.name or _DEFAULT_HEADER.get(rule.kind, "")).lower())
    if not value:
        return None
    if rule.kind is RuleKind.RELEASE_HEADER and not rule.values:
        return _named_arm(value, arms)
    return rule.to if not rule.values or value in rule.values else None


def _named_arm(value: str | None, arms: tuple[Arm, ...]) -> Arm | None:
    """The arm a release header names by digest, version or role; a name that is none of these means nothing."""
    if not value:
        return None
    return next((arm for arm in arms if value in (arm.release, arm.version, arm.role.value)), None)


def _flag(facts: Facts, name: str) -> str | None:
    for part in (facts.header(FLAGS_HEADER) or "").split(","):
        found, _, value = part.strip().partition("=")
        if found.lower() == name.lower():
            return None if value.lower() in ("off", "false", "0") else value or "on"
    return None


def unit_key(extractors: tuple[KeyExtractor, ...], facts: Facts) -> str | None:
    """The key of a request's unit by the first extractor that finds one; ``None`` when keyless.

    ``json_pointer`` never finds one here: the gateway reads no bodies unless a later version is told to.
    """
    for extractor in extractors:
        value = _EXTRACT[extractor.kind](extractor.name, facts)
        if value and len(value) <= MAX_KEY_LENGTH:
            return value
    return None


def issued_cookie(extractors: tuple[KeyExtractor, ...]) -> str | None:
    """Name of the cookie to issue to keyless clients; ``None`` when the table asks for none."""
    for extractor in extractors:
        if extractor.kind is KeyKind.ISSUE_COOKIE:
            return extractor.name or ISSUED_COOKIE
    return None


def _path_segment(name: str, facts: Facts) -> str | None:
    segments = facts.path.split("/")[1:]
    index = int(name) if name.isdecimal() else -1
    return unquote(segments[index]) if 0 <= index < len(segments) else None


def _jwt_claim(name: str, facts: Facts) -> str | None:
    """A claim of the bearer token, *unverified*: good enough to split by, never to trust."""
    scheme, _, token = (facts.header("authorization") or "").partition(" ")
    parts = token.split(".")
    if scheme.lower() != "bearer" or len(parts) != 3 or len(parts[1]) > 8192:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None
    value = claims.get(name) if isinstance(claims, dict) else None
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


_EXTRACT: Mapping[KeyKind, Callable[[str, Facts], str | None]] = {
    KeyKind.HEADER: lambda name, facts: facts.header(name.lower()),
    KeyKind.COOKIE: lambda name, facts: cookie_value(facts, name),
    KeyKind.PATH_SEGMENT: _path_segment,
    KeyKind.JWT_CLAIM: _jwt_claim,
    KeyKind.JSON_POINTER: lambda _name, _facts: None,
    KeyKind.ISSUE_COOKIE: lambda name, facts: cookie_value(facts, name or ISSUED_COOKIE),
}
