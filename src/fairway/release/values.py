"""The release and what is bound to it, version 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from fairway.bundle.components import Component as Component
from fairway.units import AgentName, Digest, EnvironmentName, Verdict

MANIFEST_VERSION: Literal[1] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was found about a release, bound to what it was found on.

    Attributes:
        kind: The stage id or check that found it: ``unit_test``, ``prompt_regression``, ``rollout`` …
        release: Release digest (``dev:`` digests can be examined, never released).
        effective: Effective digest when the finding depends on an environment's overlay, else ``None``.
        instrument: Digest of suites, judge, mocks and scorer version, else ``None``.
        environment: Where it was taken, else ``None``.
        figures: Numbers and short strings, JSON-able, for people and reports.
        produced_by: Tool and version.
        expires: After this the evidence no longer counts; ``None``: never.
    """

    kind: str
    release: Digest
    verdict: Verdict
    produced_by: str
    at: datetime
    effective: Digest | None = None
    instrument: Digest | None = None
    environment: EnvironmentName | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)
    expires: datetime | None = None
    version: Literal[1] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """An immutable release: what it is made of, where from, and what vouches for it.

    Attributes:
        release_version: Canonical, without ``v``: ``1.2.0``, ``1.3.0-rc1``, ``1.2.0-r1``.
        components: Digest of each of the five components.
        release_digest: Digest of the five component digests.
        effective: Effective digest by environment.
        tree: Digest of the blob that lists every file ``(path, mode, blob digest, component)``: what materialises it.
        prompts: ``{prompt name: {"version": …, "sha256": …}}``, for people.
        tools: Names of the declared tools.
        models: ``{alias: "provider/model"}``.
        authors: Authors of the commits since the previous release: who may not approve it.
        parent: Release digest it was derived from, else ``None``.
        donors: Of a derived release, the release digest each replaced component was taken from.
        state_schema, reads: What conversation state it writes and which it can read.
    """

    agent: AgentName
    release_version: str
    tag: str
    commit_sha: str
    components: Mapping[Component, Digest]
    release_digest: Digest
    effective: Mapping[EnvironmentName, Digest]
    tree: Digest
    prompts: Mapping[str, Mapping[str, str]]
    tools: tuple[str, ...]
    models: Mapping[str, str]
    created_at: datetime
    publisher: str
    authors: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    parent: Digest | None = None
    state_schema: str = "1"
    reads: tuple[str, ...] = ("1",)
    donors: Mapping[Component, Digest] = field(default_factory=dict)
    version: Literal[1] = MANIFEST_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRelease:
    """A manifest and its DSSE envelope (JSON text), whose payload is the manifest's canonical JSON."""

    manifest: Manifest
    envelope: str
