"""Guesses how a service that is already there is started and asked, from the files people have."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_FILES = 400
MAX_FILE_BYTES = 256 * 1024

_SKIPPED = frozenset(
    {
        "node_modules",
        "vendor",
        "dist",
        "build",
        "target",
        "venv",
        "env",
        "__pycache__",
        "site-packages",
        "tests",
        "test",
    }
)
_TEST_FOLDERS = frozenset({"tests", "test"})
_SOURCES = frozenset({".py", ".js", ".ts", ".mjs", ".cjs", ".go", ".rb", ".rs", ".java", ".kt", ".php", ".cs", ".ex"})
_PORT_OPTION = re.compile(r"(?P<option>(?:--port|--listen-port|-p)(?:[= ]))(?P<port>\d{2,5})\b")
_PORT_IN_ADDRESS = re.compile(r"(?P<host>(?:0\.0\.0\.0|127\.0\.0\.1|localhost|\[::\]|\*)?:)(?P<port>\d{4,5})\b")
_SHELL = re.compile(r"[$`|;&<>]|^\w+=")
_HEALTH = ("/healthz", "/health", "/livez", "/live", "/ping", "/status")
_READY = ("/readiness", "/readyz", "/ready", "/healthz/ready", "/health/ready")
_CHAT = ("/v1/chat/completions", "/api/chat", "/chat", "/v1/chat", "/invoke", "/ask", "/api/message", "/message")


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """What was found; ``None``: nothing. ``source`` says where, for people.

    Attributes:
        tests: Command that runs the tests; empty: pytest finds them by itself.
    """

    command: tuple[str, ...] | None = None
    source: str | None = None
    health: str | None = None
    ready: str | None = None
    chat: str | None = None
    tests: tuple[str, ...] | None = None


def guess_service(root: Path) -> Guess:
    """Look at the files of a service; never raises for what it finds in them."""
    command, source = next(((line, where) for line, where in _commands(root) if line), (None, None))
    sources = "\n".join(text for _, text in _source_texts(root))
    return Guess(
        command=command,
        source=source,
        health=_path_in(sources, _HEALTH),
        ready=_path_in(sources, _READY),
        chat=_path_in(sources, _CHAT),
        tests=_tests(root),
    )


def with_port(words: tuple[str, ...] | str) -> tuple[str, ...]:
    """A command that listens where Fairway says: a fixed port becomes ``{port}``, else ``PORT`` is set by a shell.

    Args:
        words: Words of a command, or a line that may need a shell (``$PORT``, ``&&``).
    """
    line = words if isinstance(words, str) else shlex.join(words)
    if "{port}" in line:
        return _words(line)
    line, replaced = _PORT_OPTION.subn(r"\g<option>{port}", line, count=1)
    if not replaced:
        line, replaced = _PORT_IN_ADDRESS.subn(r"\g<host>{port}", line, count=1)
    if replaced and not _SHELL.search(line):
        return _words(line)
    if replaced:
        return ("sh", "-c", line)
    several = _SHELL.search(line) is not None
    return ("sh", "-c", f"PORT={{port}}; export PORT; {line}" if several else f"PORT={{port}} exec {line}")


def _words(line: str) -> tuple[str, ...]:
    return ("sh", "-c", line) if _SHELL.search(line) else tuple(shlex.split(line))


def _commands(root: Path) -> Iterator[tuple[tuple[str, ...] | None, str]]:
    yield _from_procfile(_read(root / "Procfile")), "Procfile"
    yield _from_package_json(_read(root / "package.json")), "package.json"
    yield from _from_python(root)
    yield _from_dockerfile(_read(root / "Dockerfile")), "Dockerfile"
    yield (with_port("go run .") if (root / "go.mod").is_file() else None), "go.mod"
    yield (with_port("cargo run --release") if (root / "Cargo.toml").is_file() else None), "Cargo.toml"


def _from_procfile(text: str) -> tuple[str, ...] | None:
    match = re.search(r"^web:\s*(.+)$", text, re.MULTILINE)
    if not match:
        return None
    line = match[1].strip()
    port = re.compile(r"\$\{?PORT(?::-\d+)?\}?")
    return with_port(port.sub("{port}", line))


def _from_package_json(text: str) -> tuple[str, ...] | None:
    try:
        scripts = json.loads(text or "{}").get("scripts", {})
    except (ValueError, AttributeError, RecursionError):
        return None
    return with_port("npm start --silent") if isinstance(scripts, dict) and scripts.get("start") else None


def _from_dockerfile(text: str) -> tuple[str, ...] | None:
    parts: dict[str, tuple[str, ...] | str] = {}
    joined = re.sub(r"\\\r?\n", " ", text)
    for name, value in re.findall(r"^\s*(CMD|ENTRYPOINT)\s+(.+)$", joined, re.MULTILINE | re.IGNORECASE):
        parts[name.upper()] = _docker_words(value.strip())
    entry, command = parts.get("ENTRYPOINT"), parts.get("CMD")
    if isinstance(entry, tuple):
        return with_port(entry + command if isinstance(command, tuple) else entry)
    chosen = entry or command
    return with_port(chosen) if chosen else None


def _docker_words(value: str) -> tuple[str, ...] | str:
    try:
        words = json.loads(value)
    except ValueError:
        return value
    return tuple(words) if isinstance(words, list) and all(isinstance(word, str) for word in words) else value


def _from_python(root: Path) -> Iterator[tuple[tuple[str, ...] | None, str]]:
    if (root / "manage.py").is_file():
        yield ("python", "manage.py", "runserver", "--noreload", "{host}:{port}"), "manage.py"
    for path, text in _source_texts(root, suffixes=frozenset({".py"})):
        inside = path.relative_to(root)
        module = ".".join(inside.with_suffix("").parts).removesuffix(".__init__").removeprefix("src.")
        if match := re.search(
            r"^(\w+)\s*(?::[^=]+)?=\s*(?:fastapi\.)?(?:FastAPI|Starlette|Litestar)\(", text, re.MULTILINE
        ):
            extra = ("--app-dir", "src") if inside.parts[0] == "src" else ()
            served = ("python", "-m", "uvicorn", f"{module}:{match[1]}", *extra, "--host", "{host}", "--port", "{port}")
            yield served, str(inside)
        elif re.search(r"^\w+\s*=\s*Flask\(", text, re.MULTILINE):
            yield ("python", "-m", "flask", "--app", module, "run", "--host", "{host}", "--port", "{port}"), str(inside)
    for path, text in _source_texts(root, suffixes=frozenset({".py"})):
        if re.search(r"web\.run_app\(|HTTPServer\(|serve_forever\(|uvicorn\.run\(|\.run\(host=", text):
            script = path.relative_to(root).as_posix()
            yield _python_script(script, text), script


def _python_script(path: str, text: str) -> tuple[str, ...]:
    """How a script that serves by itself is told its port."""
    if "FAIRWAY_PORT" in text:
        return ("python", path)
    if "--port" in text:
        return ("python", path, "--port", "{port}")
    if "sys.argv" in text:
        return ("python", path, "{port}")
    if re.search(r"[\"']PORT[\"']", text):
        return with_port(f"python {shlex.quote(path)}")
    return ("python", path)


def _tests(root: Path) -> tuple[str, ...] | None:
    everywhere = _source_texts(root, suffixes=frozenset({".py"}), skipped=_SKIPPED - _TEST_FOLDERS)
    if any(path.name.startswith("test_") or path.name.endswith("_test.py") for path, _ in everywhere):
        return ()
    try:
        scripts = json.loads(_read(root / "package.json") or "{}").get("scripts", {})
    except (ValueError, AttributeError, RecursionError):
        scripts = {}
    written = scripts.get("test") if isinstance(scripts, dict) else None
    if isinstance(written, str) and "no test specified" not in written:
        return ("npm", "test", "--silent")
    if (root / "go.mod").is_file():
        return ("go", "test", "./...")
    if (root / "Cargo.toml").is_file():
        return ("cargo", "test")
    if re.search(r"^test:", _read(root / "Makefile"), re.MULTILINE):
        return ("make", "test")
    return None


def _path_in(sources: str, candidates: tuple[str, ...]) -> str | None:
    """The first candidate that stands in the sources as a whole quoted path."""
    return next((path for path in candidates if re.search(rf"[\"'`]{re.escape(path)}/?[\"'`?]", sources)), None)


def _source_texts(
    root: Path, *, suffixes: frozenset[str] = _SOURCES, skipped: frozenset[str] = _SKIPPED
) -> Iterator[tuple[Path, str]]:
    """Sources near the top first, bounded in number and size."""
    waiting, seen = [root], 0
    while waiting and seen < MAX_FILES:
        folder = waiting.pop(0)
        try:
            entries = sorted(folder.iterdir(), key=lambda path: path.name)
        except OSError:
            continue
        for path in entries:
            if path.is_symlink() or path.name.startswith("."):
                continue
            if path.is_dir():
                if path.name not in skipped:
                    waiting.append(path)
            elif path.suffix in suffixes and seen < MAX_FILES:
                seen += 1
                yield path, _read(path)


def _read(path: Path) -> str:
    try:
        return path.read_bytes()[:MAX_FILE_BYTES].decode("utf-8", "replace") if path.is_file() else ""
    except OSError:
        return ""
