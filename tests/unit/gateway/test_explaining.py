"""What `explain` says of a request is what the worker does with it: any table, rule, request, memory, pin and mask."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairway.errors import UserError
from fairway.gateway.body_key import waits_for_key
from fairway.gateway.conversations import ConversationMemory, open_memory
from fairway.gateway.explaining import Question, explain_here
from fairway.gateway.framing import RequestHead, parse_request
from fairway.gateway.overruling import overruled
from fairway.gateway.placing import place
from fairway.gateway.serving import Serving, prepare
from fairway.gateway.shapes import request_matcher
from fairway.gateway.state import LocalDecisions
from fairway.gateway.worker import Worker
from fairway.traffic.bucket import bucket, tag_of
from fairway.traffic.fence import Fence
from fairway.traffic.matching import looked_at
from fairway.traffic.pin import Pin, PinSigner, release_tag, unit_tag
from fairway.traffic.release_pass import PassSigner
from fairway.traffic.rules import By, Decision
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable, Rule, RuleKind
from fairway.units import AgentName, Digest, EnvironmentName, Parts, RouteId

ROUTE = RouteId(agent=AgentName("support"), environment=EnvironmentName("production"))
V1, V2, V3 = (Digest("sha256:" + letter * 64) for letter in "abc")
SECRET, NOW = b"k" * 32, 1_000_000_000.0
SIGNER, PASSES = PinSigner(SECRET, route=str(ROUTE)), PassSigner(SECRET, route=str(ROUTE))
_life = itertools.count()
EXAMPLES = int(os.environ.get("FAIRWAY_GATEWAY_EXPLAINED", "60"))


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, ConversationMemory]]:
    path = tmp_path_factory.mktemp("memory") / "conversations.map"
    made = ConversationMemory(path)
    yield path, made
    made.close()


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


EXTRACTORS = [
    KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),
    KeyExtractor(kind=KeyKind.COOKIE, name="conversation"),
    KeyExtractor(kind=KeyKind.PATH_SEGMENT, name="1"),
    KeyExtractor(kind=KeyKind.TRACE_ID, name=""),
    KeyExtractor(kind=KeyKind.JSON_POINTER, name="/conversation/id"),
]
VALUES = ["beta", "acme", "eu"]
TO = st.sampled_from([Role.STABLE, Role.CANDIDATE, Role.SHADOW, Role.BASELINE])
KINDS = {
    RuleKind.HEADER: "x-any", RuleKind.COOKIE: "lane", RuleKind.GRAY_TAG: "", RuleKind.BAGGAGE: "plan",
    RuleKind.TENANT: "", RuleKind.USER: "", RuleKind.REGION: "", RuleKind.TRACE_TYPE: "", RuleKind.FLAG: "f",
    RuleKind.RELEASE_HEADER: "x-own",
}  # fmt: skip
RULES = st.builds(
    lambda kind, values, to: Rule(id=f"{kind.value}-{to.value}", kind=kind, name=KINDS[kind], values=values, to=to),
    st.sampled_from(list(KINDS)),
    st.sampled_from([(), ("beta",), ("acme", "eu")]),
    TO,
)


@st.composite
def tables(draw: st.DrawFn) -> RouteTable:
    roles = draw(st.sampled_from([("s",), ("s", "c"), ("s", "c", "b"), ("s", "b"), ("s", "x"), ("c",), ()]))
    named = {"s": Role.STABLE, "c": Role.CANDIDATE, "b": Role.BASELINE, "x": Role.SHADOW}
    releases = draw(st.permutations([V1, V2, V3]))
    arms = tuple(
        Arm(
            role=named[role],
            release=release,
            version=f"{release[7]}.0",
            endpoints=draw(st.sampled_from([("127.0.0.1:1",)] * 4 + [()])),
        )
        for role, release in zip(roles, releases, strict=False)
    )
    split = draw(st.sampled_from([0, 1, 30_000, 50_000, 100_000])) if "c" in roles else 0
    return RouteTable(
        route=ROUTE,
        fence=Fence(term=1, seq=1),
        arms=arms,
        rules=tuple(draw(st.lists(RULES, max_size=3))),
        split=Parts(split),
        salt=draw(st.sampled_from(["r-1", "r-2"])),
        keys=tuple(draw(st.lists(st.sampled_from(EXTRACTORS), max_size=3, unique=True))),
        masks=tuple(draw(st.lists(st.sampled_from([V1, V2, V3]), max_size=1))),
    )


RELEASES = st.sampled_from([None, None, V1, V2, V3])
DECISIONS = st.builds(
    lambda pinned, tripped, to, masked: LocalDecisions(
        pinned=pinned is not None, pinned_to=pinned, tripped=tripped, tripped_to=to, masked=tuple(masked), masked_to=to
    ),
    RELEASES, RELEASES, RELEASES, st.lists(st.sampled_from([V1, V2, V3]), max_size=2, unique=True).map(sorted),
)  # fmt: skip
KEYS = st.sampled_from([b"c-1", b"c-2", b"c-3", "\N{SNOWMAN}".encode(), b"\xff\xfe", b"a b", b"", b"x" * 520, b"c%20"])
FLAGS = ["f", "f=on", "f=off", "g"]


@dataclass(frozen=True)
class Asked:
    """A request as it comes, and as it is told to `explain`."""

    head: RequestHead
    body: bytes
    question: Question


def pin_token(draw: st.DrawFn, key: bytes) -> bytes:
    """A pin as a client may bring it: of this conversation or of none, in time or not."""
    text = draw(st.sampled_from([key.decode("utf-8", "surrogateescape"), None]))
    began = Pin(
        release=release_tag(draw(st.sampled_from([V1, V2, V3]))),
        salt=tag_of("r-1"),
        hashed=True,
        expires=draw(st.sampled_from([2**31, 5])),
        unit=unit_tag(text),
    )
    return SIGNER.sign(began).encode()


@st.composite
def requests(draw: st.DrawFn, prefix: bytes) -> Asked:
    key = draw(KEYS)
    key = prefix + key if key else b""
    lines: list[tuple[bytes, bytes]] = []
    for name, values in (
        ("x-any", VALUES), ("x-gray-tag", VALUES), ("x-tenant", VALUES), ("x-user", VALUES), ("x-region", VALUES),
        ("x-trace-type", VALUES), ("x-feature-flags", FLAGS), ("baggage", ["plan=beta,gray_tag=acme;p=1", "plan=eu"]),
        ("traceparent", [f"00-{'1' * 32}-{'2' * 16}-01", f"00-{'3' * 32}-{'2' * 16}-01", "nonsense"]),
        ("x-fairway-release", [PASSES.sign(V2, expires=2**31), PASSES.sign("candidate", expires=2**31), "stable",
                               PASSES.sign("b.0", expires=5)]),
        ("x-own", [PASSES.sign("a.0", expires=2**31), "acme"]),
    ):  # fmt: skip
        if draw(st.integers(0, 11)) == 0:
            lines.append((name.encode(), draw(st.sampled_from(values)).encode()))
    if draw(st.booleans()):
        lines.append((b"X-Conversation-Id", draw(st.sampled_from([b"", b" ", b"\t "])) + key))
    if draw(st.integers(0, 2)) == 0:
        cookies = [b"conversation=" + key, b"lane=beta", b"x-gray-tag=eu", b"other=1"]
        cookies += [b"fairway_pin=%b" % pin_token(draw, key)] * draw(st.integers(0, 1))
        lines.append((b"cookie", b"; ".join(draw(st.lists(st.sampled_from(cookies), min_size=1, unique=True)))))
    if draw(st.integers(0, 3)) == 0:
        lines.append((b"x-fairway-pin", pin_token(draw, key)))
    body = b""
    if draw(st.integers(0, 3)) == 0 and b"\xff" not in key:
        body = json.dumps({"a": [1], "conversation": {"id": key.decode()}}).encode()
        lines.append((b"content-type", b"application/json"))
    path = b"/chat/" + (b"p" + prefix if draw(st.booleans()) else b"")
    shuffled = draw(st.permutations(lines))
    raw = b"POST %b?q=1 HTTP/1.1\r\nhost: a\r\n" % path
    raw += b"".join(b"%b: %b\r\n" % line for line in shuffled) + b"content-length: %d\r\n\r\n" % len(body)
    head = parse_request(raw, 65_536)
    assert head is not None
    headers = {name.decode(): value.decode("utf-8", "surrogateescape") for name, value in shuffled}
    wire = {"headers": headers, "path": f"{path.decode()}?q=1", "body": body.decode()}
    return Asked(head, body, Question.from_wire(wire))


def serving_of(table: RouteTable, decisions: LocalDecisions, loop: asyncio.AbstractEventLoop) -> Serving:
    """As a worker prepares what its parent sends it."""
    effective, withheld = overruled(table, decisions)
    serving = prepare(RouteTable.from_wire(json.loads(json.dumps(effective.to_wire()))), {}, loop, withheld)
    if serving.key_header:
        serving.usual = request_matcher(serving.key_header, looked_at(effective.rules))
    return serving


def told(decision: Decision) -> dict[str, Any]:
    served = decision.served
    return {
        "assigned": {"role": decision.role.value, "release": decision.release},
        "served": None if served is None else served.release,
        "by": decision.by.value,
        "why": decision.why.value,
        "rule": decision.rule,
        "refused": None if decision.refused is None else decision.refused.value,
    }


def placed(asked: Asked, serving: Serving, worker: Worker, now: float) -> tuple[Decision, str | None]:
    """As `Sending` does it: with what was waited for of the body."""
    waits = waits_for_key(asked.head, serving.table)
    beginning = b""
    if waits is not None:
        assert waits.feed(asked.body)
        beginning = waits.beginning
    placement, _ = place(asked.head, serving, worker, now, beginning)
    return placement.decision, placement.key


@given(st.data())
@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
def test_what_explain_says_is_what_the_worker_does(
    memory: tuple[Path, ConversationMemory], loop: asyncio.AbstractEventLoop, data: st.DataObject
) -> None:
    path, conversations = memory
    prefix = b"%d-" % next(_life)  # what is remembered of earlier examples is not of these conversations
    worker = cast(
        Worker,
        SimpleNamespace(
            memory=conversations, signer=SIGNER, passes=PASSES, recall=conversations.recall, mirror=None, epoch=0.0
        ),
    )
    now = NOW
    for _ in range(data.draw(st.integers(1, 3))):
        table, decisions = data.draw(tables()), data.draw(DECISIONS)
        serving = serving_of(table, decisions, loop)
        for _ in range(data.draw(st.integers(1, 5))):
            asked = data.draw(requests(prefix))
            now += 0.01
            explained = explain_here(asked.question, table, decisions, key=SECRET, memory=path, now=now)
            decision, _ = placed(asked, serving, worker, now)
            if explained["by_chance"]:
                assert decision.why is By.KEYLESS
                continue
            served = explained["served"]
            expected = {name: explained[name] for name in ("assigned", "by", "why", "rule", "refused")}
            assert told(decision) == {**expected, "served": None if served is None else served["release"]}


def table_of(*endpoints: Sequence[str], **changes: Any) -> RouteTable:
    made = RouteTable(
        route=ROUTE,
        fence=Fence(term=1, seq=1),
        arms=(
            Arm(role=Role.STABLE, release=V1, version="1.0.0", endpoints=("h:1",)),
            Arm(role=Role.CANDIDATE, release=V2, version="1.1.0", endpoints=("h:2",)),
        ),
        split=Parts(50_000),
        salt="r-1",
        keys=(EXTRACTORS[0],),
    )
    return replace(made, **changes)


def asked_of(path: Path, question: object, table: RouteTable | None = None, **decided: Any) -> dict[str, Any]:
    decisions = LocalDecisions(**decided)
    return explain_here(Question.from_wire(question), table or table_of(), decisions, key=SECRET, memory=path, now=NOW)


def test_a_conversation_is_asked_for_by_its_key_wherever_requests_have_it(
    memory: tuple[Path, ConversationMemory],
) -> None:
    path, _ = memory
    for keys in ((EXTRACTORS[0],), (EXTRACTORS[2],), (EXTRACTORS[4],), ()):
        for key in ("by-key-1", "by-key-2", "by-key-3"):
            found = asked_of(path, {"key": key}, table_of(keys=keys))
            role = "candidate" if bucket("r-1", key) < 50_000 else "stable"
            assert (found["assigned"]["role"], found["key"], found["why"]) == (role, key, "hash")


def test_what_is_remembered_is_told_with_when_it_ends(memory: tuple[Path, ConversationMemory]) -> None:
    path, conversations = memory
    key = next(f"kept-{n}" for n in range(99) if bucket("r-1", f"kept-{n}") < 50_000)
    from_hash = asked_of(path, {"key": key})
    conversations.remember(from_hash["unit"], release=release_tag(V1), salt=tag_of("r-1"), expires=int(NOW) + 60)
    found = asked_of(path, {"headers": {"X-Conversation-Id": f" {key}\t"}})
    assert found["remembered"] == {"release": V1, "expires": int(NOW) + 60}
    assert (found["why"], found["assigned"]["role"]) == ("pin", "stable")
    assert from_hash["assigned"]["role"] == "candidate"


def test_what_the_gateway_decided_by_itself_is_told_and_heeded(memory: tuple[Path, ConversationMemory]) -> None:
    path, _ = memory
    question = {"key": next(f"d-{n}" for n in range(99) if bucket("r-1", f"d-{n}") < 50_000)}
    masked = asked_of(path, question, masked=(V2,))
    assert (masked["masked"], masked["by"], masked["served"]["version"]) == ([V2], "fallback", "1.0.0")
    tripped = asked_of(path, question, tripped=V2, tripped_to=V1)
    assert (tripped["tripped"], tripped["withheld"], tripped["served"]["version"]) == (V2, [V2], "1.0.0")
    pinned = asked_of(path, question, pinned=True, pinned_to=V2)
    assert (pinned["pinned_to"], pinned["served"]["version"]) == (V2, "1.1.0")


def test_to_explain_makes_no_memory_where_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "conversations.map"
    assert asked_of(path, {"key": "c"})["remembered"] is None
    assert not path.exists()
    path.write_bytes(b"of another kind")
    assert open_memory(path) is None
    assert path.read_bytes() == b"of another kind"


@pytest.mark.parametrize(
    "wrong", [[], {"headers": []}, {"headers": {"a": 1}}, {"path": 7}, {"key": 7}, {"other": ""}, "text"], ids=str
)
def test_what_is_no_question_is_refused(wrong: object) -> None:
    with pytest.raises(UserError, match="a question has headers"):
        Question.from_wire(wrong)
