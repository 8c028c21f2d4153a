"""The five parts of a bundle, and which file belongs to which."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import PurePosixPath

from fairway.canonical import value_digest
from fairway.units import Digest


class Component(StrEnum):
    """The five parts of a bundle."""

    CODE = "code"
    PROMPTS = "prompts"
    MODELS = "models"
    TOOLS = "tools"
    POLICIES = "policies"


_FILES: Mapping[str, Component] = {
    "prompts.lock": Component.PROMPTS,
    "models.yaml": Component.MODELS,
    "tools.yaml": Component.TOOLS,
    "fairway.yaml": Component.POLICIES,
}
_FOLDERS: Mapping[str, Component] = {"prompts": Component.PROMPTS, "policies": Component.POLICIES}
_INSTRUMENT_FOLDERS = frozenset({"evals", "tests"})


def component_of(path: str) -> Component | None:
    """The component of a file by its path inside the project; ``None``: it is part of the *instrument*."""
    parts = PurePosixPath(path).parts
    if len(parts) == 1:
        return _FILES.get(parts[0], Component.CODE)
    if parts[0] in _INSTRUMENT_FOLDERS:
        return None
    return _FOLDERS.get(parts[0], Component.CODE)


def mark_dev(digest: Digest) -> Digest:
    """The digest as of a dirty tree: it can be examined, never released."""
    return digest if digest.startswith("dev:") else Digest("dev:" + digest)


def is_dev(digest: Digest) -> bool:
    """Whether the digest was taken from a dirty tree."""
    return digest.startswith("dev:")


def without_dev(digest: Digest) -> Digest:
    """The plain digest of the same content."""
    return Digest(digest.removeprefix("dev:"))


def release_digest(components: Mapping[Component, Digest]) -> Digest:
    """Digest of the five component digests; ``dev:`` when one of them is.

    Raises:
        ValueError: When a component is missing.
    """
    missing = [component.value for component in Component if component not in components]
    if missing:
        raise ValueError(f"a release has five components; missing: {', '.join(missing)}")
    whole = value_digest({component.value: without_dev(components[component]) for component in Component})
    return mark_dev(whole) if any(is_dev(digest) for digest in components.values()) else whole
