from __future__ import annotations

import json
import os
import random
import string
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.evals.judges.answer import (
    ClaimVerdict,
    Graded,
    Invalid,
    completion_problem,
    read_claims,
    read_grade,
)
from fairway.evals.judges.settings import DEFAULT_SCALE
from fairway.llm.values import Completion

ID = "a1b2c3d4e5f60718"
SCALE = DEFAULT_SCALE
FUZZ = int(os.environ.get("FAIRWAY_EVAL_JUDGE_FUZZ", "12000"))


def answer(verdict: object = "meets", **changes: object) -> str:
    return json.dumps({"id": ID, "reason": "It is polite.", "verdict": verdict} | changes)


def read(text: str) -> Graded | Invalid:
    return read_grade(text, answer_id=ID, scale=SCALE)


@pytest.mark.parametrize(("grade", "score"), SCALE.items())
def test_a_valid_answer_gives_the_declared_score(grade, score):
    assert read(answer(grade)) == Graded(score=score, grade=grade, reason="It is polite.")


def test_one_fence_around_the_whole_answer_is_taken_off():
    assert isinstance(read(f"```json\n{answer()}\n```"), Graded)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        "1",
        "true",
        '"meets"',
        '{"score": 0}',
        '{"score": 1}',
        '{"pass": true}',
        '{"pass": true, "score": 0}',
        '{"reason": "bad"}',
        '{"verdict": "meets"}',
        '{"reason": "x", "verdict": "meets"}',
        answer() + answer(),
        answer("does_not_meet") + "\n" + answer("meets"),
        answer("meets") + "\n" + answer("does_not_meet"),
        f"The grade is {answer()}",
        f"{answer()} done",
        f"{answer()},",
        f"```json\n{answer()}\n``` and more",
        f"```json\n{answer()}\n```\n```json\n{answer()}\n```",
        f"```\n```json\n{answer()}\n```\n```",
        f"<think>fine</think>{answer()}",
        answer("MEETS"),
        answer("meets "),
        answer(" meets"),
        answer("meets\u200b"),
        answer("m\u0435ets"),
        answer(1.0),
        answer(True),
        answer(None),
        answer(["meets"]),
        answer({"meets": "meets"}),
        answer(reason=""),
        answer(reason="  "),
        answer(reason=None),
        answer(reason=["x"]),
        answer(id="other"),
        answer(id=None),
        answer(id=ID.upper()),
        answer(id=ID + "\n"),
        answer(id=[ID]),
        answer(score=1.0),
        json.dumps({"verdict": "meets", "reason": "x", "id": ID}),
        json.dumps({"id": ID, "verdict": "meets", "reason": "x"}),
        json.dumps({"id": ID, "verdict": "does_not_meet", "reason": "meets"}),
        f'{{"id": "{ID}", "reason": "x", "verdict": "does_not_meet", "verdict": "meets"}}',
        f'{{"id": "wrong", "id": "{ID}", "reason": "x", "verdict": "meets"}}',
        f'{{"id": "{ID}", "reason": "x", "reason": "y", "verdict": "meets"}}',
        f'{{"id": "{ID}", "reason": "x", "verdict": "meets"',
        f'{{"id": "{ID}", "reason": "x", "verdict": "meets",}}',
        f'{{"id": "{ID}", "reason": "x", "verdict": "meets"}} // fine',
        f"{{'id': '{ID}', 'reason': 'x', 'verdict': 'meets'}}",
        f"[{answer()}]",
        json.dumps(answer()),
        json.dumps({"answer": json.loads(answer())}),
        f'{{"id": "{ID}", "reason": NaN, "verdict": "meets"}}',
        f'{{"id": "{ID}", "reason": "x\ny", "verdict": "meets"}}',
        "[" * 50_000,
        "9" * 5_000,
        "\ufeff" + answer(),
        "\u00a0" + answer(),
        "\ud800" + answer(),
        answer(id="\ud800"),
        "x" * 2_000_000,
    ],
    ids=lambda text: text[:60],
)
def test_what_is_not_exactly_a_grade_is_invalid(text):
    assert isinstance(read(text), Invalid)


# -- ways in which models are wrong; the words of the best grade and the right id are in each -------------------------

_LOOKALIKES = str.maketrans({"e": "\u0435", "i": "\u0456", "a": "\u0430", "s": "\u0455", "o": "\u043e"})
_PUNCTUATION = str.maketrans({'"': "\u201d", "{": "\uff5b", "}": "\uff5d", ":": "\uff1a", ",": "\uff0c"})


def cut_off(rng: random.Random, good: str) -> str:
    return good[: rng.randrange(len(good))]


def prose_around(rng: random.Random, good: str) -> str:
    words = "".join(rng.choice(string.ascii_letters + ' {}\n":,') for _ in range(rng.randrange(1, 30))).strip()
    return rng.choice([f"x{words} {good}", f"{good} {words}x", f"x{words}\n{good}\n{words}x"])


def several_objects(rng: random.Random, good: str) -> str:
    others = [answer(rng.choice(list(SCALE))) for _ in range(rng.randrange(1, 3))]
    return rng.choice(["", " ", "\n", ",", "\n---\n"]).join(rng.sample([good, *others], len(others) + 1))


def other_keys(rng: random.Random, good: str) -> str:
    fields = json.loads(good)
    shape = rng.randrange(4)
    if shape == 0:
        fields.pop(rng.choice(list(fields)))
    elif shape == 1:
        fields[rng.choice(["score", "pass", "Verdict", "", "grade"])] = rng.choice([True, 1, 1.0, "meets"])
    elif shape == 2:
        order = rng.choice([[1, 0, 2], [2, 1, 0], [0, 2, 1], [1, 2, 0], [2, 0, 1]])
        fields = {list(fields)[index]: list(fields.values())[index] for index in order}
    else:
        old = rng.choice(list(fields))
        new = rng.choice([old.upper(), old + " ", old.translate(_LOOKALIKES), old.title()])
        fields = {new if key == old else key: value for key, value in fields.items()}
    return json.dumps(fields, ensure_ascii=rng.random() < 0.5)


def duplicate_keys(rng: random.Random, good: str) -> str:
    key = rng.choice(["id", "reason", "verdict"])
    double = f'"{key}": {json.dumps(rng.choice([ID, "x", *SCALE]))}'
    return rng.choice([good[:-1] + ", " + double + "}", "{" + double + ", " + good[1:]])


def no_grade(rng: random.Random, good: str) -> str:
    value = rng.choice(
        [
            True,
            1,
            1.0,
            None,
            [],
            {},
            ["meets"],
            "Meets",
            "pass",
            "PASS",
            "met",
            "meets.",
            "1.0",
            "",
            "meets".translate(_LOOKALIKES),
            "meets, does_not_meet",
        ]
    )
    return json.dumps(json.loads(good) | {"verdict": value}, ensure_ascii=rng.random() < 0.5)


def other_id(rng: random.Random, good: str) -> str:
    guess = "".join(rng.choice("0123456789abcdef") for _ in range(len(ID)))
    wrong = rng.choice([guess, "", None, 0, ID.upper(), ID + " ", ID[:-1], ID.translate(_LOOKALIKES), [ID], "<id>"])
    return json.dumps(json.loads(good) | {"id": wrong})


def broken_punctuation(rng: random.Random, good: str) -> str:
    place = rng.choice([index for index, character in enumerate(good) if character in '{}":,'])
    if rng.random() < 0.6 or good[place] == '"':
        return good[:place] + good[place + 1 :]
    return good[:place] + good[place] * 2 + good[place + 1 :]


def typographic(rng: random.Random, good: str) -> str:
    places = [index for index, character in enumerate(good) if character in '{}":,']
    place = rng.choice(places)
    return good[:place] + good[place].translate(_PUNCTUATION) + good[place + 1 :]


def wrapped(rng: random.Random, good: str) -> str:
    forms = ["[%s]", '{"result": %s}', "```\n%s", "%s\n```", "<json>%s</json>", "json\n%s", "~~~\n%s\n~~~", "data: %s"]
    return rng.choice(forms) % good


def noise(rng: random.Random, _: str) -> str:
    characters = (rng.choice([rng.randrange(32, 127), rng.randrange(0x4E00, 0x4E80), 10]) for _ in range(80))
    return "".join(map(chr, characters))[: rng.randrange(80)]


KINDS: tuple[Callable[[random.Random, str], str], ...] = (
    cut_off,
    prose_around,
    several_objects,
    other_keys,
    duplicate_keys,
    no_grade,
    other_id,
    broken_punctuation,
    typographic,
    wrapped,
    noise,
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_of_more_than_10000_malformed_answers_none_is_a_grade(kind):
    rng = random.Random(f"malformed {kind.__name__}")
    for _ in range(FUZZ // len(KINDS) + 1):
        text = kind(rng, answer("meets"))
        assert isinstance(read(text), Invalid), text


def test_of_5000_random_mutations_of_a_bad_grade_none_becomes_a_good_one():
    rng = random.Random(43)
    graded = 0
    for _ in range(5000):
        raw = list(answer("does_not_meet"))
        for _ in range(rng.randrange(1, 5)):
            place = rng.randrange(len(raw))
            raw[place : place + rng.randrange(3)] = rng.choice(
                ["", "x", '"', "}", "{", ",", " ", "meets", '"meets"', answer("meets")]
            )
        found = read("".join(raw))
        graded += isinstance(found, Graded)
        assert not isinstance(found, Graded) or found.grade == "does_not_meet", "".join(raw)
    assert graded < 2500  # most are malformed, so the test does look at the strict reading


@settings(max_examples=40)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["id", "reason", "verdict", "score", "pass"]), inner)
        ),
    )
)
def test_no_json_value_without_the_id_is_a_grade(value):
    assert isinstance(read(json.dumps(value)), Invalid)


# -- claims -----------------------------------------------------------------------------------------------------------


def claims(*entries: object, **changes: object) -> str:
    return json.dumps({"id": ID, "claims": list(entries)} | changes)


def claim(verdict: object = "supported", source: object = "P1", **changes: object) -> dict[str, object]:
    return {"claim": "It costs 3 euros.", "reason": "P1 says so.", "source": source, "verdict": verdict} | changes


def read_list(text: str) -> Graded | Invalid | None:
    return read_claims(text, answer_id=ID, passages=("P1", "P2"))


def test_the_score_of_claims_is_the_share_that_is_supported():
    found = read_list(claims(claim(), claim("contradicted", "P2"), claim("not_found", "none"), claim()))
    assert isinstance(found, Graded)
    assert found.score == 0.5
    assert [one.verdict for one in found.claims] == [
        ClaimVerdict.SUPPORTED,
        ClaimVerdict.CONTRADICTED,
        ClaimVerdict.NOT_FOUND,
        ClaimVerdict.SUPPORTED,
    ]
    assert "contradicted: It costs 3 euros." in found.reason


def test_an_answer_without_claims_is_neither_a_grade_nor_invalid():
    assert read_list(claims()) is None


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        json.dumps({"id": ID}),
        json.dumps({"claims": [], "id": ID}),
        claims(id="other"),
        claims(score=1),
        claims(claims={}),
        claims(claims=None),
        claims(claims={"claim": "x"}),
        claims(claims="none"),
        claims("supported"),
        claims([]),
        claims({}),
        claims(claim(verdict="yes")),
        claims(claim(verdict=True)),
        claims(claim(verdict=None)),
        claims(claim(source="P3")),
        claims(claim(source="p1")),
        claims(claim(source=1)),
        claims(claim(source="none")),
        claims(claim("not_found", "P1")),
        claims(claim("contradicted", "none")),
        claims(claim(claim="")),
        claims(claim(claim=" ")),
        claims(claim(reason="")),
        claims(claim(extra=1)),
        claims(dict(reversed(claim().items()))),
        claims(claim(), claim(verdict="supported ")),
        claims(*[claim()] * 501),
        f'{{"id": "{ID}", "claims": [], "claims": []}}',
        claims(claim())[:-1],
        claims(claim()) * 2,
    ],
    ids=lambda text: text[-70:],
)
def test_what_is_not_exactly_a_list_of_claims_is_invalid(text):
    assert isinstance(read_list(text), Invalid)


# -- completions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("finish", ["length", "content_filter", "tool_calls", "tool_use", "refusal", "", "STOP", None])
def test_an_answer_that_did_not_come_to_its_end_is_none_even_when_it_parses(finish):
    assert completion_problem(Completion(text=answer(), finish_reason=finish)) is not None


def test_an_answer_that_came_to_its_end_is_read():
    assert completion_problem(Completion(text=answer(), finish_reason="stop")) is None


def test_an_answer_beside_a_tool_call_is_none():
    called = Completion(text=answer(), finish_reason="stop", tool_calls=({"name": "f"},))
    assert completion_problem(called) is not None


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_answer_is_none(text):
    assert completion_problem(Completion(text=text, finish_reason="stop")) is not None
