"""Releases and evidence as canonical JSON and back, strictly: what is written is read back equal, or refused.

Version 1. Times are UTC with six decimals and ``Z``; maps and lists keep their content, unknown keys are refused, so
that nothing rides along under a signature unread. Written by hand because the ledger reads releases in commands that
must answer at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fairway.canonical import canonical_json
from fairway.errors import UserError
from fairway.release.values import Component, Evidence, Manifest
from fairway.units import AgentName, Digest, EnvironmentName, Verdict, parse_digest

_EXACT = 2**53 - 1


def format_time(at: datetime) -> str:
    """``2026-11-20T09:00:00.000000Z``: sorts as text.

    Raises:
        ValueError: When ``at`` has no time zone.
    """
    if at.tzinfo is None:
        raise ValueError("a time needs a time zone")
    return at.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def parse_time(text: str) -> datetime:
    """The aware UTC time :func:`format_time` wrote; any ISO 8601 time with a zone is read.

    Raises:
        ValueError: Otherwise.
    """
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return at.astimezone(UTC)


def evidence_to_wire(evidence: Evidence) -> dict[str, Any]:
    """A JSON-able value of one finding."""
    return {
        "version": evidence.version,
        "kind": evidence.kind,
        "release": evidence.release,
        "verdict": evidence.verdict.value,
        "produced_by": evidence.produced_by,
        "at": format_time(evidence.at),
        "effective": evidence.effective,
        "instrument": evidence.instrument,
        "environment": evidence.environment,
        "figures": plain(evidence.figures),
        "expires": None if evidence.expires is None else format_time(evidence.expires),
    }


def evidence_from_wire(wire: Mapping[str, Any]) -> Evidence:
    """Read one finding.

    Raises:
        UserError: When it is malformed or of another version (``code="malformed_release"``).
    """
    read = _Fields("evidence", wire)
    read.version(1)
    environment = read.optional_text("environment")
    evidence = Evidence(
        kind=read.text("kind"),
        release=read.digest("release"),
        verdict=read.verdict("verdict"),
        produced_by=read.text("produced_by"),
        at=read.time("at"),
        effective=read.optional_digest("effective"),
        instrument=read.optional_digest("instrument"),
        environment=None if environment is None else EnvironmentName(environment),
        figures=read.mapping("figures"),
        expires=None if wire.get("expires") is None else read.time("expires"),
    )
    read.close("expires")
    return evidence


def manifest_to_wire(manifest: Manifest) -> dict[str, Any]:
    """A JSON-able value of a manifest."""
    wire = {
        "version": manifest.version,
        "agent": manifest.agent,
        "release_version": manifest.release_version,
        "tag": manifest.tag,
        "commit_sha": manifest.commit_sha,
        "components": {component.value: digest for component, digest in manifest.components.items()},
        "release_digest": manifest.release_digest,
        "effective": dict(manifest.effective),
        "tree": manifest.tree,
        "prompts": plain(manifest.prompts),
        "tools": list(manifest.tools),
        "models": dict(manifest.models),
        "created_at": format_time(manifest.created_at),
        "publisher": manifest.publisher,
        "authors": list(manifest.authors),
        "evidence": [evidence_to_wire(evidence) for evidence in manifest.evidence],
        "parent": manifest.parent,
        "state_schema": manifest.state_schema,
        "reads": list(manifest.reads),
    }
    if manifest.donors:  # said only where there are any, so that what was signed before is still the same bytes
        wire["donors"] = {component.value: digest for component, digest in manifest.donors.items()}
    return wire


def manifest_from_wire(wire: Mapping[str, Any]) -> Manifest:
    """Read a manifest.

    Raises:
        UserError: When it is malformed or of another version (``code="malformed_release"``).
    """
    read = _Fields("manifest", wire)
    read.version(1)
    manifest = Manifest(
        agent=AgentName(read.text("agent")),
        release_version=read.text("release_version"),
        tag=read.text("tag"),
        commit_sha=read.text("commit_sha"),
        components=_components(read),
        release_digest=read.digest("release_digest"),
        effective={EnvironmentName(name): digest for name, digest in read.digests("effective").items()},
        tree=read.digest("tree"),
        prompts={name: read.text_map(f"prompts.{name}", entry) for name, entry in read.mapping("prompts").items()},
        tools=read.texts("tools"),
        models=read.text_map("models", read.mapping("models")),
        created_at=read.time("created_at"),
        publisher=read.text("publisher"),
        authors=read.texts("authors"),
        evidence=tuple(evidence_from_wire(entry) for entry in read.items("evidence")),
        parent=read.optional_digest("parent"),
        state_schema=read.text("state_schema"),
        reads=read.texts("reads"),
        donors=_donors(read) if "donors" in wire else {},
    )
    read.close()
    return manifest


def manifest_bytes(manifest: Manifest) -> bytes:
    """The canonical JSON that is signed."""
    return canonical_json(manifest_to_wire(manifest))


def read_manifest(content: bytes) -> Manifest:
    """Read what :func:`manifest_bytes` wrote.

    Raises:
        UserError: When it is not a manifest (``code="malformed_release"``).
    """
    try:
        wire = read_json(content)
    except (ValueError, RecursionError) as error:
        raise UserError("the manifest is not JSON", code="malformed_release") from error
    if not isinstance(wire, dict):
        raise UserError("the manifest is not a JSON object", code="malformed_release")
    return manifest_from_wire(wire)


def read_json(content: bytes | str) -> Any:
    """JSON as RFC 8785 means it: every number is a double, so an integer beyond 2^53 is read as one.

    Raises:
        ValueError: When it is not JSON.
        RecursionError: When it is nested too deep.
    """
    return json.loads(content, parse_int=_number)


def _number(text: str) -> int | float:
    return int(text) if len(text) < 16 or -_EXACT <= float(text) <= _EXACT else float(text)


def plain(value: Any) -> Any:
    """``value`` with its mappings as dicts and its tuples as lists, as JSON gives them back."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return value


def _components(read: _Fields) -> dict[Component, Digest]:
    digests = read.digests("components")
    if set(digests) != {component.value for component in Component}:
        raise read.problem("components", f"must name exactly {', '.join(component.value for component in Component)}")
    return {component: digests[component.value] for component in Component}


def _donors(read: _Fields) -> dict[Component, Digest]:
    digests = read.digests("donors")
    if not digests or not set(digests) <= {component.value for component in Component}:
        raise read.problem("donors", f"must name some of {', '.join(component.value for component in Component)}")
    return {component: digests[component.value] for component in Component if component.value in digests}


class _Fields:
    """Reads the keys of one JSON object, remembering which, so that a key nobody reads is refused."""

    def __init__(self, what: str, wire: Mapping[str, Any]) -> None:
        self._what = what
        self._wire = wire
        self._read: set[str] = set()
        if not isinstance(wire, Mapping):
            raise UserError(f"{what}: expected a JSON object", code="malformed_release")

    def problem(self, key: str, text: str) -> UserError:
        return UserError(f"{self._what}: {key} {text}", code="malformed_release")

    def close(self, *also: str) -> None:
        if unknown := sorted(set(self._wire) - self._read - set(also)):
            raise self.problem(unknown[0], "is not a key this version of Fairway knows")

    def _get(self, key: str) -> Any:
        self._read.add(key)
        if key not in self._wire:
            raise self.problem(key, "is missing")
        return self._wire[key]

    def version(self, known: int) -> None:
        if (found := self._get("version")) != known or isinstance(found, bool):
            raise self.problem("version", f"{found!r} is not supported; this version of Fairway reads {known}")

    def text(self, key: str) -> str:
        value = self._get(key)
        if not isinstance(value, str):
            raise self.problem(key, "must be a string")
        return value

    def optional_text(self, key: str) -> str | None:
        return None if self._get(key) is None else self.text(key)

    def digest(self, key: str) -> Digest:
        try:
            return parse_digest(self.text(key))
        except ValueError as error:
            raise self.problem(key, f"is not a digest: {error}") from error

    def optional_digest(self, key: str) -> Digest | None:
        return None if self._get(key) is None else self.digest(key)

    def verdict(self, key: str) -> Verdict:
        try:
            return Verdict(self.text(key))
        except ValueError as error:
            raise self.problem(key, "is not a verdict") from error

    def time(self, key: str) -> datetime:
        try:
            return parse_time(self.text(key))
        except ValueError as error:
            raise self.problem(key, f"is not a time: {error}") from error

    def mapping(self, key: str) -> dict[str, Any]:
        value = self._get(key)
        if not isinstance(value, Mapping):
            raise self.problem(key, "must be an object")
        return dict(value)

    def items(self, key: str) -> list[Any]:
        value = self._get(key)
        if not isinstance(value, list):
            raise self.problem(key, "must be a list")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        items = self.items(key)
        if not all(isinstance(item, str) for item in items):
            raise self.problem(key, "must be a list of strings")
        return tuple(items)

    def text_map(self, key: str, value: Any) -> dict[str, str]:
        if not isinstance(value, Mapping) or not all(isinstance(entry, str) for entry in value.values()):
            raise self.problem(key, "must map names to strings")
        return dict(value)

    def digests(self, key: str) -> dict[str, Digest]:
        found = {}
        for name, value in self.text_map(key, self.mapping(key)).items():
            try:
                found[name] = parse_digest(value)
            except ValueError as error:
                raise self.problem(f"{key}.{name}", f"is not a digest: {error}") from error
        return found
