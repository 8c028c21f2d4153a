from __future__ import annotations

from pathlib import Path

import pytest

from fairway.errors import FairwayError
from fairway.evals.subjects.model import ModelSubject
from fairway.evals.subjects.open import open_subject
from fairway.evals.trials import Question
from fairway.project.load import load_project
from fairway.stages.prompt_subject import prompt_source

FILES = {
    "fairway.yaml": (
        "version: 1\nagent: {name: shop}\nservice: {command: 'python app.py {port}'}\n"
        "environments: {staging: {prompts: {support: '1.0.0', reply: '1.0.0', lone: '1.0.0'}}}\n"
    ),
    "models.yaml": (
        "models:\n"
        "  big: {provider: openai, model: m-2026-01-01, api_key: env:KEY, parameters: {seed: 1}}\n"
        "  kind: {provider: anthropic, model: k-2026-01-01, base_url: 'http://127.0.0.1:9/v1'}\n"
        "  pretend: {provider: mock, model: x}\n"
        "roles: {orchestrator: big}\n"
    ),
    "tools.yaml": "tools:\n  look: {description: Looks., arguments: {type: object}}\n  other: {}\n",
    "prompts/support/1.0.0.yaml": (
        "template: 'Be {{ tone }}.'\nmodel: orchestrator\ntools: [look]\nvariables: {tone: {default: kind}}\n"
    ),
    "prompts/support/1.1.0.yaml": "template: 'Mock.'\nmodel: pretend\nvariables: {}\n",
    "prompts/reply/1.0.0.yaml": (
        "template: 'Answer <text>{{ mail }}</text>.'\nmodel: kind\nvariables: {mail: {untrusted: true}}\n"
    ),
    "prompts/lone/1.0.0.yaml": "template: 'Alone.'\nvariables: {}\n",
}


@pytest.fixture
def opened(tmp_path: Path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    project = load_project(tmp_path)

    def open_prompt(
        text: str, *, key: str | None = "key-1", mock_url: str | None = None, scenario: bytes = b""
    ) -> ModelSubject:
        environment = {} if key is None else {"KEY": key}
        source = prompt_source(
            project, project.overlay("staging"), mock_url=mock_url, scenario=scenario, environment=environment
        )
        subject = open_subject(f"prompt:{text}", prompts=source)
        assert isinstance(subject, ModelSubject)
        return subject

    return open_prompt


def messages(subject: ModelSubject, **variables: str) -> list[tuple[str, str]]:
    question = Question(suite="s", case_id="c", turns=("Hi",), thread="t", variables=variables)
    return [(message.role, message.content) for message in subject._request(question).messages]


def test_the_served_version_is_rendered_and_put_to_its_model_with_its_tools(opened):
    subject = opened("support")
    assert subject.info.name == "support@1.0.0 with m-2026-01-01"
    assert messages(subject, tone="brief") == [("system", "Be brief."), ("user", "Hi")]
    assert messages(subject) == [("system", "Be kind."), ("user", "Hi")]
    endpoint = subject._endpoint
    assert (endpoint.base_url, endpoint.api_key) == ("https://api.openai.com/v1", "key-1")
    assert dict(endpoint.parameters) == {"seed": 1}
    question = Question(suite="s", case_id="c", turns=("Hi",), thread="t")
    assert [tool["name"] for tool in subject._request(question).tools] == ["look"]


def test_a_prompt_that_holds_what_the_user_says_is_said_by_the_user(opened):
    subject = opened("reply")
    assert messages(subject) == [("user", "Answer <text>Hi</text>.")]
    assert (subject.info.identity or {})["wire"] == "anthropic"


def test_another_version_is_another_subject(opened):
    assert opened("support@1.1.0", mock_url="http://127.0.0.1:8/v1").info.identity != opened("support").info.identity


@pytest.mark.parametrize(
    ("text", "key", "why"),
    [
        ("nobody", "k", "serves no prompt"),
        ("support@9.9.9", "k", "9.9.9"),
        ("lone", "k", "names no model"),
        ("support", None, "KEY"),
        ("support@1.1.0", "k", "nobody knows where"),
    ],
)
def test_what_cannot_be_asked_is_said(opened, text, key, why):
    with pytest.raises(FairwayError) as caught:
        opened(text, key=key)
    assert why in str(caught.value)


def test_the_mock_model_is_known_by_what_it_answers_by_and_not_by_its_port(opened):
    first = opened("support@1.1.0", mock_url="http://127.0.0.1:4001/v1", scenario=b"rules: []").info
    assert first == opened("support@1.1.0", mock_url="http://127.0.0.1:4002/v1", scenario=b"rules: []").info
    assert first != opened("support@1.1.0", mock_url="http://127.0.0.1:4001/v1", scenario=b"rules: [x]").info
