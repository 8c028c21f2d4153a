"""The plain template's agent with each prompt of the demo, over HTTP, against the mock model it comes with."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import yaml

from fairway.bundle.configuration import write_config_bundle
from fairway.bundle.overlay import effective_value, resolve, with_mocked_tools
from fairway.evals.assertions.case_check import check_case
from fairway.evals.assertions.tool_match import parse_tool_call
from fairway.evals.suites.load import load_suites
from fairway.evals.values import Case, Reply
from fairway.llm.mock.scenario import load_scenario
from fairway.llm.mock.server import MockModelServer
from fairway.project.load import load_project
from fairway.scaffold import DEMO_VERSIONS, demo_changes, make_project
from fairway.targets.shadow import shadow_configuration
from fairway.traffic.outcome import parse_outcome
from fairway.units import Digest

pytestmark = pytest.mark.xdist_group("template-agent")  # one worker makes the project once

RELEASE, EFFECTIVE = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
EXCHANGES = (
    "Can I exchange the coffee mug from order 1015 for a desk lamp?",
    "Please swap my order #1022 for the headphones.",
    "I would like to exchange order 1031 for a notebook, please.",
)


@dataclass(frozen=True)
class Made:
    """The project after every change of the demo, and the bundle of each version."""

    root: Path
    bundles: dict[str, Path]
    cases: tuple[Case, ...]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = make_project(tmp_path_factory.mktemp("template") / "shop", commit=False).directory
    bundles = {}
    for version in ("1.0.0", *DEMO_VERSIONS):
        if version != "1.0.0":
            demo_changes(root, version)
        value = effective_value(
            resolve(load_project(root), "production"),
            agent="shop",
            release=RELEASE,
            release_version=version,
            effective=EFFECTIVE,
        )
        paths = [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]
        bundles[version] = root.parent / f"bundle-{version}"
        write_config_bundle(bundles[version], paths, lambda path: (root / path).read_bytes(), value)
    suites = load_suites(paths, lambda path: (root / path).read_bytes(), load_project(root).evals.suites)
    cases = tuple(case for suite in suites for case in suite.cases)
    return Made(root=root, bundles=bundles, cases=cases)


@pytest.fixture(scope="module")
def support(made: Made) -> Iterator[SimpleNamespace]:
    """The template's own modules, imported as its service imports them."""
    sys.path.insert(0, str(made.root))
    try:
        from support import agent, bundle, memory, model, shop, tools  # type: ignore[import-not-found]

        yield SimpleNamespace(agent=agent, bundle=bundle, memory=memory, model=model, shop=shop, tools=tools)
    finally:
        sys.path.remove(str(made.root))
        for name in [name for name in sys.modules if name == "support" or name.startswith("support.")]:
            del sys.modules[name]


@pytest.fixture
async def mock(made: Made) -> AsyncIterator[MockModelServer]:
    async with MockModelServer(load_scenario(made.root / "evals" / "mock-llm.yaml")) as server:
        yield server


@asynccontextmanager
async def agent_of(version: str, made: Made, support: SimpleNamespace, mock: MockModelServer) -> AsyncIterator[Any]:
    bundle = support.bundle.load_bundle(
        {"FAIRWAY_BUNDLE": str(made.bundles[version]), "FAIRWAY_MOCK_LLM_URL": mock.url}
    )
    assert bundle.prompt_version == version
    model, shop = support.model.Model(bundle.model), support.shop.open_shop()
    yield support.agent.Agent(
        system_prompt=bundle.system_prompt,
        model=model,
        tools=support.tools.Toolbox(bundle.tools, shop),
        memory=support.memory.Memory(),
    )
    await model.close()
    shop.close()


async def failed_cases(agent: Any, cases: tuple[Case, ...]) -> dict[str, list[str]]:
    """Violations by case, as the eval gate finds them."""
    found = {}
    for case in cases:
        replies = []
        for message in case.turns:
            turn = await agent.answer(case.id, message)
            calls = tuple(parse_tool_call({"name": use.name, "arguments": use.arguments}) for use in turn.tools)
            reply = Reply(
                text=turn.response,
                tools=calls,
                tokens_in=turn.tokens_in,
                tokens_out=turn.tokens_out,
                status=turn.status,
            )
            replies.append(reply)
        finding = check_case(case, replies)
        if finding.violations or finding.unknown:
            found[case.id] = [violation.check for violation in finding.violations] + list(finding.unknown)
    return found


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0", "1.2.0"])
async def test_every_case_passes(version: str, made: Made, support: SimpleNamespace, mock: MockModelServer) -> None:
    assert len(made.cases) >= 15
    async with agent_of(version, made, support, mock) as agent:
        assert await failed_cases(agent, made.cases) == {}


async def test_the_prompt_that_drops_the_refund_rule_fails_critical_cases(
    made: Made, support: SimpleNamespace, mock: MockModelServer
) -> None:
    async with agent_of("1.3.0", made, support, mock) as agent:
        failed = await failed_cases(agent, made.cases)
    assert set(failed) == {"refund", "refund-too-early", "seed-003"}
    assert {"keyword/forbidden", "tool/missing"} <= set(failed["refund"])
    assert all(case.critical for case in made.cases if case.id in ("refund", "refund-too-early"))


@pytest.mark.parametrize(
    ("version", "status"), [("1.0.0", "ok"), ("1.1.0", "ok"), ("1.2.0", "failed"), ("1.3.0", "ok")]
)
async def test_exchanges_fail_with_the_prompt_that_drops_their_steps_only(
    version: str, status: str, made: Made, support: SimpleNamespace, mock: MockModelServer
) -> None:
    async with agent_of(version, made, support, mock) as agent:
        turns = [await agent.answer(f"c{number}", message) for number, message in enumerate(EXCHANGES)]
    assert {turn.status for turn in turns} == {status}
    if status == "failed":
        assert all("new_product_id is required" in str(turn.tools[-1].result) for turn in turns)
        assert all(turn.iterations == support.agent.MAX_ITERATIONS for turn in turns)


async def test_the_better_prompt_needs_fewer_tokens_and_is_never_worse(
    made: Made, support: SimpleNamespace, mock: MockModelServer
) -> None:
    messages = [case.turns[0] for case in made.cases] + list(EXCHANGES)
    turns: dict[str, list[Any]] = {}
    for version in ("1.0.0", "1.1.0"):
        async with agent_of(version, made, support, mock) as agent:
            turns[version] = [await agent.answer(f"c{number}", text) for number, text in enumerate(messages)]
    pairs = list(zip(turns["1.0.0"], turns["1.1.0"], strict=True))
    assert all(new.tokens_out <= old.tokens_out and new.iterations <= old.iterations for old, new in pairs)
    assert sum(new.tokens_out for _, new in pairs) < 0.6 * sum(old.tokens_out for old, _ in pairs)
    assert sum(new.tokens_in for _, new in pairs) < sum(old.tokens_in for old, _ in pairs)


async def test_a_provider_that_breaks_is_a_failed_turn_and_no_exception(
    made: Made, support: SimpleNamespace, mock: MockModelServer
) -> None:
    async with agent_of("1.0.0", made, support, mock) as agent, httpx.AsyncClient() as client:
        for fault, down in (("server_error", True), ("malformed_tool_call", False), ("truncated_stream", True)):
            faults = f"{mock.url.removesuffix('/v1')}/admin/faults"
            assert (await client.post(faults, json={"faults": [{"kind": fault}]})).status_code == 200
            turn = await agent.answer("c", "Where is my order 1002?")
            assert (turn.status, turn.provider_down) == ("failed", down), fault
        await client.delete(faults)
        assert (await agent.answer("c", "Where is my order 1002?")).status == "ok"


def test_what_the_demo_customers_say_is_understood(made: Made) -> None:
    """Every message of the demo's traffic meets a rule of its kind, none falls through to the last one."""
    from fairway.demo.conversations import plan_conversation
    from fairway.llm.mock.behaviour import respond
    from fairway.llm.mock.requests import read_chat_request

    scenario = load_scenario(made.root / "evals" / "mock-llm.yaml")
    names = yaml.safe_load((made.root / "tools.yaml").read_text())["tools"]
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    system = yaml.safe_load((made.root / "prompts" / "support" / "1.0.0.yaml").read_text())["template"]
    rules = set()
    for number in range(400):
        messages: list[Any] = [{"role": "system", "content": system}]
        for turn in plan_conversation(number, seed=3).turns:
            messages.append({"role": "user", "content": turn.message})
            body = json.dumps({"model": "m", "messages": messages, "tools": tools}).encode()
            said = respond(scenario, read_chat_request(body))
            rules.add(said.rule)
            messages.append({"role": "assistant", "content": "."})
    expected = {
        "exchange-start",
        "refund-lookup",
        "order-lookup",
        "product-search",
        "greeting",
        "opening-hours",
        "thanks",
    }
    assert rules == expected


@pytest.fixture(scope="module")
def database(made: Made) -> Path:
    """The shop that is real to the service: what it writes there, somebody would have to send."""
    return made.root.parent / "shop.db"


@pytest.fixture(scope="module")
def service(made: Made, database: Path) -> Iterator[str]:
    """The service as an arm runs it, and its mock model, as processes of their own."""
    with served(made, made.bundles["1.1.0"], SHOP_DATABASE=str(database)) as url:
        yield url


@contextmanager
def served(made: Made, bundle: Path, **variables: str) -> Iterator[str]:
    scenario = str(made.root / "evals" / "mock-llm.yaml")
    model = subprocess.Popen(
        [sys.executable, "-m", "fairway", "mock-llm", "--scenario", scenario, "-o", "json"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert model.stdout is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arm = None
    try:
        url = json.loads(model.stdout.readline())["url"]
        command = [word.format(host="127.0.0.1", port=port) for word in load_project(made.root).service.command]
        environment = os.environ | {"FAIRWAY_BUNDLE": str(bundle), "FAIRWAY_MOCK_LLM_URL": url, **variables}
        arm = subprocess.Popen([sys.executable, *command[1:]], cwd=made.root, env=environment)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"http://127.0.0.1:{port}/readiness").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        for process in (arm, model):
            if process is not None:
                process.terminate()
                process.wait(timeout=20)
        model.stdout.close()


def test_readiness_reports_what_it_was_given_and_asks_no_model(service: str) -> None:
    ready = httpx.get(f"{service}/readiness").json()
    assert (ready["release"], ready["effective"], ready["prompt"]) == (RELEASE, EFFECTIVE, "1.1.0")
    assert httpx.get(f"{service}/healthz").json() == {"status": "ok"}


def test_a_chat_reports_its_outcome_and_remembers_the_conversation(service: str) -> None:
    first = httpx.post(
        f"{service}/chat", json={"message": "Where is my order 1006?"}, headers={"x-conversation-id": "c"}
    )
    assert first.json()["thread_id"] == "c"
    assert first.headers["fairway-outcome"].startswith("status=ok, tokens_in=")
    second = httpx.post(f"{service}/chat", json={"message": "And when will it arrive?", "thread_id": "c"})
    assert second.json()["tools"] == [{"name": "lookup_order", "arguments": {"order_id": "1006"}, "ok": True}]


def test_a_stream_carries_its_outcome_inside_the_last_event(service: str) -> None:
    answer = httpx.post(f"{service}/chat/stream", json={"message": EXCHANGES[0]})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    last = answer.text.removesuffix("\n\n").split("\n\n")[-1].split("\n")
    assert last[0].startswith(": fairway-outcome status=ok, tokens_in=")
    payload = json.loads(last[1].removeprefix("data: "))["payload"]
    assert [tool["name"] for tool in payload["tools"]] == ["lookup_order", "search_products", "create_exchange"]


def exchanges_in(database: Path) -> int:
    with sqlite3.connect(database) as shop:
        (count,) = shop.execute("SELECT count(*) FROM exchanges").fetchone()
    shop.close()
    return int(count)


MIRRORED = {"x-fairway-shadow": "1"}


@pytest.mark.parametrize("path", ["/chat", "/chat/stream"])
def test_a_mirrored_request_never_reaches_the_real_shop(service: str, database: Path, path: str) -> None:
    before = exchanges_in(database)
    order = "1047" if path == "/chat" else "1051"
    message = f"Can I exchange the coffee mug from order {order} for a desk lamp?"
    copy = httpx.post(f"{service}{path}", json={"message": message, "thread_id": f"m-{path}"}, headers=MIRRORED)
    assert copy.status_code == 200
    assert "create_exchange" in copy.text, "the shadow did what it was asked"
    assert exchanges_in(database) == before, "in its own shop"
    real = httpx.post(f"{service}{path}", json={"message": message, "thread_id": f"m-{path}"})
    assert "create_exchange" in real.text
    assert exchanges_in(database) == before + 1, "and this is how it looks when it is real"


def test_a_mirrored_conversation_is_remembered_apart(service: str) -> None:
    ask = {"message": "Where is my order 1006?", "thread_id": "apart"}
    assert httpx.post(f"{service}/chat", json=ask, headers=MIRRORED).json()["tools"]
    follow = {"message": "And when will it arrive?", "thread_id": "apart"}
    assert httpx.post(f"{service}/chat", json=follow, headers=MIRRORED).json()["tools"]
    assert not httpx.post(f"{service}/chat", json=follow).json()["tools"], "the user's conversation knows of no order"


def test_a_call_that_cannot_be_replayed_is_told_in_the_outcome(service: str) -> None:
    ask = {"message": "Where is my order 9999?"}
    copy = httpx.post(f"{service}/chat", json=ask, headers=MIRRORED)
    outcome = parse_outcome(copy.headers["fairway-outcome"])
    assert outcome is not None
    assert outcome.diverged == 1
    assert "diverged" not in httpx.post(f"{service}/chat", json=ask).headers["fairway-outcome"]


@pytest.mark.slow
def test_an_arm_started_as_a_shadow_reaches_no_real_shop_even_unmarked(made: Made, tmp_path: Path) -> None:
    overlay = with_mocked_tools(resolve(load_project(made.root), "production"))
    value = effective_value(
        overlay,
        agent="shop",
        release=RELEASE,
        release_version="1.1.0",
        effective=shadow_configuration(EFFECTIVE),
    )
    paths = [str(path.relative_to(made.root)) for path in made.root.rglob("*") if path.is_file()]
    write_config_bundle(tmp_path / "bundle", paths, lambda path: (made.root / path).read_bytes(), value)
    database = tmp_path / "shop.db"
    with served(made, tmp_path / "bundle", SHOP_DATABASE=str(database)) as url:
        message = {"message": "Can I exchange the coffee mug from order 1015 for a desk lamp?"}
        assert "create_exchange" in httpx.post(f"{url}/chat", json=message).text
        assert httpx.get(f"{url}/readiness").json()["effective"] == shadow_configuration(EFFECTIVE) != EFFECTIVE
    assert not database.exists()
