"""Who did it: named only when the evidence names one, and unknown otherwise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.incident.suspects import CAUSES, Located, can_cause, locate
from fairway.observe.fold import ArmBlock, Block
from fairway.release.values import Component
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role
from fairway.units import Digest

BAD, GOOD = Digest("sha256:" + "c" * 64), Digest("sha256:" + "b" * 64)
CODE, PROMPTS, MODELS, TOOLS = Component.CODE, Component.PROMPTS, Component.MODELS, Component.TOOLS


def arm(role: Role, requests: int = 100, **failures: int) -> ArmBlock:
    exemplars = [
        {
            "request": f"{code}-{n}",
            "status": code.removeprefix("status_") if "status" in code else "200",
            "reason": code,
        }
        for code, count in failures.items()
        for n in range(count)
    ]
    failed = sum(failures.values())
    return ArmBlock(role=role, assigned=requests, finished=requests, failed=failed, exemplars=tuple(exemplars[:20]))


def block(t0: float = 0.0, *, stable: ArmBlock | None = None, gap: bool = False, **failures: int) -> Block:
    arms = {BAD: arm(Role.CANDIDATE, **failures), GOOD: arm(Role.STABLE) if stable is None else stable}
    return Block(t0=t0, seconds=10, fence=Fence(term=1, seq=1), arms=arms, gap=gap)


def found(
    *blocks: Block,
    changed: tuple[Component, ...] = (PROMPTS,),
    stable: Digest | None = GOOD,
    proven: tuple[Component, ...] = (),
) -> Located:
    return locate(blocks, candidate=BAD, stable=stable, changed=changed, proven=proven)


def test_the_only_part_that_changed_is_suspected_with_its_evidence() -> None:
    located = found(block(outcome_failed=9))
    assert located.named == "prompts"
    assert located.suspects[0].evidence == (
        "prompts: 9 x outcome_failed (9.0% of requests, stable 0.0%); nothing else changed"
    )


def test_of_several_the_one_that_alone_can_cause_it_is_suspected() -> None:
    assert found(block(arm_closed=5), changed=(CODE, PROMPTS)).named == "code"
    assert found(block(outcome_refused=5), changed=(PROMPTS, TOOLS)).named == "prompts"
    assert found(block(arm_closed=5, status_500=5), changed=(CODE, PROMPTS, MODELS)).named == "code"


def test_a_part_that_was_stable_here_before_is_not_suspected_beside_one_that_never_was() -> None:
    located = found(block(status_500=5), changed=(CODE, PROMPTS), proven=(CODE,))
    assert located.named == "prompts"
    assert located.why.endswith("code changed too and was stable here before")
    assert found(block(status_500=5), changed=(CODE, PROMPTS)).named == "unknown"
    assert found(block(status_500=5), changed=(CODE, PROMPTS), proven=(CODE, PROMPTS)).named == "unknown"


def test_an_exception_excludes_nobody_for_a_prompt_can_raise_it_too() -> None:
    assert can_cause("status_500") == frozenset(Component)


@pytest.mark.parametrize(
    ("blocks", "changed", "why"),
    [
        ([], (PROMPTS,), "no failing request was described"),
        ([block(status_500=2)], (PROMPTS,), "fewer than 3"),
        ([block(outcome_failed=9)], (PROMPTS, MODELS), "each of them can cause"),
        ([block(outcome_failed=9)], (), "holds nothing that stable does not"),
        ([block(arm_closed=9)], (PROMPTS, MODELS), "none of them alone explains"),
        ([block(arm_closed=9)], (PROMPTS,), "none of them alone explains"),
        ([block(outcome_failed=9, stable=arm(Role.STABLE, outcome_failed=9))], (PROMPTS,), "stable fails the same way"),
        ([block(outcome_failed=9, stable=arm(Role.STABLE, requests=0))], (PROMPTS,), "stable was not seen"),
        ([block(outcome_failed=9, gap=True)], (PROMPTS,), "no failing request was described"),
    ],
)
def test_otherwise_it_is_unknown_and_says_why(blocks: list[Block], changed: tuple[Component, ...], why: str) -> None:
    located = found(*blocks, changed=changed)
    assert (located.named, located.suspects) == ("unknown", ())
    assert why in located.why


def test_without_a_stable_nothing_can_be_told() -> None:
    assert found(block(outcome_failed=9), stable=None).named == "unknown"


def test_the_groups_name_examples_and_are_ordered_by_how_often_they_were_described() -> None:
    located = found(block(status_500=3, outcome_failed=9), changed=(CODE,))
    assert [(group.code, group.described) for group in located.groups] == [("outcome_failed", 9), ("status_500", 3)]
    assert located.groups[1].examples == ("status_500-0", "status_500-1", "status_500-2")
    assert located.groups[1].status == "500"
    assert located.figures == {"requests": 100, "failed": 12, "described": 12}


def test_rates_are_of_all_that_failed_though_only_twenty_are_described() -> None:
    located = found(block(outcome_failed=60), changed=(PROMPTS,))
    assert (located.groups[0].described, located.groups[0].rate) == (20, 0.6)


def test_a_code_nobody_knows_could_be_anything() -> None:
    assert can_cause("flux_capacitor") == frozenset(Component)
    assert can_cause("arm_closed") == CAUSES["arm_closed"] == {CODE}


CODES = st.sampled_from(["status_500", "outcome_failed", "outcome_refused", "arm_closed", "timeout_total", "other"])


@given(
    bad=st.dictionaries(CODES, st.integers(0, 30)),
    well=st.dictionaries(CODES, st.integers(0, 30)),
    changed=st.sets(st.sampled_from(list(Component))),
)
def test_whoever_is_named_changed_can_cause_it_and_is_alone_in_that(
    bad: dict[str, int], well: dict[str, int], changed: set[Component]
) -> None:
    located = found(block(stable=arm(Role.STABLE, **well), **bad), changed=tuple(changed))
    if not located.suspects:
        return
    (suspect,) = located.suspects
    own = [group for group in located.groups if group.own and group.described >= 3]
    assert suspect.component in changed
    assert own
    assert [part for part in changed if all(part in can_cause(group.code) for group in own)] == [suspect.component]
    assert all((group.stable_rate or 0) < (group.rate or 0) for group in own)
