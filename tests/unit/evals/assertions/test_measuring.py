from __future__ import annotations

import asyncio
import json
import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.errors import PermanentError, TransientError
from fairway.evals.assertions.embeddings import Embedded, EmbeddingEndpoint, Similarity, cosine
from fairway.evals.assertions.finding import held, violated
from fairway.evals.assertions.grading import read_verdict
from fairway.evals.assertions.measuring import Measurers
from fairway.evals.assertions.scripts import Scripts
from fairway.evals.assertions.section import read_assertion
from fairway.evals.assertions.webhooks import Webhooks
from fairway.evals.trials import Observed
from fairway.evals.values import AssertionResult, Case, Found, Reply, ToolCall
from fairway.http_client.client import HttpClient

CASE = Case(id="c", name="A case", turns=("hello",), variables={"who": "ada"}, tags=("t",))
SEEN = Observed(case=CASE, replies=(Reply(text="Hello ada", tools=(ToolCall(name="f", arguments={"x": 1}),)),))

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["pass", "score", "reason", "x", "pass_"]), inner, max_size=4)
    ),
    max_leaves=6,
)


@given(JSON, st.none() | st.floats(0.01, 1))
def test_only_a_plain_yes_or_a_score_that_is_high_enough_is_ever_a_pass(said, threshold):
    found = read_verdict(said, threshold)
    if found.found is not Found.HELD:
        assert found.message
        return
    if isinstance(said, dict):
        assert set(said) <= {"pass", "pass_", "score", "reason"}
        assert said.get("pass", said.get("pass_")) in (True, None)
        score = said.get("score")
        assert score is not None or said.get("pass", said.get("pass_")) is True
    else:
        score = None if said is True else said
    if score is not None:
        assert not isinstance(score, bool)
        assert 0 < score <= 1
        assert score >= (threshold or 0) - 1e-9


@pytest.mark.parametrize(
    ("said", "threshold", "found"),
    [
        ({"score": 0}, None, Found.VIOLATED),
        ({"pass": True, "score": 0}, None, Found.VIOLATED),
        ({"pass": True, "score": 0.4}, 0.5, Found.VIOLATED),
        ({"pass": False, "score": 1}, None, Found.VIOLATED),
        ({"pass": True, "score": 0.4}, None, Found.HELD),
        ({"score": 0.69}, None, Found.VIOLATED),
        ({"score": 0.7}, None, Found.HELD),
        ({}, None, Found.ERROR),
        ({"reason": "fine"}, None, Found.ERROR),
        ({"passed": True}, None, Found.ERROR),
        ({"pass": "true"}, None, Found.ERROR),
        ({"pass": 1}, None, Found.ERROR),
        ({"score": True}, None, Found.ERROR),
        ({"score": 1.01}, None, Found.ERROR),
        ({"score": math.nan}, None, Found.ERROR),
        ({"score": 10**400}, None, Found.ERROR),
        (10**400, None, Found.ERROR),
        ({"pass": True, "pass_": False}, None, Found.ERROR),
        (math.inf, None, Found.ERROR),
        ("true", None, Found.ERROR),
        (None, None, Found.ERROR),
        ([True], None, Found.ERROR),
    ],
)
def test_what_is_said_ends_as_the_table_says(said, threshold, found):
    assert read_verdict(said, threshold).found is found


def test_a_no_never_carries_a_score_that_would_be_enough():
    assert [read_verdict({"pass": False, "score": score}, 0.5).score for score in (0.4, 0.5, 1)] == [0.4, 0.0, 0.0]


SCRIPT = """
import os, subprocess, sys, time
def get_assert(output, context):
    print("noise"); print("more", file=sys.stderr)
    return {"pass": output == "Hello " + context["vars"]["who"], "score": 1.0, "reason": "seen"}
def environment(output, context):
    return {"pass": "FAIRWAY_TEST_SECRET" not in os.environ, "reason": ",".join(sorted(os.environ))}
def calls(output, context):
    return context["replies"][0]["tools"][0]["arguments"] == {"x": 1} and context["config"] == {"limit": 3}
def slow(output, context):
    subprocess.Popen(["sleep", "60"]); time.sleep(60)
def child(output, context):
    open("child.pid", "w").write(str(subprocess.Popen(["sleep", "60"]).pid))
    return True
def daemon(output, context):
    open("child.pid", "w").write(str(subprocess.Popen(["sleep", "30"], start_new_session=True).pid))
    return True
def dies(output, context):
    print("out of luck", file=sys.stderr); sys.stderr.flush(); os._exit(3)
def leaves(output, context):
    sys.exit(0)
def large(output, context):
    return "x" * 3_000_000
def strange(output, context):
    return object()
async def later(output, context):
    return 0.9
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "checks.py").write_text(SCRIPT)
    return tmp_path


async def run(project, value, *, seconds: float = 20, **more) -> AssertionResult:
    measurers = Measurers(scripts=Scripts(project, timeout_seconds=seconds))
    return await measurers.measure(read_assertion({"type": "python", "value": value, **more}), SEEN, repeat=0)


@pytest.mark.parametrize(
    ("value", "more", "found", "said"),
    [
        ("checks.py", {}, Found.HELD, ""),
        ("file://checks.py:later", {}, Found.HELD, ""),
        ("checks.py:later", {"threshold": 0.95}, Found.VIOLATED, "its score is 0.9"),
        ("checks.py:calls", {"config": {"limit": 3}}, Found.HELD, ""),
        ("checks.py:dies", {}, Found.ERROR, "out of luck"),
        ("checks.py:leaves", {}, Found.ERROR, "SystemExit"),
        ("checks.py:large", {}, Found.ERROR, "too large"),
        ("checks.py:strange", {}, Found.ERROR, "not JSON serializable"),
        ("checks.py:nowhere", {}, Found.ERROR, "nowhere"),
        ("nowhere.py", {}, Found.ERROR, "there is no file nowhere.py"),
        ("output == 'Hello ada'", {}, Found.HELD, ""),
        ("if 'zzz' in output:\n    return True\nreturn {'score': 0}", {}, Found.VIOLATED, "its score is 0"),
        ("output + 1", {}, Found.ERROR, "TypeError"),
    ],
)
async def test_a_script_decides_and_one_that_breaks_is_an_error(project, value, more, found, said):
    result = await run(project, value, **more)
    assert result.found is found
    assert said in result.message
    assert (result.cost_micros, result.calls) == (0, 0)


async def test_a_script_sees_no_secret_of_the_environment(project, monkeypatch):
    monkeypatch.setenv("FAIRWAY_TEST_SECRET", "hunter2")
    assert (await run(project, "checks.py:environment")).found is Found.HELD


async def test_a_script_that_takes_too_long_is_killed_with_what_it_started(project):
    result = await run(project, "checks.py:slow", seconds=0.5)
    assert (result.found, result.message) == (Found.ERROR, "it was not done within 0.5 s")
    assert (await run(project, "checks.py:child")).found is Found.HELD
    pid = int((project / "child.pid").read_text())
    async with asyncio.timeout(5):
        while alive(pid):
            await asyncio.sleep(0.01)


async def test_what_a_script_leaves_behind_out_of_reach_holds_nothing_up(project):
    async with asyncio.timeout(10):
        assert (await run(project, "checks.py:daemon")).found is Found.HELD
    os.kill(int((project / "child.pid").read_text()), 9)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


async def test_a_script_outside_the_project_is_not_run_through_a_link(project, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "evil.py"
    outside.write_text("def get_assert(o, c): return True")
    (project / "linked.py").symlink_to(outside)
    assert (await run(project, "linked.py")).found is Found.ERROR


async def test_not_turns_a_scripts_verdict_and_leaves_its_trouble(project):
    measurers = Measurers(scripts=Scripts(project))
    for value, found in (("True", Found.VIOLATED), ("False", Found.HELD), ("None", Found.ERROR)):
        result = await measurers.measure(read_assertion({"not-python": value}), SEEN, repeat=0)
        assert (result.type, result.found) == ("not-python", found)


@pytest.fixture
async def service():
    """A loopback server that answers what it was told to, and keeps what it was asked."""
    asked: list[dict] = []
    answers: list[tuple[int, str]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line[15:]) for line in head.decode().lower().split("\r\n") if line.startswith("content-length:")
        )
        asked.append({"head": head.decode(), "body": json.loads(await reader.readexactly(length))})
        status, body = answers.pop(0)
        writer.write(
            f"HTTP/1.1 {status} X\r\ncontent-length: {len(body.encode())}\r\nconnection: close\r\n\r\n{body}".encode()
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield f"http://127.0.0.1:{port}", asked, answers


@pytest.mark.parametrize(
    ("status", "body", "found"),
    [
        (200, '{"pass": true}', Found.HELD),
        (200, '{"pass": true, "score": 0}', Found.VIOLATED),
        (200, '{"score": 0}', Found.VIOLATED),
        (200, "{}", Found.ERROR),
        (200, '{"pass": true} {"pass": false}', Found.ERROR),
        (200, "yes", Found.ERROR),
        (200, "", Found.ERROR),
        (201, '{"pass": true}', Found.ERROR),
        (302, '{"pass": true}', Found.ERROR),
        (500, '{"pass": true}', Found.ERROR),
    ],
)
async def test_a_webhooks_answer_is_read_as_strictly(service, status, body, found):
    url, asked, answers = service
    answers.append((status, body))
    async with HttpClient() as http:
        measurers = Measurers(webhooks=Webhooks(http))
        result = await measurers.measure(read_assertion({"webhook": f"{url}/check"}), SEEN, repeat=0)
    assert result.found is found
    assert asked[0]["body"]["output"] == "Hello ada"
    assert asked[0]["body"]["context"]["vars"] == {"who": "ada"}


async def test_a_webhook_that_is_not_there_is_an_error():
    async with HttpClient() as http:
        result = await Measurers(webhooks=Webhooks(http)).measure(
            read_assertion({"not-webhook": "http://127.0.0.1:1/"}), SEEN, repeat=0
        )
    assert result.found is Found.ERROR


class Letters:
    """Embeds a text as how often it has each letter; counts what it is asked."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked: list[list[str]] = []
        self.error = error

    async def embed(self, texts) -> Embedded:
        self.asked.append(list(texts))
        if self.error is not None:
            raise self.error
        vectors = tuple(tuple(float(text.lower().count(letter)) for letter in "abcdehlo") for text in texts)
        return Embedded(vectors=vectors, tokens=7, cost_micros=3)


async def test_similar_holds_by_the_nearest_reference_and_asks_for_each_once():
    embedder = Letters()
    measurers = Measurers(similarity=Similarity(embedder))
    assertion = read_assertion({"similar": ["Hello ada!", "bbb"]})
    result = await measurers.measure(assertion, SEEN, repeat=0)
    assert (result.found, result.score, result.cost_micros, result.calls) == (Found.HELD, pytest.approx(1), 3, 1)
    await measurers.measure(assertion, SEEN, repeat=1)
    assert embedder.asked == [["Hello ada!", "bbb", "Hello ada"], ["Hello ada"]]
    far = await measurers.measure(read_assertion({"similar": "bbb"}), SEEN, repeat=0)
    assert (far.found, far.score) == (Found.VIOLATED, 0.0)


async def test_an_empty_reply_is_similar_to_nothing_and_asks_nobody():
    embedder = Letters()
    empty = Observed(case=CASE, replies=(Reply(text=" "),))
    assertion = read_assertion({"similar": "Hello"})
    result = await Measurers(similarity=Similarity(embedder)).measure(assertion, empty, repeat=0)
    assert (result.found, result.cost_micros, result.calls, embedder.asked) == (Found.VIOLATED, 0, 0, [])


@pytest.mark.parametrize("error", [TransientError("busy"), PermanentError("refused")])
async def test_an_embedding_model_in_trouble_is_an_error_whose_cost_nobody_knows(error):
    measurers = Measurers(similarity=Similarity(Letters(error)))
    result = await measurers.measure(read_assertion({"not-similar": "x"}), SEEN, repeat=0)
    assert (result.found, result.cost_micros) == (Found.ERROR, None)


async def test_without_an_embedding_model_similar_is_unknown():
    result = await Measurers().measure(read_assertion({"not-similar": "x"}), SEEN, repeat=0)
    assert result.found is Found.UNKNOWN


async def test_the_endpoint_puts_vectors_in_their_order_and_counts_their_cost(service):
    url, asked, answers = service
    rows = [{"index": 1, "embedding": [0, 1]}, {"index": 0, "embedding": [1, 0]}]
    answers.append((200, json.dumps({"data": rows, "usage": {"total_tokens": 5}})))
    async with HttpClient() as http:
        endpoint = EmbeddingEndpoint(http, f"{url}/v1/", "small", key="k-1", cost=lambda tokens: tokens * 2)
        found = await endpoint.embed(["a", "b"])
    assert found == Embedded(vectors=((1.0, 0.0), (0.0, 1.0)), tokens=5, cost_micros=10)
    assert asked[0]["body"] == {"model": "small", "input": ["a", "b"]}
    assert "POST /v1/embeddings" in asked[0]["head"]
    assert "Bearer k-1" in asked[0]["head"]


@pytest.mark.parametrize(
    ("status", "answer", "error"),
    [
        (429, {}, TransientError),
        (503, {}, TransientError),
        (401, {}, PermanentError),
        (200, [], PermanentError),
        (200, {"data": []}, PermanentError),
        (200, {"data": [{"embedding": [0, 0]}]}, PermanentError),
        (200, {"data": [{"embedding": []}]}, PermanentError),
        (200, {"data": [{"embedding": ["1"]}]}, PermanentError),
        (200, {"data": [{"embedding": [1], "index": 3}]}, PermanentError),
        (200, {"data": [{"embedding": [1], "index": []}]}, PermanentError),
        (200, {"data": [{"embedding": [10**400]}]}, PermanentError),
        (200, {"data": [{"vector": [1]}]}, PermanentError),
    ],
)
async def test_vectors_that_cannot_be_used_are_trouble_and_no_similarity(service, status, answer, error):
    url, _, answers = service
    answers.append((status, json.dumps(answer)))
    async with HttpClient() as http:
        with pytest.raises(error):
            await EmbeddingEndpoint(http, url, "m").embed(["a"])


@given(st.lists(st.floats(-1e300, 1e300), min_size=3, max_size=3).filter(any), st.sampled_from([1e-9, 1.0, 1e5]))
def test_the_cosine_of_a_vector_with_itself_is_1_whatever_its_length(vector, factor):
    scaled = [value * factor for value in vector]
    if any(scaled) and all(map(math.isfinite, scaled)):
        assert cosine(vector, scaled) == pytest.approx(1)


class Counting:
    """Answers every script and judge the same, and counts."""

    def __init__(self, finding=None) -> None:
        self.finding = finding or held()
        self.asked = 0

    async def measure(self, assertion, observed, *, repeat=None):
        self.asked += 1
        if repeat is None:
            return self.finding
        return AssertionResult(type=assertion.name, found=Found.HELD, score=0.8, reason="good", cost_micros=5, calls=2)


@pytest.mark.parametrize(
    ("members", "more", "asked", "found"),
    [
        ([{"contains": "Hello"}, {"llm-rubric": "x"}, {"python": "True"}], {}, 2, Found.HELD),
        ([{"contains": "Bye"}, {"llm-rubric": "x"}, {"python": "True"}], {}, 0, Found.VIOLATED),
        ([{"contains": "Bye"}, {"llm-rubric": "x"}], {"threshold": 0.4}, 1, Found.HELD),
        ([{"contains": "Bye"}, {"llm-rubric": "x"}], {"threshold": 0.6}, 0, Found.VIOLATED),
        ([{"contains": "Hello"}, {"similar": "x"}], {}, 0, Found.UNKNOWN),
    ],
)
async def test_a_set_asks_only_while_it_is_open(members, more, asked, found):
    judge, scripts = Counting(), Counting()
    measurers = Measurers(judge=judge, scripts=scripts)
    result = await measurers.measure(read_assertion({"assert-set": members, **more}), SEEN, repeat=0)
    assert (judge.asked + scripts.asked, result.found) == (asked, found)
    assert (result.calls, result.cost_micros) == (2 * judge.asked, 5 * judge.asked)


async def test_who_is_not_there_leaves_it_unknown():
    for written in ({"llm-rubric": "x"}, {"python": "True"}, {"webhook": "http://x.example/"}, {"not-python": "True"}):
        assert (await Measurers().measure(read_assertion(written), SEEN, repeat=0)).found is Found.UNKNOWN


async def test_a_judge_is_handed_its_assertion_as_it_is_written():
    judge = Counting(violated("x"))
    result = await Measurers(judge=judge).measure(read_assertion({"not-llm-rubric": "x"}), SEEN, repeat=0)
    assert (result.type, result.found, judge.asked) == ("not-llm-rubric", Found.HELD, 1)
