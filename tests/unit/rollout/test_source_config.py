"""Custom gates as they are declared: read into a plan, and every mistake named at its place."""

from __future__ import annotations

import json

import pytest

from fairway.canonical import canonical_json
from fairway.errors import ProjectFileError
from fairway.ledger.redaction import redact_json
from fairway.rollout.config import RolloutSection
from fairway.rollout.plan import compile_plan
from fairway.rollout.wire import plan_to_wire
from fairway.sources.values import OnFail, Question, SourceGate, SourceKind
from fairway.validate import all_of, validate
from fairway.yaml_file import read_yaml

HEAD = "rollout:\n  gates:\n    custom:\n"


def read(tmp_path, text):
    (tmp_path / "fairway.yaml").write_text(HEAD + text)
    return validate(RolloutSection, read_yaml(tmp_path / "fairway.yaml", root=tmp_path), ("rollout",))


def refused(tmp_path, text):
    with pytest.raises(ProjectFileError) as caught:
        read(tmp_path, text)
    return all_of(caught.value)[0]


WHOLE = """\
      - name: cpu
        prometheus:
          url: http://127.0.0.1:9090
          query: 'avg(rate(process_cpu_seconds_total{release="{{candidate}}"}[1m]))'
          bearer: env:PROM_TOKEN
          headers: {X-Scope-OrgID: team-a}
        at_most: 0.8
        for: 2m
        every: 15s
        timeout: 3s
        errors: 7
        on_fail: roll_back
      - name: billing
        http: {url: 'https://billing.example.com/v1/ok?of={{candidate.release}}', json_pointer: /ok}
      - name: conversion
        prometheus:
          {url: 'http://p:9090/prom', query: 'rate(sold{v="{{arm}}"}[5m])', basic: {user: u, password: 'env:PW'}}
        compare: {at_least: -5%, at_most: +50%}
"""


def test_a_declared_gate_is_a_gate_of_the_plan(tmp_path):
    plan = compile_plan(read(tmp_path, WHOLE))
    cpu, billing, conversion = plan.sources
    assert cpu == SourceGate(
        name="cpu",
        question=Question(
            kind=SourceKind.PROMETHEUS,
            url="http://127.0.0.1:9090",
            query='avg(rate(process_cpu_seconds_total{release="{{candidate}}"}[1m]))',
            bearer="env:PROM_TOKEN",
            headers={"X-Scope-OrgID": "team-a"},
        ),
        at_most=0.8,
        holds_for=120.0,
        every=15.0,
        timeout=3.0,
        errors=7,
        on_fail=OnFail.ROLL_BACK,
    )
    assert billing.asks_yes_or_no
    assert (billing.question.pointer, billing.errors, billing.on_fail) == ("/ok", 5, OnFail.PAUSE)
    assert conversion.compares
    assert (conversion.least_of_stable, conversion.most_of_stable) == (0.95, 1.5)
    assert (conversion.question.user, conversion.question.password) == ("u", "env:PW")


def test_custom_gates_take_nothing_of_the_error_budget_and_are_in_the_policy_digest(tmp_path):
    without, with_them = compile_plan(RolloutSection()), compile_plan(read(tmp_path, WHOLE))
    assert [step.gates for step in without.steps] == [step.gates for step in with_them.steps]
    assert without.policy_digest != with_them.policy_digest
    digests = {
        compile_plan(read(tmp_path, WHOLE.replace(old, new))).policy_digest
        for old, new in [("0.8", "0.9"), ("[1m]", "[2m]"), ("PROM_TOKEN", "OTHER"), ("2m", "3m"), ("/ok}", "/fine}")]
    }
    assert len(digests | {with_them.policy_digest}) == 6


PROMETHEUS = "      - name: cpu\n        prometheus: {url: 'http://p:9090', query: 'up{v=\"{{arm}}\"}'}\n"


@pytest.mark.parametrize(
    ("text", "key", "line", "said"),
    [
        (
            "      - name: a\n        prometheus:\n          url: http://p\n          query: 'up{{candidat}}'\n",
            "rollout.gates.custom[0].prometheus.query",
            7,
            "did you mean {{candidate}}?",
        ),
        (PROMETHEUS, "rollout.gates.custom[0]", 4, "needs a limit"),
        ("      - name: a\n        at_most: 1\n", "rollout.gates.custom[0]", 4, "exactly one of prometheus and http"),
        (
            PROMETHEUS + "        at_most: 1\n        compare: {at_most: +1%}\n",
            "rollout.gates.custom[0]",
            4,
            "not both",
        ),
        (PROMETHEUS + "        at_most: 1\n        at_least: 2\n", "rollout.gates.custom[0]", 4, "nothing could keep"),
        (PROMETHEUS + "        at_most: lots\n", "rollout.gates.custom[0].at_most", 6, "a number"),
        (PROMETHEUS + "        compare: {at_most: 10%}\n", "rollout.gates.custom[0].compare.at_most", 6, "+10%"),
        (PROMETHEUS + "        compare: {}\n", "rollout.gates.custom[0].compare", 6, "at_most: +10%"),
        (PROMETHEUS + "        at_most: 1\n        every: 1ms\n", "rollout.gates.custom[0].every", 7, "200ms"),
        (PROMETHEUS + "        at_most: 1\n        onfail: pause\n", "rollout.gates.custom[0].onfail", 7, "on_fail"),
        (PROMETHEUS + "        at_most: 1\n        on_fail: stop\n", "rollout.gates.custom[0].on_fail", 7, "pause"),
        (PROMETHEUS + "        at_most: 1\n        for: 3h\n", "rollout", 2, "leaves no time for custom gate cpu"),
        (
            (PROMETHEUS + "        at_most: 1\n") * 2,
            "rollout.gates.custom",
            4,
            "there is a gate cpu already",
        ),
        (
            PROMETHEUS.replace("cpu", "failures") + "        at_most: 1\n",
            "rollout.gates.custom",
            4,
            "there is a gate failures already",
        ),
        (
            PROMETHEUS.replace("{{arm}}", "{{candidate}}") + "        compare: {at_most: +1%}\n",
            "rollout.gates.custom[0]",
            4,
            "{{arm}}",
        ),
        (
            "      - name: a\n        http: {url: 'http://u:p@h/', json_pointer: /ok}\n",
            "rollout.gates.custom[0].http.url",
            5,
            "no user or password",
        ),
        (
            "      - name: a\n        http: {url: 'http://h/?api_key=1', json_pointer: /ok}\n",
            "rollout.gates.custom[0].http.url",
            5,
            "no credential",
        ),
        (
            "      - name: a\n        http: {url: 'ftp://h/', json_pointer: /ok}\n",
            "rollout.gates.custom[0].http.url",
            5,
            "not an address",
        ),
        (
            "      - name: a\n        http: {url: 'http://h/', json_pointer: ok}\n",
            "rollout.gates.custom[0].http.json_pointer",
            5,
            "/data/ok",
        ),
        (
            "      - name: a\n        http: {url: 'http://h/', headers: {Authorization: x}}\n",
            "rollout.gates.custom[0].http.headers",
            5,
            "credential",
        ),
        (
            "      - name: a\n        http: {url: 'http://h/', bearer: 'vault:x/y'}\n",
            "rollout.gates.custom[0].http.bearer",
            5,
            "env:NAME",
        ),
    ],
)
def test_a_mistake_is_named_at_its_place(tmp_path, text, key, line, said):
    error = refused(tmp_path, text)
    assert (error.file, error.line, error.key) == ("fairway.yaml", line, key)
    assert error.exit_code == 2
    assert said in str(error)


def test_what_is_accepted_is_kept_by_the_ledger_as_it_is(tmp_path):
    kept = [
        'up{token="a-label-of-that-name", secret=~"x.*"}',
        'rate(tokens_total{kind="password"}[5m])',
        'up{job="api", key="value-of-a-label"}',
    ]
    for query in kept:
        plan = compile_plan(read(tmp_path, WHOLE.replace("avg(rate(process_cpu_seconds_total{", f"{query} + ({{")))
        assert redact_json(canonical_json(plan_to_wire(plan))) == canonical_json(plan_to_wire(plan))
    for url in ("http://h/?xtoken=abcdef12", "http://h/?my-secret=abcdef", "http://h/?v=1&ACCESS_KEY=abcdef"):
        text = f"      - name: a\n        http: {{url: '{url}'}}\n"
        assert "credential" in str(refused(tmp_path, text))
    shaped = "      - name: a\n        http: {url: 'http://h/ghp_" + "a1" * 20 + "'}\n"
    assert "looks like a credential" in str(refused(tmp_path, shaped))


def test_a_literal_credential_is_refused_and_never_repeated(tmp_path):
    error = refused(tmp_path, "      - name: a\n        http: {url: 'http://h/', bearer: hunter2-hunter2}\n")
    assert error.key == "rollout.gates.custom[0].http.bearer"
    assert "hunter2" not in str(error)


def test_the_schema_knows_custom_gates():
    schema = json.dumps(RolloutSection.model_json_schema())
    assert "json_pointer" in schema
    assert '"for"' in schema
