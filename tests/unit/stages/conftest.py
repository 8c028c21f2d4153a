from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fairway.bundle.files import scan
from fairway.clock import Clock, SystemClock
from fairway.pipeline.port import StageNode, StageOutcome, StageResult
from fairway.pipeline.runner import Opening
from fairway.project.load import load_project
from fairway.release.store import FileContentStore
from fairway.stages.context import Delivery, DeliveryContext
from fairway.stages.interpreter import Interpreter, current_interpreter
from fairway.stages.registry import build_pipeline, vouching
from fairway.testing.memory_ledger import MemoryLedger

BASE = """
version: 1
agent: {name: shop}
service:
  command: python server.py {port}
  health: /health
  ready: /health
"""
GIT = {
    "GIT_AUTHOR_NAME": "Author", "GIT_AUTHOR_EMAIL": "author@example.org",
    "GIT_COMMITTER_NAME": "Author", "GIT_COMMITTER_EMAIL": "author@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull,
}  # fmt: skip


@dataclass
class StageBench:
    """A tiny project in git, and what it takes to run one stage of it."""

    root: Path
    folder: Path
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    said: list[str] = field(default_factory=list)
    results: dict[str, StageResult] = field(default_factory=dict)
    interpreter: Interpreter | None = None
    runs: int = 0
    clock: Clock = field(default_factory=SystemClock)

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.root, env={**os.environ, **GIT}, check=True, capture_output=True, text=True
        )
        return done.stdout

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def commit(self, files: Mapping[str, str] | None = None, *, settings: str = "") -> None:
        """Write files (and ``settings`` below ``pipeline.stages``) and commit everything."""
        stages = f"pipeline:\n  stages:\n    {settings}\n" if settings else ""
        self.write({"fairway.yaml": BASE + stages, **(files or {})})
        if not (self.root / ".git").exists():
            self.git("init", "-q", "-b", "main")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "change", "--allow-empty")

    def delivery(self, *, version: str | None = None) -> Delivery:
        project = load_project(self.root)
        return Delivery(
            project=project,
            bundle=scan(self.root),
            interpreter=self.interpreter or current_interpreter(),
            clock=self.clock,
            release_version=version,
            shown_version=version or "0.0.0-dev",
            run_id="20260101-000000-abcdef",
            actor="author@example.org",
            folder=self.folder,
            open_ledger=lambda: self.ledger,
            open_store=lambda: FileContentStore(project.state.blobs),
            vouching=vouching(project),
            results=self.results,
        )

    def context(self, stage: str, delivery: Delivery) -> DeliveryContext:
        nodes = {
            node.id: node for node in build_pipeline(delivery.project, releasing=delivery.release_version is not None)
        }
        self.runs += 1
        folder = self.folder / str(self.runs)

        def workdir() -> Path:
            folder.mkdir(parents=True)
            return folder

        self.folder.mkdir(parents=True, exist_ok=True)
        opening: Opening[DeliveryContext] = Opening(
            node=nodes[stage], workdir=workdir, log=self.folder / f"{stage}.log", progress=self.said.append
        )
        config: Mapping[str, Any] = delivery.project.pipeline.stages.get(stage) or {}
        return DeliveryContext(delivery=delivery, opening=opening, config=config)

    async def run(self, stage: str, *, version: str | None = None, delivery: Delivery | None = None) -> StageOutcome:
        given = delivery or self.delivery(version=version)
        context = self.context(stage, given)
        node: StageNode[DeliveryContext] = context.opening.node
        try:
            return await node.factory().run(context)
        finally:
            if delivery is None:
                await given.close()

    def key(self, stage: str) -> str | None:
        context = self.context(stage, self.delivery())
        return context.opening.node.key(context)


@pytest.fixture
def bench(tmp_path: Path) -> StageBench:
    root = tmp_path / "project"
    root.mkdir()
    return StageBench(root=root, folder=tmp_path / "run")


@pytest.fixture
def venv(tmp_path: Path) -> Callable[[Mapping[str, str]], Interpreter]:
    """Makes an interpreter that says it has certain packages installed."""

    def make(packages: Mapping[str, str]) -> Interpreter:
        import sys

        folder = tmp_path / "env"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        site = next(folder.glob("lib/python3*/site-packages"))
        for name, version in packages.items():
            info = site / f"{name}-{version}.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        return Interpreter(path=f"{folder}/bin:{os.environ['PATH']}", python=folder / "bin" / "python")

    return make
