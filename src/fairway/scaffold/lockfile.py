"""``requirements.lock``: exact versions of what an agent needs, as installed here."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib import metadata

from fairway.errors import UserError

TEMPLATE_REQUIREMENTS = ("fastapi", "httptools", "jinja2", "openai", "pyyaml", "uvicorn", "uvloop")
OPTIONAL = frozenset({"uvloop"})  # not built for every platform

_NAME = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_EXTRA = re.compile(r"\bextra\s*==")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _installed(name: str) -> tuple[str, tuple[str, ...]] | None:
    """Version and requirements of an installed distribution, ``None`` when it is not installed."""
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    return found.version, tuple(found.requires or ())


def lock_text(
    names: Sequence[str] = TEMPLATE_REQUIREMENTS,
    *,
    installed: Callable[[str], tuple[str, tuple[str, ...]] | None] = _installed,
) -> str:
    """The lock file: every named distribution and all they require, pinned to the installed version.

    What a requirement's marker leaves out here (another platform, an extra nobody asked for) is not installed
    and therefore not in the file.

    Args:
        names: Distributions the agent imports.
        installed: Looks one up; exchanged in tests.

    Raises:
        UserError: One of them is not installed.
    """
    pins: dict[str, str] = {}
    missing: list[str] = []
    waiting = [(name, name not in OPTIONAL) for name in names]
    while waiting:
        name, required = waiting.pop()
        if _normal(name) in pins:
            continue
        found = installed(name)
        if found is None:
            if required:
                missing.append(name)
            continue
        pins[_normal(name)] = found[0]
        waiting += [(match[1], False) for text in found[1] if not _EXTRA.search(text) and (match := _NAME.match(text))]
    if missing:
        raise UserError(
            f"the template agent needs {', '.join(sorted(missing))}, not installed here",
            code="runtime_missing",
            hint="install them with: pip install 'fairway[runtime]'",
        )
    lines = ["# What the agent runs on, exactly. Install with: pip install -r requirements.lock"]
    return "\n".join([*lines, *(f"{name}=={version}" for name, version in sorted(pins.items()))]) + "\n"
