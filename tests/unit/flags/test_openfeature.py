"""Fairway's flags through the real OpenFeature SDK: what the gateway would say, with the specification's reasons."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import EventDetails, ProviderEvent
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagEvaluationDetails, Reason

from fairway.controller.flags import published
from fairway.flags.file import VARIABLE, read_flags, write_flags
from fairway.flags.openfeature import LOOK_EVERY_SECONDS, FairwayProvider, FlagsOfRequest, in_request
from fairway.traffic.flags import TableFlag, flag_lines, is_on
from fairway.traffic.keys import MAX_KEY_LENGTH
from fairway.units import WHOLE, Parts

OFF = Parts(0)
FLAGS = (
    TableFlag(name="everybody", share=WHOLE),
    TableFlag(name="nobody", share=OFF),
    TableFlag(name="half", share=Parts(50_000)),
    TableFlag(
        name="acme-only", share=OFF, tenant_header="x-tenant", tenants=(("acme", WHOLE), ("half", Parts(50_000)))
    ),
)


@dataclass
class Agent:
    """An agent's process: the SDK with the provider, and the file the controller keeps."""

    file: Path
    now: float = 0.0
    events: list[EventDetails] = field(default_factory=list)

    def start(self) -> OpenFeatureClient:
        api.set_provider(FairwayProvider(self.file, monotonic=lambda: self.now), "agent")
        client = api.get_client("agent")
        client.add_handler(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, self.events.append)
        return client

    def set(self, *flags: TableFlag) -> None:
        write_flags(self.file, flags)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path / "run" / "flags-production.json")
    made.set(*FLAGS)
    yield made
    api.clear_providers()


def asked(
    client: OpenFeatureClient, flag: str, key: str | None = None, **attributes: str
) -> FlagEvaluationDetails[bool]:
    return client.get_boolean_details(flag, False, EvaluationContext(key, attributes))


@pytest.mark.parametrize(
    ("flag", "context", "value", "reason"),
    [
        ("everybody", (None, {}), True, Reason.STATIC),
        ("nobody", (None, {}), False, Reason.STATIC),
        ("acme-only", (None, {"tenant": "acme"}), True, Reason.TARGETING_MATCH),
        ("acme-only", (None, {"tenant": "other"}), False, Reason.STATIC),
        ("acme-only", (None, {}), False, Reason.STATIC),
        ("half", ("conversation-1", {}), is_on(FLAGS[2], SimpleNamespace(), "conversation-1"), Reason.SPLIT),
        ("half", ("conversation-2", {}), is_on(FLAGS[2], SimpleNamespace(), "conversation-2"), Reason.SPLIT),
    ],
)
def test_a_flag_is_what_is_in_force_and_says_by_what(
    agent: Agent, flag: str, context: tuple[str | None, dict[str, str]], value: bool, reason: Reason
) -> None:
    found = asked(agent.start(), flag, context[0], **context[1])
    assert (found.value, found.reason, found.variant) == (value, reason, "on" if value else "off")
    assert found.error_code is None


SHARES = st.sampled_from([0, 100_000]) | st.integers(0, 100_000)


@given(
    share=SHARES,
    own=st.none() | SHARES,
    key=st.none() | st.text(min_size=1, max_size=40),
    tenant=st.none() | st.sampled_from(["acme", "other"]),
    header=st.sampled_from(["", "x-tenant"]),
)
@example(share=0, own=50_000, key=None, tenant="acme", header="")
def test_it_is_what_the_gateway_would_say_and_where_nobody_can_say_it_is_the_default(
    share: int, own: int | None, key: str | None, tenant: str | None, header: str
) -> None:
    flag = TableFlag(
        name="refunds",
        share=Parts(share),
        tenant_header=header,
        tenants=() if own is None else (("acme", Parts(own)),),
    )
    provider = FairwayProvider(Path("unused"), monotonic=lambda: 0.0)
    provider._flags, provider._looked_at = {"refunds": flag}, 0.0
    api.set_provider(provider, "law")
    attributes = {} if tenant is None else {"tenant": tenant}
    found = api.get_client("law").get_boolean_details("refunds", False, EvaluationContext(key, attributes))
    headers = SimpleNamespace(header=lambda name: tenant if name == "x-tenant" else None)
    assert found.value is is_on(flag, headers, key)
    effective = own if own is not None and tenant == "acme" and header else share
    missing = key is None and effective not in (0, 100_000)
    assert (found.error_code is ErrorCode.TARGETING_KEY_MISSING) is missing


def test_within_a_request_the_flag_is_what_the_gateway_decided_for_it(agent: Agent) -> None:
    client = agent.start()
    with in_request({"X-Fairway-Flag-Nobody": "on", "x-fairway-flag-everybody": "off", "x-other": "1"}):
        assert asked(client, "nobody").value is True
        assert asked(client, "everybody").value is False
        assert asked(client, "everybody").reason == Reason.TARGETING_MATCH
        assert asked(client, "half", "conversation-1").reason == Reason.SPLIT, "of which the request says nothing"
    assert asked(client, "nobody").value is False
    with in_request({"x-fairway-flag-nobody": "perhaps"}):
        assert asked(client, "nobody").value is False, "what is neither on nor off says nothing"


async def test_concurrent_requests_each_have_their_own_flags(agent: Agent) -> None:
    client, both, seen = agent.start(), asyncio.Barrier(2), {}

    async def app(scope: dict[str, object], receive: object, send: object) -> None:
        await both.wait()
        seen[scope["path"]] = asked(client, "nobody").value
        await both.wait()

    wrapped = FlagsOfRequest(app)  # type: ignore[arg-type]
    lines = {path: flag_lines((TableFlag(name="nobody", share=share),), SimpleNamespace(), None) for path, share in
             (("/a", WHOLE), ("/b", OFF))}  # fmt: skip
    scopes = [
        {"type": "http", "path": path, "headers": [tuple(line.strip().split(b": "))]} for path, line in lines.items()
    ]
    await asyncio.gather(*(wrapped(scope, None, None) for scope in scopes))  # type: ignore[arg-type]
    assert seen == {"/a": True, "/b": False}
    await FlagsOfRequest(app_without_headers)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]


async def app_without_headers(scope: object, receive: object, send: object) -> None:
    """A start of the application has no headers."""


@pytest.mark.parametrize(
    ("flag", "key", "code"),
    [
        ("unheard-of", None, ErrorCode.FLAG_NOT_FOUND),
        ("half", None, ErrorCode.TARGETING_KEY_MISSING),
        ("half", "", ErrorCode.TARGETING_KEY_MISSING),
        ("half", "k" * (MAX_KEY_LENGTH + 1), ErrorCode.TARGETING_KEY_MISSING),
    ],
)
def test_what_cannot_be_decided_is_the_callers_default_with_the_code_of_the_specification(
    agent: Agent, flag: str, key: str | None, code: ErrorCode
) -> None:
    client = agent.start()
    for default in (False, True):
        found = client.get_boolean_details(flag, default, EvaluationContext(key))
        assert (found.value, found.reason, found.error_code) == (default, Reason.ERROR, code)


def test_a_flag_is_no_text_number_or_object(agent: Agent) -> None:
    client = agent.start()
    for found in (
        client.get_string_details("everybody", "x"),
        client.get_integer_details("everybody", 1),
        client.get_float_details("everybody", 1.5),
        client.get_object_details("everybody", {}),
    ):
        assert (found.reason, found.error_code) == (Reason.ERROR, ErrorCode.TYPE_MISMATCH)
    assert client.get_string_details("unheard-of", "x").error_code is ErrorCode.FLAG_NOT_FOUND


def test_without_a_file_or_a_request_the_provider_is_not_ready_and_the_default_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    for provider in (FairwayProvider(), FairwayProvider(tmp_path / "missing.json")):
        api.set_provider(provider, "bare")
        found = asked(api.get_client("bare"), "everybody")
        assert (found.value, found.error_code) == (False, ErrorCode.PROVIDER_NOT_READY)
        with in_request({"x-fairway-flag-everybody": "on"}):
            assert asked(api.get_client("bare"), "everybody").value is True


def test_the_arm_is_told_where_the_file_is_by_its_environment(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(agent.file))
    api.set_provider(FairwayProvider(), "arm")
    assert asked(api.get_client("arm"), "everybody").value is True


def test_what_somebody_sets_is_in_force_at_the_next_look_and_told_as_an_event(agent: Agent) -> None:
    client = agent.start()
    assert asked(client, "nobody").value is False
    agent.set(TableFlag(name="nobody", share=WHOLE), *FLAGS[2:])
    assert asked(client, "nobody").value is False, "it looks once a second"
    agent.now += LOOK_EVERY_SECONDS
    assert asked(client, "nobody").value is True
    assert [event.flags_changed for event in agent.events] == [["everybody", "nobody"]]
    assert asked(client, "everybody").error_code is ErrorCode.FLAG_NOT_FOUND


def test_a_file_that_cannot_be_read_leaves_what_was_in_force_and_says_that_it_may_be_stale(agent: Agent) -> None:
    client = agent.start()
    assert asked(client, "everybody").reason == Reason.STATIC
    for broken in ("{", "[]", '{"version": 2, "flags": []}', '{"version": 1, "flags": [{"name": "x"}]}'):
        agent.file.write_text(broken)
        agent.now += LOOK_EVERY_SECONDS
        found = asked(client, "everybody")
        assert (found.value, found.reason) == (True, Reason.STALE), broken
    agent.file.unlink()
    agent.now += LOOK_EVERY_SECONDS
    assert asked(client, "everybody").reason == Reason.STALE
    agent.set(*FLAGS)
    agent.now += LOOK_EVERY_SECONDS
    assert asked(client, "everybody").reason == Reason.STATIC


def test_no_evaluation_uses_the_network(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    client = agent.start()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("an evaluation opened a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    agent.now += LOOK_EVERY_SECONDS
    assert asked(client, "everybody").value is True


# -- the controller's side --


def test_what_the_controller_reads_is_in_the_file_at_once_and_written_only_when_it_changes(tmp_path: Path) -> None:
    path, in_force = tmp_path / "run" / "flags-production.json", [FLAGS]
    read = published(lambda: in_force[0], path)
    assert read() == FLAGS
    assert tuple(read_flags(path).values()) == FLAGS
    written = os.stat(path).st_ino
    read()
    assert os.stat(path).st_ino == written
    in_force[0] = FLAGS[:1]
    read()
    assert list(read_flags(path)) == ["everybody"]
    path.unlink()
    read()
    assert path.exists()
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_file_that_cannot_be_written_costs_the_file_and_no_tick(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("not a folder")
    assert published(lambda: FLAGS, tmp_path / "run" / "flags.json")() == FLAGS
