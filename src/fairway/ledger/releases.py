"""Releases, evidence, deployments and pipeline runs, inside one transaction each."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fairway.canonical import canonical_json
from fairway.errors import ConflictError, NotFoundError, RefusedError
from fairway.ledger.records import DeploymentRecord, deployment_from_wire, deployment_to_wire
from fairway.ledger.redaction import redact_text
from fairway.ledger.session import Session
from fairway.ledger.wire import release_from_wire, release_to_wire
from fairway.release.values import Evidence, SignedRelease
from fairway.release.wire import evidence_from_wire, evidence_to_wire, manifest_to_wire, parse_time
from fairway.units import AgentName, Digest, EnvironmentName, Verdict

_HEX = re.compile(r"^(?:sha256:)?([0-9a-f]{7,64})$")
_SHA_DIGITS, _DIGEST_DIGITS = 7, 8


def add_release(session: Session, release: SignedRelease) -> None:
    """Record a release once; a version never changes what it means."""
    manifest = release.manifest
    refuse_secrets(release)
    known = session.row(
        "SELECT digest FROM releases WHERE agent = :agent AND version = :version",
        agent=manifest.agent,
        version=manifest.release_version,
    )
    if known is not None:
        if known["digest"] != manifest.release_digest:
            raise version_taken(release)
        return
    audit_seq, payload = session.record(
        "release",
        f"{manifest.agent}@{manifest.release_version}",
        manifest.publisher,
        release_to_wire(release),
        exact=True,
    )
    session.run(
        "INSERT INTO releases (agent, version, digest, tag, commit_sha, audit_seq, payload) "
        "VALUES (:agent, :version, :digest, :tag, :commit_sha, :audit_seq, :payload)",
        agent=manifest.agent, version=manifest.release_version, digest=manifest.release_digest, tag=manifest.tag,
        commit_sha=manifest.commit_sha, audit_seq=audit_seq, payload=payload,
    )  # fmt: skip


def list_releases(session: Session, agent: AgentName) -> tuple[SignedRelease, ...]:
    """Newest first."""
    rows = session.rows("SELECT payload FROM releases WHERE agent = :agent ORDER BY audit_seq DESC", agent=agent)
    return tuple(release_from_wire(session.body(row["payload"])) for row in rows)


def find_release(session: Session, agent: AgentName, reference: str) -> SignedRelease:
    """The one release a reference names."""
    rows = session.rows(
        "SELECT version, digest, tag, commit_sha, payload FROM releases WHERE agent = :agent ORDER BY audit_seq DESC",
        agent=agent,
    )
    index = choose(agent, reference, [(row["version"], row["digest"], row["tag"], row["commit_sha"]) for row in rows])
    return release_from_wire(session.body(rows[index]["payload"]))


def choose(agent: AgentName, reference: str, known: Sequence[tuple[str, str, str, str]]) -> int:
    """Which of ``(version, digest, tag, commit)``, newest first, a reference names.

    Several releases of the same content or commit (a candidate and the release after it): the newest.

    Raises:
        NotFoundError: When none does (``release_not_found``), or several different ones (``ambiguous_release``).
    """
    wanted = reference.strip().lower()
    for i, (version, _, tag, _) in enumerate(known):
        if wanted in (version.lower(), f"v{version}".lower(), tag.lower()):
            return i
    if match := _HEX.match(wanted):
        digits = match.group(1)
        found = [i for i, entry in enumerate(known) if _names(digits, wanted, entry)]
        if len({known[i][1] for i in found}) == 1:
            return found[0]
        if found:
            raise NotFoundError(
                f"{reference!r} is the beginning of {len(found)} releases of {agent}",
                code="ambiguous_release",
                hint="write more digits, or a version: " + ", ".join(known[i][0] for i in found[:5]),
            )
    versions = [entry[0] for entry in known]
    near = difflib.get_close_matches(wanted.removeprefix("v"), versions, n=3, cutoff=0.5) or versions[:3]
    raise NotFoundError(
        f"{agent} has no release {reference!r}",
        code="release_not_found",
        hint=f"the nearest are {', '.join(near)}"
        if near
        else "there is none yet: fairway run, or fairway release create",
    )


def add_evidence(session: Session, evidence: Iterable[Evidence]) -> None:
    """Record findings."""
    for finding in evidence:
        audit_seq, payload = session.record(
            "evidence", f"{finding.kind}@{finding.release}", finding.produced_by, evidence_to_wire(finding)
        )
        session.run(
            "INSERT INTO evidence (audit_seq, release, kind, payload) VALUES (:audit_seq, :release, :kind, :payload)",
            audit_seq=audit_seq, release=finding.release, kind=finding.kind, payload=payload,
        )  # fmt: skip


def list_evidence(session: Session, release: Digest) -> tuple[Evidence, ...]:
    """All findings about a release, oldest first; of an erased one that there was one, and that nobody knows what."""
    rows = session.rows(
        "SELECT evidence.kind, evidence.payload, audit.at FROM evidence JOIN audit ON audit.seq = evidence.audit_seq "
        "WHERE evidence.release = :release ORDER BY evidence.audit_seq",
        release=release,
    )
    bodies = ((row, session.body(row["payload"])) for row in rows)
    return tuple(
        evidence_from_wire(body) if body is not None else _erased(release, row["kind"], row["at"])
        for row, body in bodies
    )


def _erased(release: Digest, kind: str, at: str) -> Evidence:
    """What is left of an erased finding: an older PASS must not count again because a newer FAIL was erased."""
    return Evidence(
        kind=kind,
        release=release,
        verdict=Verdict.ERROR,
        produced_by="erased",
        at=parse_time(at),
        figures={"erased": True},
    )


def record_deployment(session: Session, record: DeploymentRecord) -> None:
    """Record a deployment or what became of it."""
    audit_seq, payload = session.record("deployment", record.id, record.operator, deployment_to_wire(record))
    session.run(
        "INSERT INTO deployments (id, agent, environment, audit_seq, payload) "
        "VALUES (:id, :agent, :environment, :audit_seq, :payload) ON CONFLICT (id) DO UPDATE SET "
        "agent = excluded.agent, environment = excluded.environment, audit_seq = excluded.audit_seq, "
        "payload = excluded.payload",
        id=record.id, agent=record.agent, environment=record.environment, audit_seq=audit_seq, payload=payload,
    )  # fmt: skip


def list_deployments(
    session: Session, agent: AgentName | None, environment: EnvironmentName | None, limit: int
) -> tuple[DeploymentRecord, ...]:
    """Last recorded first."""
    rows = session.rows(
        "SELECT payload FROM deployments WHERE (:agent IS NULL OR agent = :agent) "
        "AND (:environment IS NULL OR environment = :environment) ORDER BY audit_seq DESC LIMIT :limit",
        agent=agent, environment=environment, limit=limit,
    )  # fmt: skip
    bodies = (session.body(row["payload"]) for row in rows)
    return tuple(deployment_from_wire(body) for body in bodies if body is not None)


def record_run(session: Session, run_id: str, payload: Mapping[str, Any], actor: str) -> None:
    """Record a pipeline run or what became of it."""
    audit_seq, digest = session.record("run", run_id, actor, payload)
    session.run(
        "INSERT INTO runs (id, audit_seq, payload) VALUES (:id, :audit_seq, :payload) "
        "ON CONFLICT (id) DO UPDATE SET audit_seq = excluded.audit_seq, payload = excluded.payload",
        id=run_id, audit_seq=audit_seq, payload=digest,
    )  # fmt: skip


def list_runs(session: Session, limit: int) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    """``(run id, payload)``, last recorded first."""
    rows = session.rows("SELECT id, payload FROM runs ORDER BY audit_seq DESC LIMIT :limit", limit=limit)
    bodies = ((row["id"], session.body(row["payload"])) for row in rows)
    return tuple((name, body) for name, body in bodies if body is not None)


def refuse_secrets(release: SignedRelease) -> None:
    """A signed manifest cannot be redacted afterwards, so one with a secret in it is refused.

    Raises:
        RefusedError: ``code="secret_in_release"``.
    """
    text = canonical_json(manifest_to_wire(release.manifest)).decode()
    if redact_text(text) != text:
        raise RefusedError(
            f"the manifest of {release.manifest.release_version} holds something that looks like a secret",
            code="secret_in_release",
            hint="refer to secrets by name (env:NAME), and look into the figures of the evidence",
        )


def version_taken(release: SignedRelease) -> ConflictError:
    """The version exists with another digest."""
    version = release.manifest.release_version
    return ConflictError(
        f"version {version} of {release.manifest.agent} exists with another content",
        code="version_taken",
        hint=f"releases never change; choose the next version, or release the rollback {version}-r1",
    )


def _names(digits: str, wanted: str, entry: tuple[str, str, str, str]) -> bool:
    _, digest, _, commit = entry
    if len(digits) >= _DIGEST_DIGITS and digest.removeprefix("sha256:").startswith(digits):
        return True
    return not wanted.startswith("sha256:") and len(digits) >= _SHA_DIGITS and commit.lower().startswith(digits)
