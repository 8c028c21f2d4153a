"""Whether a rule of the table applies to a request, and which headers decide that. Pure.

Order (SPEC H1): header, cookie and gray tag, then tenant and user, region, trace type, feature flag. Rules of one kind
keep the order of the table.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote

from fairway.traffic.facts import Facts, cookie_value
from fairway.traffic.release_pass import RELEASE_HEADER
from fairway.traffic.table import Role, Rule, RuleKind

FLAGS_HEADER = "x-feature-flags"
"""Comma-separated flags of a request, ``name`` or ``name=value``."""

GRAY_TAG = "x-gray-tag"
"""Header, and cookie, that names the lane a request is on."""

GRAY_MEMBERS = ("gray_tag", "trace.gray_tag")
"""Members of W3C ``baggage`` that name it, for requests another agent makes on behalf of one."""

BAGGAGE = "baggage"
MAX_BAGGAGE = 8192
"""Bytes of a ``baggage`` header that is read (W3C Baggage section 3.3.2); of a longer one nothing is."""

_ORDER = {
    RuleKind.RELEASE_HEADER: 0,
    RuleKind.HEADER: 1,
    RuleKind.COOKIE: 1,
    RuleKind.GRAY_TAG: 1,
    RuleKind.BAGGAGE: 1,
    RuleKind.TENANT: 2,
    RuleKind.USER: 2,
    RuleKind.REGION: 3,
    RuleKind.TRACE_TYPE: 4,
    RuleKind.FLAG: 5,
}
_DEFAULT_HEADER = {
    RuleKind.RELEASE_HEADER: RELEASE_HEADER,
    RuleKind.TENANT: "x-tenant",
    RuleKind.USER: "x-user",
    RuleKind.REGION: "x-region",
    RuleKind.TRACE_TYPE: "x-trace-type",
}
_LOOKED_AT = {
    RuleKind.COOKIE: ("cookie",),
    RuleKind.FLAG: (FLAGS_HEADER,),
    RuleKind.GRAY_TAG: (GRAY_TAG, "cookie", BAGGAGE),
    RuleKind.BAGGAGE: (BAGGAGE,),
}


def in_order(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Rules as they are tried."""
    return tuple(sorted(rules, key=lambda rule: _ORDER[rule.kind]))


def header_of(rule: Rule) -> str:
    """Lower-case name of the header a rule looks at, for kinds that look at one whole value."""
    return (rule.name or _DEFAULT_HEADER.get(rule.kind, "")).lower()


def looked_at(rules: tuple[Rule, ...]) -> tuple[str, ...]:
    """Lower-case names of the headers that decide whether any of these rules applies."""
    names = {name for rule in rules for name in _LOOKED_AT.get(rule.kind, (header_of(rule),))}
    return tuple(sorted(names - {""}))


def names_release(rule: Rule) -> bool:
    """Whether a rule's header names any release, as the release header does, and so needs a pass."""
    return rule.kind is RuleKind.RELEASE_HEADER and not rule.values


def match(rule: Rule, facts: Facts) -> Role | None:
    """The role a rule sends the request to, ``None`` when it does not apply. No values: any value matches."""
    if names_release(rule):
        return None
    value = _value(rule, facts)
    if not value:
        return None
    return rule.to if not rule.values or value in rule.values else None


def _value(rule: Rule, facts: Facts) -> str | None:
    if rule.kind is RuleKind.COOKIE:
        return cookie_value(facts, rule.name)
    if rule.kind is RuleKind.FLAG:
        return _flag(facts, rule.name)
    if rule.kind is RuleKind.BAGGAGE:
        return _member(facts, rule.name)
    if rule.kind is RuleKind.GRAY_TAG:
        return _gray_tag(facts)
    return facts.header(header_of(rule))


def _gray_tag(facts: Facts) -> str | None:
    """The lane: by header, else by cookie, else by what the request's trace carries."""
    said = facts.header(GRAY_TAG) or cookie_value(facts, GRAY_TAG)
    return said or next((value for name in GRAY_MEMBERS if (value := _member(facts, name))), None)


def _member(facts: Facts, name: str) -> str | None:
    """Value of a member of W3C ``baggage`` (section 3.3.1), without its properties; the first of that name."""
    header = facts.header(BAGGAGE)
    if header is None or name not in header or len(header) > MAX_BAGGAGE:
        return None
    for part in header.split(","):
        found, equals, value = part.partition("=")
        if equals and found.strip() == name:
            return unquote(value.partition(";")[0].strip())
    return None


def _flag(facts: Facts, name: str) -> str | None:
    for part in (facts.header(FLAGS_HEADER) or "").split(","):
        found, _, value = part.strip().partition("=")
        if found.lower() == name.lower():
            return None if value.lower() in ("off", "false", "0") else value or "on"
    return None
