"""Feature flags: what people set, what is in force, and that a growing share takes nobody's flag away."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.controller.flags import LedgerFlags, flags_reader, settings_of
from fairway.errors import FairwayError
from fairway.flags.values import (
    OFF,
    ON,
    FlagSpec,
    FlagType,
    Setting,
    check_setting,
    format_value,
    guarding,
    in_force,
    parse_value,
    setting_from_wire,
    setting_to_wire,
    standing,
)
from fairway.release.wire import format_time
from fairway.rollout.desired import RoutePolicy, policy_digest
from fairway.traffic.facts import GivenFacts
from fairway.traffic.fence import Fence
from fairway.traffic.flags import TableFlag, flag_lines, is_on
from fairway.traffic.table import Arm, Role, RouteTable
from fairway.units import AgentName, Digest, EnvironmentName, Parts, RouteId

AT = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
PRODUCTION, STAGING = EnvironmentName("production"), EnvironmentName("staging")
REFUNDS = FlagSpec(name="refunds", type=FlagType.SHARE, default=OFF, environments=(PRODUCTION,))
NOBODY = GivenFacts(headers={})


def setting(share: int | None, *, tenant: str = "", flag: str = "refunds", where: str = "production") -> Setting:
    return Setting(
        flag=flag,
        environment=EnvironmentName(where),
        tenant=tenant,
        share=None if share is None else Parts(share),
        actor="ada@example.org",
        at=AT,
        reason="trial",
    )


def force(*settings: Setting, spec: FlagSpec = REFUNDS, where: EnvironmentName = PRODUCTION) -> TableFlag:
    (flag,) = in_force([spec], standing(settings), where, tenant_header="x-tenant")
    return flag


def test_without_a_setting_the_default_is_in_force() -> None:
    assert force().share == OFF
    assert force(spec=FlagSpec(name="refunds", type=FlagType.BOOL, default=ON)).share == ON


def test_the_last_setting_counts_and_one_taken_back_is_gone() -> None:
    assert force(setting(10_000), setting(30_000)).share == 30_000
    assert force(setting(10_000), setting(None)).share == OFF


def test_a_tenants_setting_is_only_its_own() -> None:
    flag = force(setting(0), setting(int(ON), tenant="acme"))
    assert is_on(flag, GivenFacts(headers={"x-tenant": "acme"}), "c-1")
    assert not is_on(flag, GivenFacts(headers={"x-tenant": "other"}), "c-1")
    assert not is_on(flag, NOBODY, "c-1")


def test_a_setting_in_another_environment_or_undeclared_has_no_effect() -> None:
    assert force(setting(int(ON), where="staging")).share == OFF
    assert force(setting(int(ON), where="staging"), where=STAGING).share == OFF, "not declared for staging"
    only = FlagSpec(name="refunds", type=FlagType.BOOL, default=OFF, tenants=("acme",))
    assert force(setting(int(ON), tenant="other"), spec=only).tenants == ()


@given(key=st.text(min_size=1, max_size=20), small=st.integers(0, 100_000), more=st.integers(0, 100_000))
def test_a_growing_share_takes_the_flag_from_nobody(key: str, small: int, more: int) -> None:
    low, high = sorted((small, more))
    before = is_on(TableFlag(name="refunds", share=Parts(low)), NOBODY, key)
    after = is_on(TableFlag(name="refunds", share=Parts(high)), NOBODY, key)
    assert after or not before


def test_a_share_is_the_share_of_conversations_and_of_none_without_a_key() -> None:
    flag = TableFlag(name="refunds", share=Parts(20_000))
    on = sum(is_on(flag, NOBODY, f"c-{n}") for n in range(10_000))
    assert on == pytest.approx(2_000, abs=160)  # 4 standard deviations
    assert not is_on(flag, NOBODY, None)
    assert is_on(TableFlag(name="refunds", share=ON), NOBODY, None)


def test_two_flags_at_the_same_share_are_on_for_different_conversations() -> None:
    one, two = (TableFlag(name=name, share=Parts(50_000)) for name in ("one", "two"))
    both = sum(is_on(one, NOBODY, f"c-{n}") and is_on(two, NOBODY, f"c-{n}") for n in range(10_000))
    assert both == pytest.approx(2_500, abs=175)


def test_every_flag_is_said_to_the_arm_on_or_off() -> None:
    flags = (TableFlag(name="one", share=ON), TableFlag(name="two", share=OFF))
    assert flag_lines(flags, NOBODY, "c-1") == b"x-fairway-flag-one: on\r\nx-fairway-flag-two: off\r\n"


@pytest.mark.parametrize(
    ("spec", "wanted", "code"),
    [
        (REFUNDS, setting(int(ON), where="staging"), "flag_environment"),
        (FlagSpec(name="x", type=FlagType.BOOL, default=OFF), setting(5_000), "flag_value"),
        (
            FlagSpec(name="x", type=FlagType.BOOL, default=OFF, tenants=("acme",)),
            setting(int(ON), tenant="b"),
            "flag_tenant",
        ),
    ],
)
def test_a_setting_the_declaration_does_not_allow_is_refused(spec: FlagSpec, wanted: Setting, code: str) -> None:
    with pytest.raises(FairwayError) as refused:
        check_setting(spec, wanted)
    assert refused.value.code == code


@pytest.mark.parametrize("share", [0, None])
def test_turning_off_and_taking_back_are_allowed_whatever_is_declared(share: int | None) -> None:
    spec = FlagSpec(name="refunds", type=FlagType.BOOL, default=OFF, environments=(STAGING,), tenants=("acme",))
    wanted = setting(share, tenant="gone")
    assert check_setting(spec, wanted) == wanted


def test_turned_off_is_off_where_the_declaration_no_longer_reaches() -> None:
    elsewhere = FlagSpec(name="refunds", type=FlagType.BOOL, default=ON, environments=(STAGING,), tenants=("acme",))
    assert force(setting(0), spec=elsewhere).share == OFF
    assert force(setting(5_000), spec=elsewhere).share == ON, "a share that is not declared for it counts for nothing"
    assert force(setting(0, tenant="gone"), spec=elsewhere).tenants == (("gone", OFF),)


def test_values_are_written_and_read_alike() -> None:
    for text, share in (("on", 100_000), ("OFF", 0), ("10%", 10_000), ("0.005%", 5)):
        assert parse_value(text) == share
        assert parse_value(format_value(share)) == share
    for text in ("maybe", "", "110%", "-1%"):
        with pytest.raises(FairwayError):
            parse_value(text)


def test_a_setting_reads_back_and_a_broken_record_is_no_setting() -> None:
    wire = setting_to_wire(setting(5_000, tenant="acme"))
    assert setting_from_wire(wire, actor="ada@example.org", at=AT) == setting(5_000, tenant="acme")
    for broken in (None, {}, {**wire, "version": 2}, {**wire, "share": 200_000}, {**wire, "share": "lots"}):
        assert setting_from_wire(broken, actor="ada", at=AT) is None


def test_what_turning_off_would_take_back_is_what_is_on_and_off_by_default() -> None:
    specs = [REFUNDS, FlagSpec(name="always", type=FlagType.BOOL, default=ON)]
    assert guarding(specs, standing([]), PRODUCTION) == ()
    assert guarding(specs, standing([setting(1_000)]), PRODUCTION) == ("refunds",)
    assert guarding(specs, standing([setting(1_000, tenant="acme")]), PRODUCTION) == ("refunds",)


def test_a_flag_expires_after_its_day() -> None:
    spec = FlagSpec(name="x", type=FlagType.BOOL, default=OFF, expires=date(2026, 11, 20))
    assert (spec.expired(date(2026, 11, 20)), spec.expired(date(2026, 11, 21))) == (False, True)


# -- in the table and from the ledger --


def table(*flags: TableFlag) -> RouteTable:
    arm = Arm(role=Role.STABLE, release=Digest("sha256:" + "1" * 64), version="1", endpoints=())
    route = RouteId(agent=AgentName("a"), environment=PRODUCTION)
    return RouteTable(route=route, fence=Fence(term=1, seq=1), arms=(arm,), flags=flags)


def test_a_table_carries_its_flags_and_one_without_is_what_older_gateways_read() -> None:
    flagged = table(TableFlag(name="one", share=Parts(5), tenant_header="x-tenant", tenants=(("acme", ON),)))
    assert RouteTable.from_wire(flagged.to_wire()) == flagged
    assert "flags" not in table().to_wire()
    assert RouteTable.from_wire(table().to_wire()) == table()
    for broken in ([{"name": "one"}], [{"name": "one", "share": -1, "tenant_header": "", "tenants": []}], 7):
        with pytest.raises(ValueError, match=r"flag|malformed"):
            RouteTable.from_wire({**table().to_wire(), "flags": broken})


def test_a_flag_is_another_policy_but_not_another_regime() -> None:
    """Both arms get the same flags, so what is counted before and after a toggle can be compared."""
    flag = TableFlag(name="one", share=ON)
    assert policy_digest(RoutePolicy(flags=(flag,))) != policy_digest(RoutePolicy())
    assert table(flag).regime == table().regime


class Row:
    def __init__(self, seq: int, actor: str = "ada@example.org") -> None:
        self.seq, self.actor = seq, actor


class Entry:
    def __init__(self, seq: int, payload: Any) -> None:
        self.row, self.payload = Row(seq), payload


class Chain:
    """An audit chain of flags and of other things."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.length = 0
        self.looks = 0

    def write(self, one: Setting | None) -> None:
        self.length += 1
        if one is not None:
            body = {"at": format_time(one.at), "payload": setting_to_wire(one)}
            self.entries.append(Entry(self.length, body))

    def audit_log(self, after: int | None = 0, limit: int = 200, *, kind: str | None = None) -> list[Entry]:
        assert kind == "flag"
        self.looks += 1
        return [entry for entry in self.entries if entry.row.seq > (after or 0)][:limit]

    def last_row(self) -> int:
        return self.length


def test_settings_are_read_on_from_where_they_were_read_last() -> None:
    chain = Chain()
    read = flags_reader(chain, (REFUNDS,), PRODUCTION, tenant_header="x-tenant")
    assert read()[0].share == 0
    chain.write(setting(1_000))
    for _ in range(700):
        chain.write(None)
    assert read()[0].share == 1_000
    looked = chain.looks
    assert read()[0].share == 1_000
    assert chain.looks == looked, "nothing was written, nothing is read"
    chain.write(setting(None))
    assert read()[0].share == 0


def test_a_thousand_settings_are_all_read() -> None:
    chain = Chain()
    for n in range(1_234):
        chain.write(setting(n))
    assert LedgerFlags(chain).read()["refunds", PRODUCTION, ""].share == 1_233


def test_a_restored_ledger_forgets_what_it_never_had() -> None:
    chain = Chain()
    chain.write(setting(1_000))
    chain.write(setting(2_000))
    flags = LedgerFlags(chain)
    assert flags.read()["refunds", PRODUCTION, ""].share == 2_000
    chain.entries.pop()
    chain.length -= 1
    assert flags.read()["refunds", PRODUCTION, ""].share == 1_000


def test_an_erased_record_leaves_the_flag_as_it_was() -> None:
    assert settings_of([Entry(1, None), Entry(2, {"at": "never", "payload": {}}), Entry(3, {})]) == []
