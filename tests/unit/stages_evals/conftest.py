from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fairway.bundle.files import scan
from fairway.clock import SystemClock
from fairway.pipeline.port import StageNode, StageOutcome
from fairway.pipeline.runner import Opening
from fairway.project.load import load_project
from fairway.stages import prompt_regression
from fairway.stages.context import Delivery, DeliveryContext
from fairway.stages.interpreter import current_interpreter

PROJECT = """\
version: 1
agent: {name: shop}
service: {command: "python app.py {port}", chat: /chat}
"""
PROMPT = """\
template: |
  You help customers of a shop.
  Always ask for confirmation before a refund.
variables: {}
"""
PINNED = """\
environments:
  staging: {prompts: {support: "1.0.0"}}
  production: {prompts: {support: "1.0.0"}}
"""


def git(root: Path, *arguments: str) -> None:
    name = ("-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *name, *arguments], cwd=root, check=True, capture_output=True)


@dataclass
class Bench:
    """A project in a repository, and a stage to run on it."""

    root: Path
    runs: Path
    progress: list[str] = field(default_factory=list)
    count: int = 0

    def write(self, **files: str) -> None:
        for name, text in files.items():
            self.write_at(name.replace("__", "/"), text)

    def write_at(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def commit(self, tag: str | None = None) -> None:
        git(self.root, "add", "-A")
        git(self.root, "commit", "-q", "--allow-empty", "-m", "x")
        if tag:
            git(self.root, "tag", tag)

    def context(self, stage: str) -> DeliveryContext:
        project = load_project(self.root)
        self.count += 1
        folder = self.runs / str(self.count)

        def workdir() -> Path:
            folder.mkdir(parents=True)
            return folder

        delivery = Delivery(
            project=project,
            bundle=scan(self.root),
            interpreter=current_interpreter(),
            clock=SystemClock(),
            release_version=None,
            shown_version="1.0.1-dev.1",
            run_id="run-1",
            actor="test",
            folder=folder,
            open_ledger=_none,
            open_store=_none,
        )
        node = StageNode(id=stage, title=stage, after=(), factory=_none, key=lambda _: None)
        opening = Opening(node=node, workdir=workdir, log=folder / "log", progress=self.progress.append)
        return DeliveryContext(
            delivery=delivery, opening=opening, config=dict(project.pipeline.stages.get(stage) or {})
        )

    async def run(self, stage) -> StageOutcome:
        return await stage.run(self.context(stage.id))


def _none() -> None:
    raise AssertionError("this stage needs neither ledger nor store")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    root = tmp_path / "project"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    made = Bench(root=root, runs=tmp_path / "runs")
    made.write_at("fairway.yaml", PROJECT)
    made.write_at("app.py", "print('hello')\n")
    return made


Answer = Callable[[str], tuple[int, dict]]


@dataclass
class FakeAgent:
    """A service on loopback whose answers a test writes."""

    url: str
    answer: Answer
    stable: Answer | None = None
    environments: list[str] = field(default_factory=list)


def said(text: str, *tools: dict, tokens: tuple[int, int] | None = (100, 20)) -> tuple[int, dict]:
    return 200, {"response": text, "tools": list(tools), "_tokens": tokens}


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAgent]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            answer = made.stable if self.path == "/stable" and made.stable is not None else made.answer
            status, value = answer(body.get("message", json.dumps(body)))
            tokens = value.pop("_tokens", None)
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            if tokens:
                self.send_header("Fairway-Outcome", f"status=ok, tokens_in={tokens[0]}, tokens_out={tokens[1]}")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that is cancelled goes away in the middle of an answer."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made = FakeAgent(url=f"http://127.0.0.1:{server.server_address[1]}", answer=lambda _: said("Hello"))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()

    @dataclass
    class FakeServing:
        url: str
        environment: str
        release: str
        effective: str
        service: object
        mock_llm_url: str | None = None

    @asynccontextmanager
    async def serving(context, environment):
        made.environments.append(environment)
        yield FakeServing(
            url=made.url,
            environment=environment,
            release=context.release,
            effective="sha256:" + "e" * 64,
            service=context.project.service,
            mock_llm_url=made.url + "/v1",
        )

    monkeypatch.setattr(prompt_regression, "serving", serving)
    yield made
    server.shutdown()
    server.server_close()
    thread.join()
