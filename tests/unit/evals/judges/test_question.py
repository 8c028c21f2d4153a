from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.evals.judges.kinds import JUDGE_KINDS
from fairway.evals.judges.nonces import Nonces
from fairway.evals.judges.question import JudgeQuestion, claims_question, grade_question
from fairway.evals.judges.settings import JudgeSettings
from fairway.evals.trials import Observed
from fairway.evals.values import Assertion, Case, Reply
from fairway.testing.scripted_model import asked_id

NONCES = Nonces(b"q" * 32)
SETTINGS = JudgeSettings(model="m", guidance="Be strict with prices.")
RUBRIC = Assertion(type="llm-rubric", value="Polite.")


def about(reply: str, turn: str = "hi") -> Observed:
    return Observed(case=Case(id="c", name="c", turns=(turn,)), replies=(Reply(text=reply),))


def question(observed: Observed, assertion: Assertion = RUBRIC) -> JudgeQuestion:
    return grade_question(JUDGE_KINDS[assertion.type], assertion, observed, SETTINGS)


def outside(text: str, fence: str) -> str:
    """What of a message stands outside the delimiters."""
    return "".join(part.partition(f"<<<end {fence}>>>")[2] or part for part in text.split(f"<<<{fence}>>>"))


@given(reply=st.text(), turn=st.text(min_size=1))
def test_what_nobody_vouches_for_stands_between_delimiters_it_does_not_contain(reply, turn):
    request, answer_id = question(about(reply, turn)).with_nonces(NONCES, "m", (0, 0))
    text = request.messages[1].content
    fence = text.partition("# Delimiter\n")[2].partition("\n")[0]
    assert answer_id not in reply + turn
    assert fence not in reply + turn
    assert text.count(f"<<<{fence}>>>") == text.count(f"<<<end {fence}>>>") == 2
    rest = text.partition(f"<<<{fence}>>>")[2]
    assert rest.startswith(f"\n{turn}\n<<<end {fence}>>>")
    assert asked_id(request) == answer_id


def test_the_delimiters_and_the_id_are_not_the_same():
    request, answer_id = question(about("x")).with_nonces(NONCES, "m", (0, 0))
    assert request.messages[1].content.partition("# Delimiter\n")[2].partition("\n")[0] != answer_id


def test_instructions_of_a_kind_are_the_same_in_every_question_for_the_providers_prompt_cache():
    one, other = (
        question(about(reply), Assertion(type="llm-rubric", value=value)).with_nonces(NONCES, "m", (number, 0))[0]
        for number, (reply, value) in enumerate((("a", "Polite."), ("b", "Short.")))
    )
    assert one.messages[0] == other.messages[0]
    assert one.response_schema == other.response_schema
    assert "Be strict with prices." in one.messages[0].content


def test_trusted_text_stands_before_the_material_and_the_id_at_the_end():
    request, answer_id = question(about("the reply")).with_nonces(NONCES, "m", (0, 0))
    text = request.messages[1].content
    assert text.index("Polite.") < text.index("# Delimiter") < text.index("the reply") < text.index(answer_id)
    assert text.endswith(answer_id)


def test_no_nonce_stands_in_the_schema_because_a_provider_that_enforces_it_would_write_it_into_any_grade():
    request, answer_id = question(about("x")).with_nonces(NONCES, "m", (0, 0))
    assert answer_id not in json.dumps(request.response_schema)
    assert answer_id not in request.messages[0].content


@pytest.mark.parametrize("name", ["llm-rubric", "context-faithfulness"])
def test_the_schema_asks_for_the_reason_before_the_verdict_and_for_nothing_more(name):
    kind = JUDGE_KINDS[name]
    if name == "llm-rubric":
        schema = question(about("x")).schema
    else:
        schema = claims_question(kind, Assertion(type=name), about("x"), SETTINGS, passages=("p",)).schema
        assert schema["required"] == ["id", "claims"]
        schema = schema["properties"]["claims"]["items"]
    keys = list(schema["properties"])
    assert keys.index("reason") < keys.index("verdict")
    assert schema["required"] == keys
    assert schema["additionalProperties"] is False
    assert schema["properties"]["verdict"]["enum"]
    assert "number" not in json.dumps(schema)


def test_the_temperature_is_0_and_claims_have_room():
    kind = JUDGE_KINDS["context-faithfulness"]
    assertion = Assertion(type="context-faithfulness")
    listed = claims_question(kind, assertion, about("x"), SETTINGS, passages=("one", "two"))
    assert listed.passages == ("P1", "P2")
    request, _ = listed.with_nonces(NONCES, "m", (0,))
    assert (request.temperature, request.max_tokens) == (0.0, 4096)
    assert question(about("x")).with_nonces(NONCES, "m", (0,))[0].max_tokens == 512


def test_another_model_asks_under_other_nonces():
    one, other = (question(about("x")).with_nonces(NONCES, model, (0, 0))[1] for model in ("m", "n"))
    assert one != other


def test_a_reply_that_holds_half_of_a_surrogate_pair_can_be_asked_about():
    request, answer_id = question(about("\ud800")).with_nonces(NONCES, "m", (0, 0))
    assert asked_id(request) == answer_id
    json.dumps(request.messages[1].content).encode()
