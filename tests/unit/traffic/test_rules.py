"""SPEC H1 and law 2: who serves, in which order, and that a conversation stays."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.traffic.bucket import bucket, mirror_salt, tag_of, unit_hash
from fairway.traffic.explaining import explain
from fairway.traffic.facts import GivenFacts
from fairway.traffic.fence import Fence
from fairway.traffic.keys import unit_key
from fairway.traffic.matching import looked_at
from fairway.traffic.pin import Pin, release_tag, unit_tag
from fairway.traffic.release_pass import PassSigner, Refusal
from fairway.traffic.rules import Assigned, By, Recall, Ruleset
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable, Rule, RuleKind
from fairway.units import AgentName, Digest, EnvironmentName, Parts, RouteId

OLD, NEW = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
CONVERSATION = KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id")
STABLE = Arm(role=Role.STABLE, release=OLD, version="1.0.0", endpoints=("127.0.0.1:1",))
CANDIDATE = Arm(role=Role.CANDIDATE, release=NEW, version="1.1.0", endpoints=("127.0.0.1:2",))
TABLE = RouteTable(
    route=RouteId(agent=AgentName("support"), environment=EnvironmentName("production")),
    fence=Fence(term=1, seq=1),
    arms=(STABLE, CANDIDATE),
    split=Parts(10_000),
    salt="r-1",
    keys=(CONVERSATION,),
)


PASSES = PassSigner(b"k" * 32, route=str(TABLE.route))


def passed(name: str, *, expires: int = 2**31) -> str:
    return PASSES.sign(name, expires=expires)


def assign(table: RouteTable, told: GivenFacts, *, chance: int = 0, pin: Pin | None = None,
           recall: Recall | None = None) -> Assigned:  # fmt: skip
    rules = Ruleset(table)
    return rules.assign(told, chance=chance, named=rules.named(told, PASSES, 1e9), pin=pin, recall=recall)


def rule(kind: RuleKind, name: str = "", values: tuple[str, ...] = (), to: Role = Role.CANDIDATE) -> Rule:
    return Rule(id=f"{kind.value}-rule", kind=kind, name=name, values=values, to=to)


def facts(path: str = "/", **headers: str) -> GivenFacts:
    return GivenFacts(path=path, headers={name.replace("_", "-"): value for name, value in headers.items()})


def key_with_bucket(below: bool, split: int = 10_000) -> str:
    return next(str(n) for n in range(10_000) if (bucket("r-1", str(n)) < split) is below)


def pin_to(release: str, key: str | None = "c", *, salt: str = "r-1", hashed: bool = True) -> Pin:
    return Pin(release=release_tag(release), salt=tag_of(salt), hashed=hashed, expires=2**31, unit=unit_tag(key))


@pytest.mark.parametrize(
    ("made", "headers"),
    [
        (rule(RuleKind.RELEASE_HEADER, "x-own", ("new",)), {"x-own": "new"}),
        (rule(RuleKind.HEADER, "X-Gray-Tag", ("beta",)), {"x-gray-tag": "beta"}),
        (rule(RuleKind.COOKIE, "trace.gray_tag", ("beta",)), {"cookie": "a=b; trace.gray_tag=beta"}),
        (rule(RuleKind.GRAY_TAG, "", ("beta",)), {"x-gray-tag": "beta"}),
        (rule(RuleKind.GRAY_TAG, "", ("beta",)), {"cookie": "a=b; x-gray-tag=beta"}),
        (rule(RuleKind.GRAY_TAG, "", ("beta",)), {"baggage": "a=b, gray_tag = beta;prop=1 ,c=d"}),
        (rule(RuleKind.GRAY_TAG, "", ("be ta",)), {"baggage": "trace.gray_tag=be%20ta"}),
        (rule(RuleKind.BAGGAGE, "plan", ("gold",)), {"baggage": "userId=1,plan=gold"}),
        (rule(RuleKind.TENANT, "", ("acme",)), {"x-tenant": "acme"}),
        (rule(RuleKind.USER, "", ("ada",)), {"x-user": "ada"}),
        (rule(RuleKind.REGION, "", ("eu",)), {"x-region": "eu"}),
        (rule(RuleKind.TRACE_TYPE, "", ("replay",)), {"x-trace-type": "replay"}),
        (rule(RuleKind.FLAG, "new-agent"), {"x-feature-flags": "other, new-agent=on"}),
    ],
    ids=lambda value: value.kind.value if isinstance(value, Rule) else next(iter(value.values()))[:12],
)
def test_a_rule_fires_on_its_fact_and_only_then(made: Rule, headers: dict[str, str]) -> None:
    table = replace(TABLE, rules=(made,), split=Parts(0))
    fired = assign(table, GivenFacts(headers=headers)).decision
    assert (fired.role, fired.by, fired.rule) == (Role.CANDIDATE, By.RULE, made.id)
    other = assign(table, GivenFacts(headers=dict.fromkeys(headers, "something-else"))).decision
    assert other.rule is None
    assert assign(table, GivenFacts(headers={})).decision.by is By.KEYLESS


def test_rules_are_tried_in_the_order_of_their_kinds_whatever_the_table_says() -> None:
    kinds = [RuleKind.FLAG, RuleKind.TRACE_TYPE, RuleKind.REGION, RuleKind.TENANT, RuleKind.COOKIE]
    names = {RuleKind.FLAG: "f", RuleKind.COOKIE: "c"}
    table = replace(TABLE, rules=tuple(rule(kind, names.get(kind, "")) for kind in kinds))
    headers = {
        "x-feature-flags": "f", "x-trace-type": "t", "x-region": "r", "x-tenant": "t", "cookie": "c=1",
    }  # fmt: skip
    for kind, gone in zip(reversed(kinds), ["cookie", "x-tenant", "x-region", "x-trace-type", ""],
                          strict=True):  # fmt: skip
        assert assign(table, GivenFacts(headers=headers)).decision.rule == f"{kind.value}-rule"
        headers.pop(gone, None)


@pytest.mark.parametrize("name", ["1.1.0", "candidate", NEW])
def test_a_release_header_with_a_pass_needs_no_rule_and_comes_before_all(name: str) -> None:
    table = replace(TABLE, rules=(rule(RuleKind.TENANT, to=Role.STABLE),), split=Parts(0))
    told = GivenFacts(headers={"x-fairway-release": passed(name), "x-tenant": "acme"})
    decision = assign(table, told, pin=pin_to(OLD, None)).decision
    assert (decision.role, decision.by, decision.rule, decision.counts, decision.served) == (
        Role.CANDIDATE, By.RULE, "release-header", False, CANDIDATE,
    )  # fmt: skip


NOT_READY = replace(TABLE, arms=(STABLE, replace(CANDIDATE, endpoints=())))


@pytest.mark.parametrize(
    ("value", "table", "why"),
    [
        ("1.1.0", TABLE, Refusal.PASS_MISSING),
        ("candidate", TABLE, Refusal.PASS_MISSING),
        ("1.1.0; pass", TABLE, Refusal.PASS_MISSING),
        (passed("1.1.0").replace("1.1.0", "1.0.0"), TABLE, Refusal.PASS_INVALID),
        (passed("1.1.0", expires=1_000_000_000), TABLE, Refusal.PASS_EXPIRED),
        (passed("9.9.9"), TABLE, Refusal.RELEASE_UNKNOWN),
        (passed(""), TABLE, Refusal.RELEASE_UNKNOWN),
        (passed("1.1.0"), replace(TABLE, masks=(NEW,)), Refusal.RELEASE_NOT_SERVING),
        (passed("candidate"), NOT_READY, Refusal.RELEASE_NOT_SERVING),
    ],
)
def test_a_release_header_that_is_not_honoured_is_refused_and_never_ignored(
    value: str, table: RouteTable, why: Refusal
) -> None:
    asked = facts(x_fairway_release=value, x_conversation_id=key_with_bucket(below=False))
    decision = assign(table, asked, pin=pin_to(OLD)).decision
    assert (decision.refused, decision.served, decision.release, decision.counts) == (why, None, None, False)


def test_a_rule_without_values_names_releases_only_with_a_pass() -> None:
    table = replace(TABLE, rules=(rule(RuleKind.RELEASE_HEADER, "x-own"),))
    decision = assign(table, facts(x_own=passed("1.1.0"))).decision
    assert (decision.served, decision.rule) == (CANDIDATE, "release_header-rule")
    assert assign(table, facts(x_own="1.1.0")).decision.refused is Refusal.PASS_MISSING


def test_a_release_withheld_by_the_gateway_is_not_reached_with_a_pass() -> None:
    rules = Ruleset(TABLE, frozenset({NEW}))
    told = facts(x_fairway_release=passed("1.1.0"))
    decision = rules.assign(told, chance=0, named=rules.named(told, PASSES, 1e9)).decision
    assert decision.refused is Refusal.RELEASE_NOT_SERVING


SPLITS = st.sampled_from([1_000, 5_000, 10_000, 25_000, 30_000, 50_000, 75_000]) | st.integers(0, 100_000)


@given(st.uuids().map(str), SPLITS, SPLITS)
@settings(max_examples=400)
def test_a_larger_weight_moves_nobody_back(key: str, one: int, other: int) -> None:
    small, large = sorted((one, other))
    told = GivenFacts(headers={"x-conversation-id": key})
    before = assign(replace(TABLE, split=Parts(small)), told).decision.role
    after = assign(replace(TABLE, split=Parts(large)), told).decision.role
    assert not (before is Role.CANDIDATE and after is Role.STABLE)


@given(st.text(min_size=1, max_size=30).filter(str.strip), st.lists(st.integers(0, 100_000), min_size=1, max_size=8))
def test_a_conversation_ends_where_it_began_while_its_release_serves(key: str, splits: list[int]) -> None:
    told = GivenFacts(headers={"x-conversation-id": key})
    first = assign(TABLE, told).decision
    assert first.release is not None
    pin = pin_to(first.release, key)
    for seq, split in enumerate(splits, start=2):
        table = replace(TABLE, split=Parts(split), fence=Fence(term=1, seq=seq))
        for later in (assign(table, told, pin=pin), assign(table, told, recall=lambda _: pin)):
            assert later.decision.release == first.release
            assert later.decision.by is By.PIN
            assert later.decision.counts


def test_a_conversation_stays_when_its_candidate_is_promoted() -> None:
    promoted = replace(TABLE, arms=(replace(CANDIDATE, role=Role.STABLE),), split=Parts(0))
    decision = assign(promoted, facts(x_conversation_id="c"), pin=pin_to(NEW)).decision
    assert (decision.role, decision.release, decision.by) == (Role.STABLE, NEW, By.PIN)


def test_a_conversation_stays_on_a_former_stable_that_is_kept_for_it() -> None:
    kept = [
        Arm(role=Role.BASELINE, release=Digest(f"sha256:{n}" * 8), version=f"0.{n}", endpoints=("h:1",)) for n in (1, 2)
    ]
    table = replace(TABLE, arms=(STABLE, *kept), split=Parts(0))
    for arm in kept:
        assigned = assign(table, facts(x_conversation_id="c"), recall=lambda _, arm=arm: pin_to(arm.release)).decision
        assert (assigned.release, assigned.served, assigned.by) == (arm.release, arm, By.PIN)
    assert assign(table, facts(x_conversation_id="new")).decision.release == OLD


def test_a_conversation_whose_candidate_is_gone_falls_to_stable() -> None:
    rolled_back = replace(TABLE, arms=(STABLE,), split=Parts(0))
    decision = assign(rolled_back, facts(x_conversation_id="c"), pin=pin_to(NEW)).decision
    assert (decision.role, decision.by, decision.fresh) == (Role.STABLE, By.HASH, True)


UNREADY = replace(TABLE, arms=(STABLE, replace(CANDIDATE, endpoints=())))


@pytest.mark.parametrize("ruleset", [Ruleset(TABLE, frozenset({NEW})), Ruleset(UNREADY)], ids=["withheld", "not ready"])
def test_what_stable_serves_for_a_candidate_that_is_not_there_counts_against_the_candidate(ruleset: Ruleset) -> None:
    told = facts(x_conversation_id=key_with_bucket(below=True))
    ruled = Ruleset(replace(ruleset.table, rules=(rule(RuleKind.HEADER, "x-conversation-id"),)), frozenset({NEW}))
    for decision in (
        ruleset.assign(told, chance=0).decision,
        ruleset.assign(told, chance=0, pin=pin_to(NEW, told.headers["x-conversation-id"])).decision,
        ruleset.assign(facts(), chance=0).decision,
        ruled.assign(told, chance=0).decision,
    ):
        assert (decision.role, decision.release) == (Role.CANDIDATE, NEW)
        assert decision.by is By.FALLBACK
        assert decision.served == STABLE
        assert decision.moved
        assert not decision.served_as_assigned


def test_a_split_that_contradicts_the_tables_own_mask_counts_against_the_candidate_too() -> None:
    told = facts(x_conversation_id=key_with_bucket(below=True))
    decision = assign(replace(TABLE, masks=(NEW,)), told).decision
    assert (decision.role, decision.served, decision.moved) == (Role.CANDIDATE, STABLE, True)


@pytest.mark.parametrize(
    "table",
    [replace(TABLE, masks=(NEW,), split=Parts(0)), replace(TABLE, arms=(STABLE,), split=Parts(0))],
    ids=["masked by the table", "gone from the table"],
)
def test_what_a_table_takes_from_a_release_on_purpose_counts_for_stable_and_against_nobody(table: RouteTable) -> None:
    told = facts(x_conversation_id="c", x_tenant="acme")
    ruled = replace(table, rules=(rule(RuleKind.TENANT, "", ("acme",)),))
    for decision in (
        assign(table, told, pin=pin_to(NEW, "c")).decision,
        assign(table, told, recall=lambda _: pin_to(NEW, "c")).decision,
        assign(ruled, told).decision,
    ):
        assert (decision.role, decision.release, decision.served) == (Role.STABLE, OLD, STABLE)
        assert decision.served_as_assigned
        assert not decision.moved


def test_a_conversation_that_had_to_begin_on_stable_ends_there_and_is_no_unit_any_more() -> None:
    ruleset = Ruleset(UNREADY)
    began = ruleset.assign(facts(x_conversation_id=key_with_bucket(below=True)), chance=0).decision
    later = ruleset.afterwards(began)
    assert (began.counts, began.moved) == (True, True)
    assert (later.release, later.served_as_assigned, later.counts, later.moved) == (OLD, True, False, False)


def test_nobody_serves_when_stable_is_masked_too() -> None:
    assert assign(replace(TABLE, masks=(OLD, NEW)), facts(x_conversation_id="c")).decision.served is None


def test_without_any_arm_nobody_serves() -> None:
    decision = assign(replace(TABLE, arms=(), split=Parts(0)), facts(x_conversation_id="c")).decision
    assert decision.release is None
    assert decision.served is None


@pytest.mark.parametrize(
    ("pin", "counts"),
    [
        (pin_to(NEW), True),
        (pin_to(NEW, hashed=False), False),
        (pin_to(NEW, salt="an earlier rollout"), False),
    ],
    ids=["hashed now", "keyless", "other salt"],
)
def test_a_pinned_unit_counts_only_when_hashed_under_the_current_salt(pin: Pin, counts: bool) -> None:
    assert assign(TABLE, facts(x_conversation_id="c"), pin=pin).decision.counts is counts


def test_a_pinned_request_without_a_key_is_no_unit() -> None:
    decision = assign(TABLE, facts(), pin=pin_to(NEW, None)).decision
    assert (decision.by, decision.counts) == (By.PIN, False)


def test_one_conversations_pin_does_not_move_another_that_shares_its_cookie_jar() -> None:
    key = key_with_bucket(below=False)
    for pin in (pin_to(NEW, "another"), pin_to(NEW, None)):
        assert assign(TABLE, facts(x_conversation_id=key), pin=pin).decision.role is Role.STABLE


def test_rule_and_keyless_traffic_stays_out_of_unit_tests() -> None:
    table = replace(TABLE, rules=(rule(RuleKind.TENANT, "", ("acme",)),))
    assert not assign(table, facts(x_tenant="acme", x_conversation_id="c")).decision.counts
    assert not assign(table, facts()).decision.counts


@pytest.mark.parametrize(("chance", "role"), [(9_999, Role.CANDIDATE), (10_000, Role.STABLE)])
def test_keyless_requests_are_split_by_chance(chance: int, role: Role) -> None:
    decision = assign(TABLE, facts(), chance=chance).decision
    assert (decision.role, decision.by) == (role, By.KEYLESS)


def _jwt(claims: dict[str, object]) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"Bearer e30.{body}.c2ln"


@pytest.mark.parametrize(
    ("extractor", "told", "key"),
    [
        (KeyExtractor(kind=KeyKind.HEADER, name="X-User"), facts(x_user="u1"), "u1"),
        (KeyExtractor(kind=KeyKind.COOKIE, name="sid"), facts(cookie='x=1; sid="s 1"'), "s 1"),
        (KeyExtractor(kind=KeyKind.PATH_SEGMENT, name="1"), facts("/threads/t%201/runs"), "t 1"),
        (KeyExtractor(kind=KeyKind.PATH_SEGMENT, name="9"), facts("/threads"), None),
        (KeyExtractor(kind=KeyKind.JWT_CLAIM, name="sub"), facts(authorization=_jwt({"sub": "u7"})), "u7"),
        (KeyExtractor(kind=KeyKind.JWT_CLAIM, name="sub"), facts(authorization="Bearer a.%%.c"), None),
        (KeyExtractor(kind=KeyKind.JWT_CLAIM, name="sub"), facts(authorization=_jwt({"sub": ["no"]})), None),
        (KeyExtractor(kind=KeyKind.ISSUE_COOKIE, name=""), facts(cookie="fairway_unit=abc"), "abc"),
        (KeyExtractor(kind=KeyKind.HEADER, name="x-user"), facts(x_user="x" * 513), None),
        (KeyExtractor(kind=KeyKind.HEADER, name="x-user"), facts(x_user=""), None),
    ],
)
def test_a_key_is_read_from_where_the_table_says(extractor: KeyExtractor, told: GivenFacts, key: str | None) -> None:
    assert unit_key((extractor,), told) == key


def test_extractors_are_tried_in_order() -> None:
    keys = (CONVERSATION, KeyExtractor(kind=KeyKind.HEADER, name="x-user"))
    assert unit_key(keys, facts(x_user="u", x_conversation_id="c")) == "c"
    assert unit_key(keys, facts(x_user="u")) == "u"


def test_explain_names_the_rule_that_fires_and_those_that_did_not() -> None:
    table = replace(TABLE, rules=(rule(RuleKind.REGION, "", ("eu",)), rule(RuleKind.TENANT, "", ("acme",))))
    found = explain(Ruleset(table), facts(x_region="eu", x_conversation_id="c-1"))
    assert found["rule"] == "region-rule"
    assert found["tried"] == [
        {"rule": "tenant-rule", "kind": "tenant", "matched": False},
        {"rule": "region-rule", "kind": "region", "matched": True},
    ]
    assert found["unit"] == unit_hash("c-1")


def test_explain_shows_the_bucket_when_the_hash_decides() -> None:
    found = explain(Ruleset(TABLE), facts(x_conversation_id="c-1"))
    assert (found["bucket"], found["why"]) == (bucket("r-1", "c-1"), "hash")


def test_the_headers_rules_look_at_are_known_beforehand() -> None:
    rules = (
        rule(RuleKind.HEADER, "X-Gray"),
        rule(RuleKind.COOKIE, "c"),
        rule(RuleKind.FLAG, "f"),
        rule(RuleKind.TENANT),
    )
    assert looked_at(rules) == ("cookie", "x-feature-flags", "x-gray", "x-tenant")


SHADOWED = replace(TABLE, arms=(STABLE, replace(CANDIDATE, role=Role.SHADOW)), split=Parts(0), mirror=Parts(50_000))


@pytest.mark.parametrize(
    ("made", "headers", "pin"),
    [
        ((rule(RuleKind.HEADER, "x-a", ("1",), to=Role.SHADOW),), {"x-a": "1"}, None),
        ((), {}, pin_to(NEW)),
    ],
    ids=["rule", "pin"],
)
def test_a_shadow_serves_nobody(made: tuple[Rule, ...], headers: dict[str, str], pin: Pin | None) -> None:
    table = replace(SHADOWED, rules=made)
    found = assign(table, GivenFacts(headers={"x-conversation-id": "c", **headers}), pin=pin)
    assert found.decision.served == STABLE
    assert found.decision.release == OLD, "and it is counted as stable's"
    recalled = Ruleset(table).assign_key("c", lambda unit: pin_to(NEW))
    assert recalled.decision.served == STABLE


@pytest.mark.parametrize("name", ["shadow", "1.1.0", NEW])
def test_no_pass_leads_to_a_shadow(name: str) -> None:
    found = assign(SHADOWED, facts(x_fairway_release=passed(name), x_conversation_id="c"))
    assert (found.decision.served, found.decision.refused) == (None, Refusal.RELEASE_UNKNOWN)


def test_explain_says_whether_a_conversation_is_mirrored() -> None:
    said = {
        str(number): explain(Ruleset(SHADOWED), facts(x_conversation_id=str(number)))["mirrored"]
        for number in range(200)
    }
    assert {key for key, mirrored in said.items() if mirrored} == {
        key for key in said if bucket("r-1/mirror", key) < 50_000
    }
    assert explain(Ruleset(SHADOWED), facts())["mirrored"] is False
    assert explain(Ruleset(replace(SHADOWED, masks=(NEW,))), facts(x_conversation_id="1"))["mirrored"] is False


@given(st.text(min_size=1, max_size=30))
def test_the_mirror_is_another_draw_than_the_split(key: str) -> None:
    assert bucket(mirror_salt("r-1"), key) == bucket("r-1/mirror", key)
    growing = [bucket(mirror_salt("r-1"), key) < share for share in (0, 1_000, 30_000, 100_000)]
    assert growing == sorted(growing), "a larger share only adds conversations"


def test_the_mirror_does_not_follow_the_split() -> None:
    keys = [str(number) for number in range(4_000)]
    both = sum(bucket("r-1", key) < 50_000 and bucket(mirror_salt("r-1"), key) < 50_000 for key in keys)
    assert 850 < both < 1_150, "independent: a quarter, five standard deviations either way"


def test_telemetry_tells_rules_apart_by_their_ids_and_only_so_many() -> None:
    rules = tuple(replace(rule(RuleKind.HEADER, f"x-{n}"), id=f"{n:03}" + "-" * 99) for n in range(40))
    ruleset = Ruleset(replace(TABLE, rules=rules))
    told = [ruleset.assign(GivenFacts(headers={f"x-{n}": "1"}), chance=0).decision.told for n in range(40)]
    assert told[:32] == [f"rule:{n:03}" + "-" * 61 for n in range(32)]
    assert set(told[32:]) == {"rule:other"}
    assert ruleset.assign(facts(x_conversation_id="c"), chance=0).decision.told == "hash"
    masked = Ruleset(replace(TABLE, rules=rules, masks=(NEW,)))
    assert masked.assign(facts(x_1="1"), chance=0).decision.told == "fallback"
