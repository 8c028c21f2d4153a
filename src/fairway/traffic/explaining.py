"""Why a request goes where it goes, told step by step. Pure; decided by the very code that places requests."""

from __future__ import annotations

from typing import Any

from fairway.traffic.bucket import bucket, mirror_salt
from fairway.traffic.facts import Facts
from fairway.traffic.matching import in_order, match, names_release
from fairway.traffic.pin import Pin, release_tag
from fairway.traffic.release_pass import RELEASE_RULE, Named
from fairway.traffic.rules import Assigned, Recall, Ruleset
from fairway.traffic.table import Arm, Role, RouteTable
from fairway.units import UnitHash


def explain(
    ruleset: Ruleset,
    facts: Facts,
    *,
    named: Named | None = None,
    pin: Pin | None = None,
    recall: Recall | None = None,
) -> dict[str, Any]:
    """What each rule saw, what is known of the conversation, and the result, as a JSON-able value.

    ``mirrored`` tells it of a conversation that begins now. Of a request without a key it cannot be known which side
    chance will give it.

    Args:
        ruleset: The table in force, with what the gateway withholds.
        facts: Of the request.
        named: The release it names.
        pin: It brought.
        recall: What is remembered.
    """
    remembered: list[Pin] = []

    def asked(unit: UnitHash, /) -> Pin | None:
        found = None if recall is None else recall(unit)
        if found is not None:
            remembered.append(found)
        return found

    table = ruleset.table
    assigned = ruleset.assign(facts, chance=0, named=named, pin=pin, recall=asked)
    decision = assigned.decision
    chance = assigned.key is None and decision.why == "keyless"
    return {
        "fence": str(table.fence),
        "assigned": {"role": decision.role.value, "release": decision.release},
        "served": _arm(decision.served),
        "by": decision.by.value,
        "why": decision.why.value,
        "rule": decision.rule,
        "refused": None if decision.refused is None else decision.refused.value,
        "named": None if named is None else named.name,
        "tried": [] if decision.rule == RELEASE_RULE else _tried(table, facts),
        "key": assigned.key,
        "unit": assigned.unit,
        "bucket": None if chance else assigned.bucket,
        "split": int(table.split),
        "by_chance": chance,
        "remembered": _began(table, remembered[0]) if remembered else None,
        "brought": None if pin is None else _began(table, pin),
        "mirrored": _mirrored(table, assigned),
    }


def _arm(arm: Arm | None) -> dict[str, str] | None:
    return None if arm is None else {"role": arm.role.value, "release": arm.release, "version": arm.version}


def _tried(table: RouteTable, facts: Facts) -> list[dict[str, object]]:
    tried: list[dict[str, object]] = []
    for rule in in_order(table.rules):
        if names_release(rule):
            continue
        matched = match(rule, facts) is not None
        tried.append({"rule": rule.id, "kind": rule.kind.value, "matched": matched})
        if matched:
            break
    return tried


def _began(table: RouteTable, pin: Pin) -> dict[str, object]:
    """Where a conversation began; its release is ``None`` when the table has it no more."""
    release = next((arm.release for arm in table.arms if release_tag(arm.release) == pin.release), None)
    return {"release": release, "expires": pin.expires}


def _mirrored(table: RouteTable, assigned: Assigned) -> bool:
    """Whether requests like this are copied to a shadow, provided that the conversation begins now."""
    shadow, decision = table.arm(Role.SHADOW), assigned.decision
    if shadow is None or not shadow.endpoints or shadow.release in table.masks or assigned.key is None:
        return False
    if not (decision.counts and decision.served_as_assigned and decision.role is Role.STABLE):
        return False
    return bucket(mirror_salt(table.salt), assigned.key) < table.mirror
