"""The loop, with a model that says what it is told to."""

from __future__ import annotations

import asyncio
from typing import Any

from openai import OpenAIError

from support.agent import APOLOGY, MAX_ITERATIONS, UNAVAILABLE, Agent, Turn
from support.memory import Memory
from support.tools import Toolbox
from tests.scripted import ScriptedModel, calls, says


def answer(toolbox: Toolbox, *replies: Any, memory: Memory | None = None) -> tuple[Turn, ScriptedModel]:
    model = ScriptedModel(*replies)
    agent = Agent(system_prompt="Be kind.", model=model, tools=toolbox, memory=memory or Memory())
    return asyncio.run(agent.answer("t1", "Where is my order 1002?")), model


def test_the_result_of_a_tool_goes_back_to_the_model(toolbox: Toolbox) -> None:
    turn, model = answer(toolbox, calls("lookup_order", '{"order_id": "1002"}'), says("It is shipped."))
    assert (turn.response, turn.status, turn.iterations) == ("It is shipped.", "ok", 2)
    assert '"status": "shipped"' in model.asked[1][-1]["content"]
    assert turn.outcome("m") == ("status=ok, tokens_in=20, tokens_out=7, tools=1, tool_errors=0, iterations=2, model=m")


def test_a_loop_that_does_not_end_is_stopped_and_failed(toolbox: Toolbox) -> None:
    turn, _ = answer(toolbox, calls("create_exchange", '{"order_id": "1002"}'))
    assert (turn.response, turn.status, turn.iterations) == (APOLOGY, "failed", MAX_ITERATIONS)
    assert f"tool_errors={MAX_ITERATIONS}" in turn.outcome("m")


def test_a_malformed_tool_call_fails_the_turn(toolbox: Toolbox) -> None:
    turn, _ = answer(toolbox, calls("lookup_order", '{"order_id": "10'))
    assert (turn.response, turn.status) == (APOLOGY, "failed")


def test_a_provider_that_is_down_fails_the_turn(toolbox: Toolbox) -> None:
    turn, _ = answer(toolbox, OpenAIError("no connection"))
    assert (turn.response, turn.status, turn.provider_down) == (UNAVAILABLE, "failed", True)


def test_a_conversation_is_remembered_and_a_failed_turn_is_not(toolbox: Toolbox) -> None:
    memory = Memory()
    answer(toolbox, says("Hello."), memory=memory)
    answer(toolbox, OpenAIError("no connection"), memory=memory)
    _, model = answer(toolbox, says("Hello again."), memory=memory)
    assert [message["content"] for message in model.asked[0]] == [
        "Be kind.", "Where is my order 1002?", "Hello.", "Where is my order 1002?",
    ]  # fmt: skip


def test_memory_is_bounded() -> None:
    memory = Memory(conversations=2, messages=4)
    for thread in ("a", "b", "c"):
        for number in range(5):
            memory.remember(thread, f"q{number}", f"a{number}")
    assert memory.history("a") == []
    assert [message["content"] for message in memory.history("c")] == ["q3", "a3", "q4", "a4"]
