"""The judges' assertions: what each asks, on which scale, and what a suite must say of it.

None of them asks for a number: a grade is a word, and what it is worth is declared here or in the suite.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fairway.evals.judges.settings import scale_problem
from fairway.evals.values import Assertion
from fairway.mistakes import nearest


class Form(StrEnum):
    """What a judge answers: one grade, a list of claims, or which of two is better, asked in both orders."""

    GRADE = "grade"
    CLAIMS = "claims"
    PAIR = "pair"


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeKind:
    """One type of assertion a judge measures.

    Attributes:
        task: The instruction, the same in every question, so that a provider's prompt cache keeps it.
        heading: What the assertion's value is called in the question; ``None``: the value is material (a reference).
        scale: Grades and scores; ``None``: those of the judge's settings. A suite's ``choice_scores`` replace it.
        threshold: Needed where the suite says none; ``None``: that of the judge's settings.
        form: What is answered.
        value_problem: What is wrong with a suite's value; ``None``: nothing.
        options: Keys a suite may give besides.
        of_reference: The claims are those of the value, a reference answer, not of the reply.
    """

    name: str
    task: str
    heading: str | None = None
    scale: Mapping[str, float] | None = None
    threshold: float | None = None
    form: Form = Form.GRADE
    value_problem: Callable[[Any], str | None]
    options: frozenset[str] = frozenset({"choice_scores"})
    of_reference: bool = False


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) and value.strip() else "expected a text"


def _texts(value: Any) -> str | None:
    if isinstance(value, list | tuple) and value and all(_text(one) is None for one in value):
        return None
    return None if _text(value) is None else "expected a text or a list of texts"


def _texts_or_nothing(value: Any) -> str | None:
    return None if value is None else _texts(value)


def _nothing(value: Any) -> str | None:
    return None if value is None else "expected no value"


_ANSWERS = {"answers": 1.0, "partly_answers": 0.5, "does_not_answer": 0.0}
_CORRECT = {"correct": 1.0, "not_attempted": 0.0, "incorrect": 0.0}
_FACTS = {"same": 1.0, "immaterial": 1.0, "superset": 0.6, "subset": 0.4, "disagrees": 0.0}
PAIR_SCALE: Mapping[str, float] = {"first": 1.0, "equal": 0.5, "second": 0.0}
"""What a judge says of two replies; ``first`` and ``second`` as they stand in its question."""

_KINDS = (
    JudgeKind(
        name="llm-rubric",
        task="Grade the agent's replies by the rubric.",
        heading="Rubric",
        value_problem=_text,
    ),
    JudgeKind(
        name="conversation-rubric",
        task=(
            "Grade how the agent conducts the whole conversation by the rubric: every one of its turns counts, "
            "what it said before binds it later, and one turn that breaks the rubric breaks it for the "
            "conversation."
        ),
        heading="Rubric",
        value_problem=_text,
    ),
    JudgeKind(
        name="g-eval",
        task=(
            "Grade the agent's last reply by the criteria. Go through the steps, when there are any, one by one "
            "and in their order, and say in the reason what each shows."
        ),
        heading="Criteria",
        value_problem=_texts,
        options=frozenset({"choice_scores", "steps"}),
    ),
    JudgeKind(
        name="choice",
        task="Answer the question about the agent's last reply with exactly one of the choices.",
        heading="Question",
        value_problem=_text,
    ),
    JudgeKind(
        name="model-graded-closedqa",
        task="Say whether the agent's last reply meets the criterion: yes only if it meets all of it.",
        heading="Criterion",
        scale={"yes": 1.0, "no": 0.0},
        value_problem=_text,
    ),
    JudgeKind(
        name="factuality",
        task=(
            "Compare the facts of the agent's last reply with those of the reference answer; ignore style and "
            "wording. same: all the same facts. immaterial: they differ in nothing that matters to the facts. "
            "superset: all facts of the reference and more that do not contradict it. subset: only some of its "
            "facts, consistent with it. disagrees: anything contradicts it."
        ),
        scale=_FACTS,
        value_problem=_text,
    ),
    JudgeKind(
        name="accuracy",
        task=(
            "Say whether the agent's last reply gives the reference answer to the question. correct: what was "
            "asked is answered as the reference does, nothing contradicts it. incorrect: anything contradicts it,"
            " however hedged. not_attempted: it is not answered, and nothing contradicts it."
        ),
        scale=_CORRECT,
        value_problem=_text,
    ),
    JudgeKind(
        name="context-faithfulness",
        task=(
            "List every claim of fact in the agent's last reply, one statement each, none left out and none "
            "added; greetings, questions and offers are no claims. Judge each only by the passages, not by what "
            "you know. supported: a passage says it. contradicted: a passage says otherwise. not_found: no "
            "passage says either."
        ),
        form=Form.CLAIMS,
        threshold=1.0,
        value_problem=_texts_or_nothing,
        options=frozenset({"no_claims"}),
    ),
    JudgeKind(
        name="context-recall",
        task=(
            "List every claim of fact in the reference answer, one statement each, none left out and none added. "
            "Judge each only by the passages, not by what you know. supported: a passage says it. contradicted: a"
            " passage says otherwise. not_found: no passage says either."
        ),
        form=Form.CLAIMS,
        threshold=1.0,
        value_problem=_text,
        options=frozenset({"context", "no_claims"}),
        of_reference=True,
    ),
    JudgeKind(
        name="answer-relevance",
        task=(
            "Say whether the agent's last reply answers what the user asked last; not whether it is right. "
            "answers: all of it, without straying. partly_answers: a part of it, or it strays. does_not_answer: "
            "something else, or it evades."
        ),
        scale=_ANSWERS,
        value_problem=_nothing,
    ),
    JudgeKind(
        name="pairwise",
        task=(
            "Say which of two replies to the user's last message is better. Neither length nor the order they "
            "stand in counts. first or second: that reply is better. equal: neither is."
        ),
        scale=PAIR_SCALE,
        threshold=0.5,
        form=Form.PAIR,
        value_problem=_text,
        options=frozenset({"criteria"}),
    ),
)

_ALIASES = {
    "model-graded": "choice",
    "closed-qa": "model-graded-closedqa",
    "model-graded-factuality": "factuality",
    "groundedness": "context-faithfulness",
}

JUDGE_KINDS: Mapping[str, JudgeKind] = {kind.name: kind for kind in _KINDS} | {
    alias: kind for alias, name in _ALIASES.items() for kind in _KINDS if kind.name == name
}
"""By every name a suite may write, without ``not-``."""


def judge_problem(assertion: Assertion) -> tuple[str, str] | None:
    """What is wrong with a judge's assertion as a suite wrote it.

    Returns:
        The key it stands at (``value``, ``choice_scores``, ``threshold`` …) and what is wrong; ``None``: nothing.
    """
    kind = JUDGE_KINDS[assertion.type]
    problem = kind.value_problem(assertion.value)
    if problem is not None:
        return "value", problem
    for key, value in assertion.options.items():
        if key == "turn":
            return key, "a judge sees the whole conversation; say in the value which turn is meant"
        if key not in kind.options:
            near = nearest(key, kind.options)
            return key, "unknown key" + (f"; did you mean {near!r}?" if near else "")
        problem = _option_problem(key, value)
        if problem is not None:
            return key, problem
    scores = assertion.options.get("choice_scores")
    if scores is not None and assertion.threshold is not None and min(scores.values()) >= assertion.threshold:
        return "threshold", "is reached by every choice, so that nothing could fail"
    if kind.name == "choice" and "choice_scores" not in assertion.options:
        return "choice_scores", "is required: the choices and the score of each, for example {yes: 1, no: 0}"
    return None


def _option_problem(key: str, value: Any) -> str | None:
    if key == "choice_scores":
        return scale_problem(value)
    if key == "no_claims":
        return None if value in ("unknown", "pass", "fail") else "expected unknown, pass or fail"
    if key == "criteria":
        return _text(value)
    return _texts(value)
