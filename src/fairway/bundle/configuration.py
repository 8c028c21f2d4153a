"""Writes the config bundle an arm reads at ``FAIRWAY_BUNDLE``: prompts, models, tools, policies, ``effective.json``."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from fairway.bundle.components import Component, component_of
from fairway.bundle.files import Reader
from fairway.errors import PermanentError

EFFECTIVE_FILE = "effective.json"
_CONFIGURATION = frozenset({Component.PROMPTS, Component.MODELS, Component.TOOLS, Component.POLICIES})
_LEFT_OUT = frozenset({"fairway.yaml"})
"""How a release is judged and deployed is nothing the agent should read."""


def is_configuration(path: str) -> bool:
    """Whether a file of a release travels in the config bundle."""
    return component_of(path) in _CONFIGURATION and path not in _LEFT_OUT


def write_config_bundle(directory: Path, paths: Iterable[str], read: Reader, effective: Mapping[str, Any]) -> None:
    """Write the config bundle, whole or not at all.

    Args:
        directory: ``FAIRWAY_BUNDLE``; replaced when it exists.
        paths: Of the release's files; those that are not configuration are skipped.
        read: Content of a file by its path.
        effective: See :func:`fairway.bundle.overlay.effective_value`.

    Raises:
        PermanentError: On a path that would leave the directory.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}-"))
    try:
        for path in paths:
            if not is_configuration(path):
                continue
            if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
                raise PermanentError(f"the release holds the unsafe path {path}", code="unsafe_path")
            target = temporary / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(read(path))
        text = json.dumps(effective, indent=2, sort_keys=True, ensure_ascii=False)
        (temporary / EFFECTIVE_FILE).write_text(text + "\n", encoding="utf-8")
        temporary.chmod(0o755)
        _replace(temporary, directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace(source: Path, target: Path) -> None:
    """Put a folder in the place of another; a reader of the old one keeps its open files."""
    old = source.with_name(source.name + ".old")
    try:
        os.rename(target, old)
    except FileNotFoundError:
        os.rename(source, target)
        return
    os.rename(source, target)
    shutil.rmtree(old, ignore_errors=True)
