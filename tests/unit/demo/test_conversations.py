from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from fairway.demo.conversations import DEFAULT_WEIGHTS, Kind, plan_conversation


@given(number=st.integers(0, 10_000), seed=st.integers(0, 100))
def test_a_conversation_depends_on_seed_and_number_only(number: int, seed: int) -> None:
    first = plan_conversation(number, seed=seed)
    plan_conversation(number + 1, seed=seed)
    assert plan_conversation(number, seed=seed) == first
    assert 1 <= len(first.turns) <= 3
    assert first.turns[0].think_seconds == 0
    assert all(turn.think_seconds >= 0.2 for turn in first.turns[1:])


def test_kinds_come_in_their_shares_and_a_few_messages_are_streamed() -> None:
    planned = [plan_conversation(number, seed=5) for number in range(4000)]
    kinds = Counter(conversation.kind for conversation in planned)
    for kind, weight in DEFAULT_WEIGHTS.items():
        assert abs(kinds[kind] / 4000 - weight) < 0.03
    turns = [turn for conversation in planned for turn in conversation.turns]
    assert 0.035 < sum(turn.streamed for turn in turns) / len(turns) < 0.065
    assert len({conversation.id for conversation in planned}) == 4000
    assert len({conversation.tenant for conversation in planned}) == 4


def test_weights_turns_and_tenants_are_as_asked() -> None:
    planned = [
        plan_conversation(number, seed=1, weights={Kind.EXCHANGE: 1.0}, turns=(1, 1), tenants=["one"])
        for number in range(50)
    ]
    assert {(one.kind, one.tenant, len(one.turns)) for one in planned} == {(Kind.EXCHANGE, "one", 1)}
