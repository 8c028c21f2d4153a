"""Scripts, webhooks and embeddings through the whole stage: from the project's files to the gate's verdict."""

from __future__ import annotations

import json

import pytest

from fairway.errors import UserError
from fairway.evals.assertions.script_values import script_files
from fairway.evals.assertions.section import read_assertion
from fairway.evals.instrument import instrument_digest
from fairway.evals.values import Case, Suite
from fairway.pipeline.port import StageStatus
from fairway.stages.prompt_regression import PromptRegression
from fairway.units import Verdict

SCRIPT = "def get_assert(output, context):\n    return {'pass': 'Hello' in output, 'score': 0.9}\n"


def said(text: str):
    return 200, {"response": text, "tools": [], "_tokens": (10, 5)}


def answering(agent, text: str = "Hello!"):
    """The same server plays agent, webhook and embedding model."""
    asked: list[dict] = []

    def answer(message: str):
        if not message.startswith("{"):
            return said(text)
        request = json.loads(message)
        asked.append(request)
        if "input" in request:
            rows = [{"index": at, "embedding": [len(one), 1]} for at, one in enumerate(request["input"])]
            return 200, {"data": rows, "usage": {"total_tokens": 3}}
        return 200, {"pass": request["output"].startswith("Hello"), "score": 1}

    agent.answer = answer
    return asked


def project(bench, *assertions: str, evals: dict | None = None, url: str = "", alias: dict | None = None) -> None:
    listed = "".join(f"      - {one}\n" for one in assertions)
    bench.write_at("evals/suites/shop.yaml", f"cases:\n  - id: greeting\n    input: Hi\n    assert:\n{listed}")
    bench.write_at("checks/tone.py", SCRIPT)
    if evals:
        text = (bench.root / "fairway.yaml").read_text()
        bench.write_at("fairway.yaml", text + f"evals: {json.dumps(evals)}\n")
        models = {"embedder": {"provider": "openai", "model": "embed-1", "base_url": url, **(alias or {})}}
        bench.write_at("models.yaml", json.dumps({"version": 1, "models": models}))
    bench.commit()


async def test_scripts_webhooks_and_embeddings_decide_a_case(bench, agent):
    asked = answering(agent)
    project(
        bench,
        "python: checks/tone.py",
        f"webhook: {agent.url}/check",
        "similar: 'Hello?'",
        evals={"environment": "production", "embeddings": {"model": "embedder"}},
        url=agent.url,
    )
    outcome = await bench.run(PromptRegression())
    assert (outcome.status, outcome.summary) == (StageStatus.PASSED, "1 of 1 cases passed")
    assert [sorted(one) for one in asked] == [["context", "output"], ["input", "model"]]
    assert asked[1]["model"] == "embed-1"


@pytest.mark.parametrize("assertion", ["python: checks/tone.py", "webhook: {url}/check", "not-python: 'True'"])
async def test_a_script_or_webhook_that_says_no_fails_the_gate(bench, agent, assertion):
    answering(agent, "Go away!")
    project(bench, assertion.replace("{url}", agent.url))
    assert (await bench.run(PromptRegression())).evidence[0].verdict is Verdict.FAIL


@pytest.mark.parametrize("assertion", ["similar: x", "not-similar: x", "python: checks/none.py", "python: '{}'"])
async def test_what_cannot_be_measured_holds_the_gate(bench, agent, assertion):
    answering(agent)
    project(bench, assertion)
    assert (await bench.run(PromptRegression())).evidence[0].verdict is Verdict.ERROR


async def test_an_embedding_model_without_its_key_says_which_variable_it_needs(bench, agent):
    key = {"api_key": "env:EMBEDDING_KEY_THAT_IS_NOT_SET"}
    project(
        bench,
        "similar: x",
        evals={"environment": "production", "embeddings": {"model": "embedder"}},
        url=agent.url,
        alias=key,
    )
    with pytest.raises(UserError, match="EMBEDDING_KEY_THAT_IS_NOT_SET"):
        await bench.run(PromptRegression())


async def test_the_mock_model_embeds_nothing(bench, agent):
    answering(agent)
    project(bench, "similar: x", evals={"embeddings": {"model": "embedder"}}, url=agent.url)
    assert (await bench.run(PromptRegression())).evidence[0].verdict is Verdict.ERROR


async def test_another_script_is_another_instrument(bench, agent):
    answering(agent)
    project(bench, "python: checks/tone.py")
    first = (await bench.run(PromptRegression())).details["instrument"]
    assert (await bench.run(PromptRegression())).details["instrument"] == first
    bench.write_at("checks/tone.py", SCRIPT + "# stricter\n")
    bench.commit()
    assert (await bench.run(PromptRegression())).details["instrument"] != first


def test_scripts_and_the_embedding_model_are_in_the_instrument_where_they_are_used():
    def digest(written, **more):
        case = Case(id="c", name="c", turns=("q",), assertions=(read_assertion(written),))
        suites = [Suite(name="s", file="s.yaml", cases=(case,))]
        return instrument_digest(suites, judge=None, mock_scenario=None, **more)

    inside = {"assert-set": [{"python": "checks/a.py:f"}, {"contains": "x"}]}
    assert script_files([read_assertion(inside), read_assertion({"python": "True"})]) == ("checks/a.py",)
    codes = [digest(inside, read=lambda _, code=code: code) for code in (b"1", b"2", None)]
    assert len(set(codes)) == 3
    assert digest({"contains": "x"}, read=lambda _: b"1") == digest({"contains": "x"})
    models = [digest({"assert-set": [{"similar": "x"}]}, embeddings=name) for name in ("a/b", "a/c", None)]
    assert len(set(models)) == 3
    assert digest({"contains": "x"}, embeddings="a/b") == digest({"contains": "x"})
