"""What ``fairway doctor`` looks at. Nothing is changed or made by looking."""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import urlsplit

from fairway import __version__
from fairway.bundle.git import is_inside_repository, read_index
from fairway.errors import FairwayError, NotFoundError
from fairway.ledger import open_ledger
from fairway.ledger.placement import refuse_network_filesystem
from fairway.llm.mock.scenario import load_scenario
from fairway.project.load import Project, load_project
from fairway.supervise.entrance import look_at_access_log, look_at_certificate
from fairway.supervise.examined import Check, CheckStatus, fail, ok, warn
from fairway.supervise.info import ChildState, UpInfo, read_info, running
from fairway.supervise.outside import look_at_sources
from fairway.supervise.people import look_at_people
from fairway.supervise.processes import GATEWAY, uses_mock_models
from fairway.supervise.readiness import look_at_flags, look_at_the_way_back
from fairway.supervise.settings import look_at_settings
from fairway.supervise.trouble import child_trouble
from fairway.targets.local.process import LOOPBACK, is_running, listener_of, port_is_free
from fairway.targets.local.records import RecordFolder
from fairway.targets.local.service import agent_path
from fairway.targets.port import InstanceState

_MIB = 1024 * 1024
_DISK_FAIL_BYTES = 100 * _MIB
_DISK_WARN_BYTES = 1024 * _MIB
_OLDEST_PYTHON = (3, 11)
_TOOLS = (
    ("ruff", "static_analysis checks Python style with it"),
    ("bandit", "security_scan looks for insecure Python with it"),
    ("detect_secrets", "security_scan looks for secrets with it"),
)
_SERVING_ENVIRONMENT = "production"
_ENV_REFERENCE = "env:"


def examine(start: Path | None = None) -> tuple[Check, ...]:
    """Look at the machine and at the project at or above ``start``.

    A check that breaks is a failed check; the others still run.
    """
    checks = [*_checked("python", _python), *_checked("git", _git), *_checked("tools", _tools)]
    try:
        project = load_project(start)
    except NotFoundError as error:
        return (*checks, fail("project", error.message, error.hint))
    except FairwayError as error:
        return (*checks, fail("project", str(error.message), error.hint or "mend the file; the line is named"))
    for name, look in _PROJECT_CHECKS:
        checks.extend(_checked(name, lambda look=look: look(project)))  # type: ignore[misc]
    return tuple(checks)


def _checked(name: str, look: Callable[[], Iterator[Check]]) -> list[Check]:
    """The results of one look, whatever happens in it."""
    found: list[Check] = []
    try:
        found.extend(look())
    except FairwayError as error:
        found.append(fail(name, error.message, error.hint))
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        found.append(fail(name, f"could not be looked at: {error}", None))
    return found


# -- the machine ------------------------------------------------------------------------------------------------------


def _python() -> Iterator[Check]:
    """The interpreter and the system."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info[:2] < _OLDEST_PYTHON:
        yield fail("python", f"Python {version}", "Fairway needs 3.11 or newer")
        return
    if os.name != "posix":
        yield fail("python", f"{sys.platform} is not supported", "use Linux, macOS or the Windows Subsystem for Linux")
        return
    yield ok("python", f"Python {version}, Fairway {__version__}, {sys.platform}")


def _git() -> Iterator[Check]:
    """Whether git is there."""
    if shutil.which("git") is None:
        yield fail("git", "git is not installed or not on PATH", "install git: releases are cut from commits")
        return
    said = subprocess.run(["git", "--version"], capture_output=True, text=True, timeout=10, check=True)
    yield ok("git", said.stdout.strip())


def _tools() -> Iterator[Check]:
    """What stages use."""
    missing = [(name, why) for name, why in _TOOLS if importlib.util.find_spec(name) is None]
    for name, why in missing:
        yield warn("tools", f"{name} is not installed", f"{why}; pip install {name.replace('_', '-')}")
    if not missing:
        yield ok("tools", ", ".join(name.replace("_", "-") for name, _ in _TOOLS))


# -- the project ------------------------------------------------------------------------------------------------------


def _project(project: Project) -> Iterator[Check]:
    """Its files, and each environment as it resolves."""
    broken = 0
    for name in project.environments:
        try:
            project.overlay(name)
        except FairwayError as error:
            broken += 1
            yield fail("project", f"{name}: {error.message}", error.hint)
            break  # the next environment would say the same of the same file
    if not broken:
        names = ", ".join(project.environments)
        yield ok("project", f"{project.name} at {project.root}; environments {names}")


def _repository(project: Project) -> Iterator[Check]:
    """Whether a release could be cut from what is there."""
    if shutil.which("git") is None:
        return
    if not is_inside_repository(project.root):
        yield fail("repository", "the project is in no git repository", "git init && git add . && git commit")
        return
    _, status = read_index(project.root)
    if status.commit_sha is None:
        yield warn("repository", "there is no commit yet", "commit your files: a release is cut from a commit")
    elif status.changed or status.untracked:
        count = len(status.changed) + len(status.untracked)
        yield warn("repository", f"{count} file(s) differ from the commit", "commit them before you release")
    else:
        yield ok("repository", f"clean at {status.commit_sha[:8]}")
    ignored = subprocess.run(
        ["git", "-C", str(project.root), "check-ignore", "-q", ".fairway/x"],
        capture_output=True,
        timeout=10,
        check=False,
    )
    if ignored.returncode == 1:
        yield warn("repository", ".fairway/ is not ignored by git", "add .fairway/ to .gitignore: it holds keys")


def _command(project: Project) -> Iterator[Check]:
    """Whether the service's program can be found."""
    program = project.service.command[0]
    path = agent_path(os.environ.get("PATH", os.defpath))
    found = shutil.which(program, path=path)
    if found is None and not (project.root / program).exists():
        yield fail("service", f"{program} of service.command is not on PATH", "install it, or name it by its path")
    else:
        yield ok("service", f"{program} is {found or project.root / program}")


_PROVIDERS = (
    "mock", "openai", "anthropic", "azure", "bedrock", "google", "vertex", "mistral", "cohere", "groq", "deepseek",
    "together", "fireworks", "openrouter", "ollama", "xai",
)  # fmt: skip
"""Providers whose address a client library knows."""


def _models(project: Project) -> Iterator[Check]:
    """The mock scenario, and the keys of real providers."""
    if uses_mock_models(project, _SERVING_ENVIRONMENT):
        scenario = load_scenario(project.root / project.llm.mock.scenario)
        yield ok("models", f"mock scenario {project.llm.mock.scenario} with {len(scenario.rules)} rules")
    overlay = project.overlay(_SERVING_ENVIRONMENT)
    for alias, model in overlay.models.items():
        if model.base_url is None and model.provider not in _PROVIDERS:
            near = get_close_matches(model.provider, _PROVIDERS, n=1)
            hint = f"did you mean {near[0]}?" if near else "give it a base_url, or name another provider"
            yield warn("models", f"{alias}: {model.provider} is no provider known here, and has no base_url", hint)
        variable = (model.api_key or "").removeprefix(_ENV_REFERENCE)
        if (model.api_key or "").startswith(_ENV_REFERENCE) and variable not in os.environ:
            hint = f"export {variable}=… where `fairway up` runs"
            yield warn("models", f"{alias} ({model.provider}) needs {variable}, which is not set", hint)


def _disk(project: Project) -> Iterator[Check]:
    """Room for releases and logs, and a disk the ledger can live on."""
    existing = next(folder for folder in (project.state.root, *project.state.root.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    detail = f"{free // _MIB} MiB free at {existing}"
    if free < _DISK_FAIL_BYTES:
        yield fail("disk", detail, "free some space: releases, logs and the ledger need it")
    elif free < _DISK_WARN_BYTES:
        yield warn("disk", detail, "free some space soon")
    else:
        yield ok("disk", detail)
    if not os.access(existing, os.W_OK):
        yield fail("disk", f"{existing} cannot be written", "check who owns it, or whether it is mounted read-only")
    refuse_network_filesystem(project.state.ledger)


def _ledger(project: Project) -> Iterator[Check]:
    """Whether the ledger can be read and has the present schema."""
    path = project.state.ledger
    try:
        ledger = open_ledger(path, migrate=False)
    except FairwayError as error:
        if error.code == "ledger_not_found":
            yield ok("ledger", "none yet; the first run makes one")
            return
        if error.code == "ledger_older":
            yield warn("ledger", error.message, error.hint or "")
            return
        raise
    try:
        releases = ledger.list_releases(project.name)
    finally:
        ledger.close()
    yield ok("ledger", f"{path.name} is readable, {len(releases)} release(s); fairway audit verify proves it")


def _keys(project: Project) -> Iterator[Check]:
    """Whether private keys are private."""
    folder = project.state.keys
    if not folder.exists():
        yield ok("keys", "none yet; made on first use")
        return
    open_to_others = [
        path
        for path in (folder, *sorted(folder.iterdir()))
        if path.suffix != ".pub" and path.name != "trusted" and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    for path in open_to_others:
        mode = stat.S_IMODE(path.stat().st_mode)
        hint = f"chmod {'700' if path.is_dir() else '600'} {path}; make new keys if somebody may have copied them"
        yield fail("keys", f"{path} is open to others (mode {mode:o})", hint)
    if not open_to_others:
        yield ok("keys", f"only yours, in {folder}")


# -- what runs --------------------------------------------------------------------------------------------------------


def _ports(project: Project) -> Iterator[Check]:
    """Whether the ports are free, or ours."""
    left = read_info(project.state)
    gateway = left.children.get(GATEWAY) if left is not None else None
    ours = _ports_of(left) if left is not None and gateway is not None and gateway.alive() else set()
    wanted = {"port": project.gateway.port, "admin_port": project.gateway.admin_port}
    taken = [key for key, port in wanted.items() if port and port not in ours and not port_is_free(port)]
    for key in taken:
        who = listener_of(wanted[key])
        detail = f"gateway.{key} {wanted[key]} on {LOOPBACK} is taken" + (f" by {who}" if who else "")
        if key == "port" and not ours:
            yield fail("ports", detail, "end that process, change fairway.yaml, or use fairway up --port")
        else:
            yield warn("ports", detail, "fairway up takes another one by itself")
    if not taken:
        said = [
            f"{port} is {'ours' if port in ours else 'free'}" if port else "any free one" for port in wanted.values()
        ]
        yield ok("ports", ", ".join(dict.fromkeys(said)))


def _ports_of(info: UpInfo) -> set[int]:
    """The ports an earlier or present ``fairway up`` serves on."""
    return {port for url in (info.url, info.admin_url) if (port := urlsplit(url).port)}


def _up(project: Project) -> Iterator[Check]:
    """Whether ``fairway up`` runs and its children serve."""
    info = running(project.state)
    if info is None:
        yield from _left_behind(read_info(project.state))
        return
    yield ok("up", f"pid {info.process.pid} serves {info.url}")
    for child in info.children.values():
        alive = child.process is not None and is_running(child.process)
        if child.state is ChildState.SERVING and alive:
            yield ok(child.name, f"serving (pid {child.process.pid if child.process else 0})")
        elif child.state is ChildState.CRASH_LOOP or child.state is ChildState.SERVING:
            trouble = child_trouble(project.state, info, child.name)
            yield fail(child.name, trouble, f"see {project.state.logs / child.name}.log")
        else:
            hint = f"wait a moment, else see {project.state.logs / child.name}.log"
            yield warn(child.name, f"{child.state.value} {child.detail}".strip(), hint)


def _left_behind(left: UpInfo | None) -> Iterator[Check]:
    """What a killed ``fairway up`` left, if anything."""
    alive = [child.name for child in left.children.values() if child.alive()] if left is not None else []
    if alive:
        what = f"fairway up was killed; {', '.join(alive)} still run"
        yield warn("up", what, "fairway up goes on from there; fairway up --stop ends them")
    else:
        yield ok("up", "not running; fairway up serves the project")


def _arms(project: Project) -> Iterator[Check]:
    """How the arms are doing."""
    records = RecordFolder(project.state.arms / "instances").read_all()
    ready = 0
    for record in records:
        name = f"{record.placement.environment} {record.placement.release_version}"
        alive = record.process is not None and is_running(record.process)
        if record.state in (InstanceState.CRASH_LOOP, InstanceState.NEVER_READY):
            yield fail("arms", f"{name} is in {record.state.value}: {record.detail}", f"see {record.log}")
        elif record.state is InstanceState.READY and not alive:
            yield warn("arms", f"{name} at {record.endpoint} has died", "fairway up starts it again")
        else:
            ready += record.state is InstanceState.READY
    if records:
        yield ok("arms", f"{ready} of {len(records)} ready")


_PROJECT_CHECKS: tuple[tuple[str, Callable[[Project], Iterator[Check]]], ...] = (
    ("project", _project),
    ("repository", _repository),
    ("service", _command),
    ("models", _models),
    ("disk", _disk),
    ("ledger", _ledger),
    ("keys", _keys),
    ("tls", look_at_certificate),
    ("access log", look_at_access_log),
    ("ports", _ports),
    ("up", _up),
    ("arms", _arms),
    ("rollback", look_at_the_way_back),
    ("flags", look_at_flags),
    ("people", look_at_people),
    ("settings", look_at_settings),
    ("sources", look_at_sources),
)


__all__ = ["Check", "CheckStatus", "examine"]
