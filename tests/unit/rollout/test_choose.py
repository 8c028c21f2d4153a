"""The decision table of ``strategy: auto``: one row, one reason."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from fairway.bundle.components import Component
from fairway.bundle.tools import Risk
from fairway.controller.profile import Profile, changes_between
from fairway.rollout.choose import POSSIBLE, RISK_AND_COST, Changes, choose
from fairway.rollout.values import Strategy
from fairway.testing.rollout_cases import digest_of

CODE, PROMPTS, MODELS, TOOLS, POLICIES = Component

TABLE = [
    (Changes(), Strategy.CANARY, False, "nothing"),
    (Changes(components=frozenset({CODE})), Strategy.ROLLING, False, "only code"),
    (Changes(infrastructure=True), Strategy.ROLLING, False, "only infrastructure"),
    (Changes(components=frozenset({CODE}), infrastructure=True), Strategy.ROLLING, False, "code and infrastructure"),
    (Changes(components=frozenset({PROMPTS})), Strategy.CANARY, False, "prompts"),
    (Changes(components=frozenset({MODELS})), Strategy.CANARY, False, "models"),
    (Changes(components=frozenset({TOOLS})), Strategy.CANARY, False, "tools"),
    (Changes(components=frozenset({POLICIES})), Strategy.CANARY, False, "policies"),
    (Changes(components=frozenset({CODE, PROMPTS})), Strategy.CANARY, False, "prompts"),
    (Changes(components=frozenset({CODE}), breaking="state '2'"), Strategy.BLUE_GREEN, False, "state '2'"),
    (Changes(components=frozenset({PROMPTS}), breaking="declared"), Strategy.BLUE_GREEN, False, "declared"),
    (Changes(components=frozenset({TOOLS}), risky_tools=("refund",)), Strategy.SHADOW, True, "refund"),
    (Changes(components=frozenset({CODE, TOOLS}), risky_tools=("refund",)), Strategy.SHADOW, True, "refund"),
    (Changes(risky_tools=("refund",), breaking="declared"), Strategy.BLUE_GREEN, True, "refund"),
]


@pytest.mark.parametrize(("changes", "strategy", "shadow", "why"), TABLE, ids=[row[3] for row in TABLE])
def test_what_changed_picks_the_strategy_and_says_why(changes, strategy, shadow, why):
    choice = choose(changes, heeded=True)
    assert (choice.strategy, choice.shadow_first, choice.approval) == (strategy, shadow, False)
    assert why in choice.why


@pytest.mark.parametrize(
    ("changes", "strategy"),
    [
        (Changes(components=frozenset({TOOLS}), risky_tools=("refund",)), Strategy.CANARY),
        (Changes(risky_tools=("refund",), breaking="declared"), Strategy.BLUE_GREEN),
    ],
    ids=["canary", "blue-green"],
)
def test_without_a_word_that_the_agent_heeds_the_mark_a_person_approves_instead_of_a_mirror(changes, strategy):
    choice = choose(changes)
    assert (choice.strategy, choice.shadow_first, choice.approval) == (strategy, False, True)
    for words in ("refund", "a person approves", "rollout.shadow.heeded"):
        assert words in choice.why


def test_nothing_that_changes_behaviour_is_ever_rolled_and_no_risky_tool_is_met_before_a_shadow_or_a_yes():
    for size in range(6):
        for components in itertools.combinations(Component, size):
            for risky, breaking, heeded in itertools.product(((), ("refund",)), ("", "declared"), (False, True)):
                changes = Changes(components=frozenset(components), risky_tools=risky, breaking=breaking)
                choice = choose(changes, heeded=heeded)
                if set(components) - {CODE} or risky or breaking:
                    assert choice.strategy is not Strategy.ROLLING
                assert choice.shadow_first is (bool(risky) and heeded)
                assert choice.approval is (bool(risky) and not heeded)
                assert replace(choice, why="") in POSSIBLE
                assert choice.why


def test_what_is_not_known_to_have_changed_is_approved_by_a_person():
    choice = choose(None, heeded=True)
    assert (choice.strategy, choice.shadow_first, choice.approval) == (Strategy.CANARY, False, True)
    assert choice.why == "what changed since stable is not known, so a person approves it"
    assert replace(choice, why="") in POSSIBLE


def test_every_strategy_says_what_it_risks_and_costs():
    assert set(RISK_AND_COST) == set(Strategy)


STABLE = Profile(
    version="1.2.0",
    components={component: digest_of("a") for component in Component},
    behaviour=digest_of("b"),
    tools={"search": Risk.LOW, "email": Risk.HIGH},
    state_schema="1",
    breaking=False,
)


def changed(*components: Component, **changes: object) -> Profile:
    digests = {**STABLE.components, **dict.fromkeys(components, digest_of("c"))}
    return replace(STABLE, components=digests, **changes)


def test_policies_that_change_nothing_of_the_behaviour_are_infrastructure():
    assert changes_between(STABLE, changed(POLICIES)) == Changes(infrastructure=True)
    other = changes_between(STABLE, changed(POLICIES, behaviour=digest_of("d")))
    assert (other.components, other.infrastructure) == (frozenset({POLICIES}), False)


@pytest.mark.parametrize(
    ("tools", "risky"),
    [
        ({"search": Risk.LOW, "email": Risk.HIGH, "transfer": Risk.CRITICAL}, ("transfer",)),
        ({"search": Risk.HIGH, "email": Risk.HIGH}, ("search",)),
        ({"search": Risk.LOW, "email": Risk.HIGH, "write": Risk.MEDIUM}, ()),
        ({"email": Risk.HIGH}, ()),
        ({"search": Risk.LOW, "email": Risk.MEDIUM}, ()),
    ],
    ids=["a critical one is new", "one became riskier", "a medium one is new", "one is gone", "one became safer"],
)
def test_a_tool_is_risky_when_stable_has_it_not_or_at_a_lower_risk(tools, risky):
    assert changes_between(STABLE, changed(TOOLS, tools=tools)).risky_tools == risky


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"breaking": True}, "declared"),
        ({"state_schema": "2"}, "'2' instead of '1'"),
        ({"version": "2.0.0"}, "major version 2 instead of 1"),
        ({"version": "1.3.0"}, ""),
        ({"version": "1.2.0-r1"}, ""),
    ],
    ids=str,
)
def test_a_declaration_the_state_or_the_major_version_makes_it_breaking(changes, why):
    found = changes_between(STABLE, changed(CODE, **changes)).breaking
    assert why in found
    assert bool(found) is bool(why)
