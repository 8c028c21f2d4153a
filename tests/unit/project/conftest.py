from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

MINIMAL = """\
version: 1
agent:
  name: support
service:
  command: python -m app
"""

FULL = {
    "fairway.yaml": """\
version: 1
agent:
  name: support
  description: Answers customers.
service:
  command: [python, -m, app, --port, "{port}"]
  health: /healthz
  ready: /readiness
  chat: /chat
  binding: env
  ready_timeout: 60s
  drain: 15s
  environment: {LANG: C, RETRIES: 3}
llm:
  mock:
    scenario: evals/mock-llm.yaml
gateway:
  port: 8700
  admin_port: 8701
  workers: 2
  keys:
    - header: X-Conversation-Id
    - path_segment: 2
  rules:
    - {kind: tenant, values: [acme], to: candidate}
    - {id: gray, kind: header, name: x-gray-tag, values: [a, b]}
  timeouts: {connect: 1s, total: 90s}
  limits: {body: 1MiB}
  block: 10s
environments:
  dev:
    models: {orchestrator: small}
    prompts: latest
  staging:
    after: [dev]
    prompts: {support: "1.0.0"}
    mock: {tools: true}
  production:
    after: [staging]
    prompts: {support: prod-1.0.0}
    tools: [lookup]
    replicas: 2
    approval: automatic
    latency_sla: 5s
pipeline:
  stages:
    unit_test: {minimum_coverage: 80}
    my_check:
      command: [make, check]
      after: [unit_test]
evals:
  suites: [evals/support.yaml]
  judge: {model: small, threshold: 0.7}
budgets:
  prompt_tokens: {warn: 3000, fail: 4000}
rollout:
  strategy: canary
  steps: [5%, 10%, {split: 30%, dwell: 20m}, 50%, 100%]
  dwell: 10m
  cap: 2h
  gates:
    success: 99.5%
    failures: {margins: [5pt, 2.5pt, 1pt, 0.005]}
    p95: {margins: ["+100%", "+50%", 1.2, "+10%"]}
""",
    "models.yaml": """\
version: 1
models:
  small:
    provider: openai
    model: gpt-5-mini-2025-08-07
    api_key: env:OPENAI_API_KEY
    context_window: 128000
    price: {input: 0.25, output: 2.0}
  full:
    provider: mock
    model: full-2026-05-01
    fallback: [small]
roles:
  orchestrator: full
""",
    "tools.yaml": """\
version: 1
tools:
  lookup:
    description: Looks up an order.
    risk: low
    timeout: 5s
    arguments:
      type: object
      properties: {order_id: {type: string}}
      required: [order_id]
  refund:
    description: Opens a refund.
    action: write
""",
    "prompts/support/1.0.0.yaml": """\
description: First.
model: orchestrator
tools: [lookup]
variables:
  shop: {type: string, default: Harbour}
  question: string
template: |
  You work for {{ shop }}.
  They ask: <question>{{ question }}</question>
""",
}


@pytest.fixture
def write_project(tmp_path: Path) -> Callable[..., Path]:
    """Writes a project; keyword ``files`` replaces or (with None) leaves out files of the full one."""

    def write(files: dict[str, str | None] | None = None) -> Path:
        for name, text in {**FULL, **(files or {})}.items():
            if text is not None:
                path = tmp_path / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        return tmp_path

    return write


@pytest.fixture
def full_project() -> dict[str, str]:
    return dict(FULL)


@pytest.fixture
def minimal_file() -> str:
    return MINIMAL


@pytest.fixture(scope="session")
def full_files() -> dict[str, str]:
    """The full project with its prompts locked."""
    path = "prompts/support/1.0.0.yaml"
    digest = hashlib.sha256(FULL[path].encode()).hexdigest()
    return {**FULL, "prompts.lock": f'version: 1\nprompts:\n  support:\n    "1.0.0": sha256:{digest}\n'}
