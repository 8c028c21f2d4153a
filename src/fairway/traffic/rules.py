"""Who serves a request: rules, then the pin, then the hash. Pure, and the same in the gateway and in `explain`.

Order (SPEC H1): explicit release header with a pass, header, cookie and gray tag, tenant and user, region, trace type,
feature flag, then the conversation's pin, then ``bucket < split``. Rules of one kind keep the order of the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from fairway.traffic.bucket import bucket, tag_of, unit_hash
from fairway.traffic.facts import Facts
from fairway.traffic.keys import unit_key
from fairway.traffic.matching import header_of, in_order, match, names_release
from fairway.traffic.pin import Pin, release_tag, unit_tag
from fairway.traffic.release_pass import RELEASE_HEADER, RELEASE_RULE, Named, PassSigner, Refusal
from fairway.traffic.table import Arm, Role, RouteTable
from fairway.units import Digest, UnitHash

MAX_RULES_TOLD, MAX_RULE_TOLD = 32, 64
"""Rules of a table that telemetry tells apart, the first ones in the order they are tried, and characters of their ids;
the others are one: ``rule:other``."""


class By(StrEnum):
    """Why a request went where it went."""

    RULE = "rule"
    PIN = "pin"
    HASH = "hash"
    FALLBACK = "fallback"
    KEYLESS = "keyless"


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
        named: Whether the request names the release, and so is served by that one or by nobody.
        refused: Why nobody serves a request that names a release; ``None`` for all others.
        told: What telemetry counts it by: ``by``, and of a rule also its id.
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
    named: bool = False
    refused: Refusal | None = None
    told: str = ""


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

    A request that names a release is served by that one or by nobody, and counts for and against nobody then.
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
        self._serving = tuple(arm for arm in table.arms if arm.role is not Role.SHADOW)
        self._arms = {arm.role: arm for arm in reversed(self._serving)}
        self._by_tag = {release_tag(arm.release): arm for arm in self._serving if not self._masked(arm)}
        self._rules = in_order(table.rules)
        ids = (RELEASE_RULE, *(rule.id for rule in self._rules[:MAX_RULES_TOLD]))
        self._ids = {rule: rule[:MAX_RULE_TOLD] for rule in ids}
        own = ((header_of(rule), rule.id) for rule in self._rules if names_release(rule))
        self._naming = ((RELEASE_HEADER, RELEASE_RULE), *own)
        self.named_elsewhere = len(self._naming) > 1
        """Whether a header of another name than the gateway's own names releases too."""
        stable = self._arms.get(Role.STABLE)
        self._stable = stable if stable is not None and self._ready(stable) else None
        self._decisions: dict[tuple[Role, Digest | None, By, str | None, bool, bool], Decision] = {}

    def _ready(self, arm: Arm) -> bool:
        return bool(arm.endpoints) and not self._masked(arm) and arm.release not in self._withheld

    def _masked(self, arm: Arm) -> bool:
        return arm.release in self.table.masks

    def named(self, facts: Facts, passes: PassSigner, now: float) -> Named | None:
        """What release the request names, and whether it may; ``None`` when it names none.

        Args:
            facts: Of the request.
            passes: Reads the passes of this table's route.
            now: Epoch seconds.
        """
        for header, rule in self._naming:
            value = facts.header(header)
            if value is not None:
                return passes.read(value, now=now, rule=rule)
        return None

    def assign(
        self,
        facts: Facts,
        *,
        chance: int,
        named: Named | None = None,
        pin: Pin | None = None,
        recall: Recall | None = None,
    ) -> Assigned:
        """Assign one request; total.

        Args:
            facts: Of the request.
            chance: 0-99,999, decides for a request without a key (drawn by the caller, so that this stays pure).
            named: The release it names, by :meth:`named`.
            pin: The valid pin the request brought, if any; ignored when it is another unit's.
            recall: Looks a unit up among those seen before, asked only when no rule and no pin decided.
        """
        if named is not None:
            return Assigned(self._by_name(named), unit_key(self.table.keys, facts))
        for rule in self._rules:
            target = match(rule, facts)
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

    def _told(self, why: By, rule: str | None) -> str:
        return why.value if rule is None else f"rule:{self._ids.get(rule, 'other')}"

    def _by_name(self, named: Named) -> Decision:
        """The decision for a request that names a release: that one, ready, or nobody."""
        arms, name = self._serving, named.name
        arm = next((arm for arm in arms if name and name in (arm.release, arm.version, arm.role.value)), None)
        refused = named.refusal
        if refused is None and arm is None:
            refused = Refusal.RELEASE_UNKNOWN
        elif refused is None and arm is not None and not self._ready(arm):
            refused = Refusal.RELEASE_NOT_SERVING
        if arm is not None and refused is None:
            return self._decide(arm, By.RULE, rule=named.rule, named=True)
        return Decision(
            role=Role.STABLE,
            release=None,
            served=None,
            by=By.RULE,
            why=By.RULE,
            rule=named.rule,
            counts=False,
            fresh=False,
            served_as_assigned=False,
            moved=False,
            named=True,
            refused=refused,
        )

    def _pinned(self, pin: Pin, key: str | None) -> Assigned:
        counts = key is not None and pin.hashed and pin.salt == self.salt_tag
        return Assigned(self._decide(self._by_tag[pin.release], By.PIN, counts=counts), key)

    def _decide(
        self, to: Role | Arm, why: By, *, rule: str | None = None, counts: bool = False, named: bool = False
    ) -> Decision:
        """The decision for an arm, or for the first of a role; the same value every time."""
        role, arm = (to.role, to) if isinstance(to, Arm) else (to, self._arms.get(to))
        key = (role, None if arm is None else arm.release, why, rule, counts, named)
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
            named=named,
            told=self._told(why, rule) if served is asked else By.FALLBACK.value,
        )
        self._decisions[key] = decision
        return decision
