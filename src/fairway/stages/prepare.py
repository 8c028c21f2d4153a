"""The toolchain: the project parses, its interpreter and tools are there, what is installed is what is locked."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fairway.errors import PermanentError, UserError
from fairway.pipeline.port import Finding, StageOutcome, StageStatus
from fairway.project.load import load_project
from fairway.stages.config import InterpreterChoice, PrepareSection
from fairway.stages.context import DeliveryContext
from fairway.stages.interpreter import ENVIRONMENT_COMPLETE, current_interpreter
from fairway.stages.lockfile import Pin, applicable, compare, normal_name, read_lock
from fairway.stages.process import run_command

_ASK = """
import json, os, platform, sys
from importlib import metadata
found = {}
for one in metadata.distributions():
    name = one.metadata["Name"]
    if name and name not in found:
        found[name] = one.version
version = "%d.%d.%d" % sys.version_info[:3]
environment = {
    "implementation_name": sys.implementation.name,
    "implementation_version": version,
    "os_name": os.name,
    "platform_machine": platform.machine(),
    "platform_python_implementation": platform.python_implementation(),
    "platform_release": platform.release(),
    "platform_system": platform.system(),
    "platform_version": platform.version(),
    "python_full_version": version,
    "python_version": "%d.%d" % sys.version_info[:2],
    "sys_platform": sys.platform,
}
print("fairway-answer " + json.dumps({"version": version, "packages": found, "environment": environment}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Installed:
    """What the project's interpreter says of itself."""

    version: str
    packages: Mapping[str, str]
    environment: Mapping[str, str]


class Prepare:
    """Fails with the names of what is missing or drifted; a project in another language has only its tools checked."""

    id = "prepare"
    title = "Prepare"
    after: tuple[str, ...] = ()

    def cache_key(self, context: DeliveryContext) -> str | None:
        """The registry's."""
        return context.opening.node.key(context)

    async def run(self, context: DeliveryContext) -> StageOutcome:
        """Look at files, tools and packages."""
        settings = context.settings(PrepareSection)
        tree = await context.tree()
        await asyncio.to_thread(load_project, tree)
        findings = [_missing_tool(tool) for tool in settings.tools if not _on_path(context, tool)]
        pins: tuple[Pin, ...] = ()
        lock = tree / settings.lock
        if lock.is_file():
            text = lock.read_text(encoding="utf-8")
            pins, unpinned = read_lock(text, file=settings.lock)
            findings.extend(unpinned)
        if settings.environment is InterpreterChoice.VENV:
            await _make_environment(context, settings, lock)
        python = context.delivery.interpreter.python
        details: dict[str, object] = {"lock": settings.lock if pins else None, "pins": len(pins)}
        if python is not None:
            said = await _ask(context, python, limit=settings.timeout)
            details |= {"python": said.version, "packages": len(said.packages)}
            wanted = applicable(pins, said.environment)
            findings.extend(compare(wanted, said.packages, file=settings.lock))
            if settings.python and not _is_version(said.version, settings.python):
                findings.append(_wrong_python(said.version, settings.python))
        elif pins or settings.python:
            findings.append(
                Finding(severity="error", rule="toolchain/python", message="there is no python on the path")
            )
        return _outcome(findings, details, pins)


def _outcome(findings: list[Finding], details: dict[str, object], pins: tuple[Pin, ...]) -> StageOutcome:
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        names = ", ".join(finding.message for finding in errors[:4])
        more = f" and {len(errors) - 4} more" if len(errors) > 4 else ""
        details["hint"] = next((finding.hint for finding in errors if finding.hint), None)
        return StageOutcome(status=StageStatus.FAILED, summary=names + more, details=details, findings=tuple(findings))
    python = f"python {details['python']}" if "python" in details else "no python"
    locked = f"{len(pins)} packages as locked" if pins else "no lock file, nothing compared"
    return StageOutcome(
        status=StageStatus.PASSED, summary=f"{python}, {locked}", details=details, findings=tuple(findings)
    )


def _on_path(context: DeliveryContext, tool: str) -> bool:
    return shutil.which(tool, path=context.delivery.interpreter.path) is not None


def _missing_tool(tool: str) -> Finding:
    return Finding(
        severity="error", rule="toolchain/missing", message=f"{tool} is not installed", hint=f"install {tool}"
    )


def _wrong_python(found: str, wanted: str) -> Finding:
    message = f"the project's python is {found}, pipeline.stages.prepare.python says {wanted}"
    return Finding(severity="error", rule="toolchain/python", message=message, file="fairway.yaml")


def _is_version(found: str, wanted: str) -> bool:
    return found.split(".")[: wanted.count(".") + 1] == wanted.split(".")


async def _ask(context: DeliveryContext, python: Path, *, limit: float) -> _Installed:
    """What is installed for an interpreter, by asking that interpreter.

    Raises:
        PermanentError: When it gives no answer (``code="interpreter"``).
    """
    ended = await run_command(
        [str(python), "-c", _ASK],
        cwd=context.workdir,
        environment=context.environment(),
        output=context.workdir / "interpreter.log",
        limit=limit,
        clock=context.clock,
    )
    for line in reversed(ended.text().splitlines()):
        if line.startswith("fairway-answer "):
            answer = json.loads(line.removeprefix("fairway-answer "))
            packages = {normal_name(name): version for name, version in answer["packages"].items()}
            return _Installed(version=answer["version"], packages=packages, environment=answer["environment"])
    raise PermanentError(
        f"{python} does not answer what is installed for it", code="interpreter", hint=ended.last_words(4) or None
    )


async def _make_environment(context: DeliveryContext, settings: PrepareSection, lock: Path) -> None:
    """Make the environment of the lock file, unless it is there; half-made ones are removed first.

    Raises:
        UserError: When there is no lock file, or installing it fails (``code="install_failed"``).
    """
    if not lock.is_file():  # noqa: ASYNC240 - one stat
        raise UserError(
            f"`environment: venv` needs {settings.lock}, which is not in the project",
            code="no_lock",
            hint=f"pip freeze > {settings.lock}, then commit it",
        )
    python = context.delivery.interpreter.python
    assert python is not None, "an environment of Fairway's always has a path"
    folder = python.parent.parent
    async with _exclusive(folder.with_suffix(".lock")):
        if (folder / ENVIRONMENT_COMPLETE).exists():
            return
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        context.progress(f"installing {settings.lock}")
        creator = current_interpreter().python or Path(sys.executable)
        install = [
            "-m",
            "pip",
            "install",
            "--no-deps",
            "--no-input",
            "--disable-pip-version-check",
            "-q",
            "-r",
            str(lock),
        ]
        for command in ([str(creator), "-m", "venv", str(folder)], [str(python), *install]):
            ended = await run_command(
                command,
                cwd=context.workdir,
                environment=context.environment(),
                output=context.log,
                limit=settings.timeout,
                clock=context.clock,
            )
            if ended.code != 0:
                raise UserError(
                    f"cannot install {settings.lock}", code="install_failed", hint=ended.last_words(6) or None
                )
        (folder / ENVIRONMENT_COMPLETE).touch()


@asynccontextmanager
async def _exclusive(path: Path) -> AsyncIterator[None]:
    """Hold a lock file, so that two runs do not make one environment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            await asyncio.sleep(0.1)
        yield
