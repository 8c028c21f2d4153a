"""A trip and a pin are by release: they hold whatever role the next table gives it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.errors import ConflictError
from fairway.gateway.overruling import (
    home_of,
    masked_in,
    narrows,
    overruled,
    pinned_in,
    settled,
    tripped_in,
    unmasked_in,
)
from fairway.gateway.state import LocalDecisions
from fairway.traffic.facts import GivenFacts
from fairway.traffic.fence import Fence
from fairway.traffic.rules import Ruleset
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable, Rule, RuleKind
from fairway.units import AgentName, Digest, EnvironmentName, Parts, RouteId

V1, V2, V3 = (Digest("sha256:" + letter * 64) for letter in "abc")
ROLES = {"s": Role.STABLE, "c": Role.CANDIDATE, "b": Role.BASELINE, "m": Role.SHADOW}


def table(arms: str, *, split: int = 0, masks: tuple[Digest, ...] = (), salt: str = "r-2", seq: int = 1) -> RouteTable:
    """``"1s 2c"``: version 1 is stable, version 2 the candidate."""
    return RouteTable(
        route=RouteId(agent=AgentName("support"), environment=EnvironmentName("production")),
        fence=Fence(term=1, seq=seq),
        arms=tuple(
            Arm(role=ROLES[role], release=(V1, V2, V3)[int(number) - 1], version=number, endpoints=(f"h:{number}",))
            for number, role in arms.split()
        ),
        split=Parts(split),
        salt=salt,
        keys=(KeyExtractor(kind=KeyKind.HEADER, name="x"),),
        masks=masks,
    )


STEPPING = table("1s 2c", split=50_000)
PROMOTING = table("2s 1b", seq=2)
CANDIDATE = STEPPING.arms[1]
TRIPPED = tripped_in(STEPPING, LocalDecisions(), CANDIDATE)
PINNED = pinned_in(STEPPING, LocalDecisions())
MASKED = masked_in(STEPPING, LocalDecisions(), V2)


def served(under: RouteTable, decisions: LocalDecisions) -> set[str]:
    """Versions that 200 new conversations and 50 keyless requests get."""
    ruleset = Ruleset(*overruled(under, decisions))
    asked = [GivenFacts(headers={"x": f"c-{n}"}) for n in range(200)] + [GivenFacts(headers={})] * 50
    found = {ruleset.assign(facts, chance=n * 397 % 100_000).decision.served for n, facts in enumerate(asked)}
    return {arm.version if arm is not None else "nobody" for arm in found}


@pytest.mark.parametrize("decisions", [TRIPPED, PINNED, MASKED], ids=["tripped", "pinned", "masked"])
@pytest.mark.parametrize(
    "later",
    [
        STEPPING,
        replace(STEPPING, fence=Fence(term=1, seq=2), split=Parts(100_000)),
        PROMOTING,
        table("2s 1b", salt="sha256:settled"),
        table("2s 1c", split=30_000, salt="r-3"),
        table("2s 3c 1b", split=30_000, salt="r-3"),
    ],
    ids=["stepping", "at 100 %", "promoting", "settled", "the former stable is asked for", "a third release"],
)
def test_traffic_stays_on_the_release_that_was_stable(later: RouteTable, decisions: LocalDecisions) -> None:
    assert served(later, settled(later, decisions)) == {"1"}


@pytest.mark.parametrize("arms", ["2s 1b", "1b 2s", "2s 3b 1b"])
def test_what_serves_as_stable_has_the_role_of_stable_and_each_release_one_arm(arms: str) -> None:
    under, withheld = overruled(table(arms), TRIPPED)
    stable = under.arm(Role.STABLE)
    assert stable is not None
    assert (stable.release, withheld) == (V1, {V2})
    assert sorted(arm.release for arm in under.arms) == sorted(arm.release for arm in table(arms).arms)


@pytest.mark.parametrize(
    ("later", "cleared"),
    [
        (replace(STEPPING, fence=Fence(term=1, seq=2)), False),
        (PROMOTING, False),
        (table("1s 2c", split=50_000, salt="r-9"), False),
        (table("2s", salt="r-9"), False),
        (replace(STEPPING, masks=(V2,), split=Parts(0)), True),
        (table("1s", masks=(V2,)), True),
        (table("1s 3c", split=10, salt="r-9"), True),
    ],
    ids=["a later step", "promoting", "new rollout of it", "only it", "masked", "dropped", "new rollout without it"],
)
def test_a_trip_ends_when_the_controllers_table_took_the_release_away(later: RouteTable, cleared: bool) -> None:
    assert (settled(later, TRIPPED).tripped is None) is cleared


@pytest.mark.parametrize(
    "later", [PROMOTING, table("1s", masks=(V2,)), table("3s", salt="r-9")], ids=["promoting", "dropped", "other"]
)
def test_a_pin_is_ended_by_no_table(later: RouteTable) -> None:
    assert settled(later, PINNED) == PINNED


def test_a_pin_means_what_serves_as_stable_when_it_is_said() -> None:
    both = pinned_in(PROMOTING, TRIPPED)
    assert both.pinned_to == V1, "not the release it tripped away from, though the table calls that stable"
    assert pinned_in(PROMOTING, PINNED) == PINNED


def test_a_pin_from_before_there_was_a_table_means_the_first_one() -> None:
    early = pinned_in(None, LocalDecisions())
    assert (early.pinned, early.pinned_to) == (True, None)
    assert settled(STEPPING, early).pinned_to == V1


@pytest.mark.parametrize("gone", [table("2s"), table("2s 1b", masks=(V1,))], ids=["gone", "masked"])
@pytest.mark.parametrize("decisions", [TRIPPED, PINNED, MASKED], ids=["tripped", "pinned", "masked"])
def test_when_the_controller_took_the_other_release_away_the_table_is_served(
    gone: RouteTable, decisions: LocalDecisions
) -> None:
    home = home_of(gone, decisions)
    assert home is not None
    assert home.release == V2


def test_while_the_remembered_release_restarts_nobody_serves_rather_than_the_one_it_tripped_away_from() -> None:
    restarting = replace(PROMOTING, arms=(PROMOTING.arms[0], replace(PROMOTING.arms[1], endpoints=())))
    assert served(restarting, TRIPPED) == {"nobody"}
    assert served(restarting, PINNED) == {"nobody"}


RULES = (Rule(id="r", kind=RuleKind.TENANT, name="", values=("a",), to=Role.CANDIDATE),)


@pytest.mark.parametrize(
    ("kept", "table", "narrow"),
    [
        (STEPPING, replace(STEPPING, split=Parts(40_000)), True),
        (STEPPING, replace(STEPPING, split=Parts(0), masks=(V2,)), True),
        (STEPPING, table("1s", masks=(V2,)), True),
        (STEPPING, replace(STEPPING, arms=(STEPPING.arms[0], replace(CANDIDATE, endpoints=("h:9",)))), True),
        (PROMOTING, table("1s", masks=(V2,)), True),
        (PROMOTING, table("2s"), True),
        (STEPPING, replace(STEPPING, split=Parts(50_001)), False),
        (STEPPING, replace(STEPPING, salt="r-3"), False),
        (STEPPING, replace(STEPPING, rules=RULES), False),
        (STEPPING, replace(STEPPING, mirror=Parts(1)), False),
        (STEPPING, table("1s 3c", split=10), False),
        (STEPPING, PROMOTING, False),
        (STEPPING, table("2s"), False),
        (replace(STEPPING, split=Parts(0), masks=(V2,)), STEPPING, False),
        (table("1s"), table("1s 2c"), False),
    ],
    ids=[
        "lower", "rolled back", "gone", "restarted", "back from promoting", "warm ended", "higher", "other units",
        "a rule", "mirror", "another candidate", "promoting", "promoted", "unmasked", "a candidate appears",
    ],
)  # fmt: skip
def test_only_a_table_that_takes_away_may_be_acknowledged_before_it_is_on_disk(
    kept: RouteTable, table: RouteTable, narrow: bool
) -> None:
    assert narrows(table, kept) is narrow


MIRRORING = replace(table("1s 2m"), mirror=Parts(10_000))


def test_a_shadow_never_serves_as_stable_whatever_was_pinned_or_tripped() -> None:
    pinned = LocalDecisions(pinned=True, pinned_to=V2)  # it was stable once, and is rolled out anew
    assert served(MIRRORING, pinned) == {"1"}
    assert home_of(MIRRORING, pinned) == MIRRORING.arms[0]
    assert served(MIRRORING, LocalDecisions(tripped=V1, tripped_to=V2)) == {"1"}


@pytest.mark.parametrize("decisions", [LocalDecisions(pinned=True, pinned_to=V1), LocalDecisions(tripped=V2)])
def test_a_pin_and_a_trip_keep_copies_from_the_shadow_too(decisions: LocalDecisions) -> None:
    under, withheld = overruled(MIRRORING, decisions)
    assert V2 in withheld
    assert under.mirror == MIRRORING.mirror, "the table is as it was; the gateway withholds"


def test_the_end_of_a_mirror_may_be_acknowledged_before_it_is_on_disk_its_begin_may_not() -> None:
    without = table("1s", seq=2)
    assert narrows(without, MIRRORING)
    assert narrows(replace(MIRRORING, mirror=Parts(0)), MIRRORING)
    assert not narrows(MIRRORING, without)
    assert not narrows(replace(MIRRORING, mirror=Parts(20_000)), MIRRORING)


def test_a_masked_release_is_assigned_as_ever_and_what_it_does_not_serve_counts_against_it() -> None:
    ruleset = Ruleset(*overruled(table("1s 2c", split=100_000), MASKED))
    decision = ruleset.assign(GivenFacts(headers={"x": "c"}), chance=0).decision
    assert (decision.release, decision.moved) == (V2, True)
    assert decision.served is not None
    assert decision.served.release == V1


@pytest.mark.parametrize("later", [STEPPING, PROMOTING, table("1s 2c", masks=(V2,)), table("1s"), table("3s")])
def test_a_mask_is_ended_by_no_table(later: RouteTable) -> None:
    assert settled(later, MASKED).masked == (V2,)


def test_a_mask_ends_by_the_word_of_a_person_and_leaves_the_others() -> None:
    both = masked_in(table("1s 2c 3b"), MASKED, V3)
    assert (both.masked, both.masked_to) == ((V2, V3), V1)
    assert served(table("3s 2c 1b", split=50_000), both) == {"1"}
    assert unmasked_in(both, V3) == MASKED
    assert unmasked_in(MASKED, V2) == LocalDecisions()
    assert served(STEPPING, unmasked_in(MASKED, V2)) == {"1", "2"}


@pytest.mark.parametrize("decisions", [LocalDecisions(), MASKED, TRIPPED], ids=["none", "masked", "tripped"])
def test_what_serves_as_stable_cannot_be_masked(decisions: LocalDecisions) -> None:
    home = home_of(STEPPING, decisions)
    assert home is not None
    with pytest.raises(ConflictError, match="serves as stable"):
        masked_in(STEPPING, decisions, home.release)


def test_a_masked_release_that_is_all_there_is_serves_rather_than_nobody() -> None:
    assert served(table("2s"), MASKED) == {"2"}


def test_no_more_releases_are_masked_than_can_be_told() -> None:
    decisions = LocalDecisions()
    with pytest.raises(ConflictError, match="masked already"):  # noqa: PT012 - it is the last of them that fails
        for number in range(40):
            decisions = masked_in(STEPPING, decisions, Digest(f"sha256:{number}"))
    assert len(decisions.masked) == 32


@given(st.sets(st.sampled_from([V1, V2, V3])), st.sampled_from([None, V1, V2, V3]), st.booleans())
def test_what_the_gateway_decides_by_itself_outlives_it(masked: set[str], tripped: str | None, pinned: bool) -> None:
    to = V1 if pinned else None
    decisions = LocalDecisions(
        pinned=pinned, pinned_to=to, tripped=tripped, masked=tuple(sorted(masked)), masked_to=V1 if masked else None
    )
    assert LocalDecisions.from_wire(json.loads(json.dumps(asdict(decisions)))) == decisions
