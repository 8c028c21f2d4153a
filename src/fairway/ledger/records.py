"""What the ledger keeps besides releases and journals (SPEC F4), and what a verification of it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from fairway.release.wire import format_time, parse_time
from fairway.units import AgentName, Digest, EnvironmentName


class DeploymentStatus(StrEnum):
    """How far a deployment is."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentRecord:
    """One release brought to one environment.

    Attributes:
        id: Unique; recording the same id again replaces what is shown, the chain keeps both.
        namespace: Where on the target: a Kubernetes namespace, or the environment's name for the local target.
        image_tag: Tag of the image, or the release version where there is none.
        operator: Who asked for it.
        ended_at: ``None`` while it runs.
    """

    id: str
    agent: AgentName
    environment: EnvironmentName
    namespace: str
    release: Digest
    image_tag: str
    status: DeploymentStatus
    operator: str
    started_at: datetime
    ended_at: datetime | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)


def deployment_to_wire(record: DeploymentRecord) -> dict[str, Any]:
    """A JSON-able value, with the names of SPEC F4."""
    return {
        "version": 1,
        "id": record.id,
        "agent_id": record.agent,
        "environment": record.environment,
        "namespace": record.namespace,
        "release": record.release,
        "image_tag": record.image_tag,
        "status": record.status.value,
        "operator": record.operator,
        "start_ts": format_time(record.started_at),
        "end_ts": None if record.ended_at is None else format_time(record.ended_at),
        "figures": dict(record.figures),
    }


def deployment_from_wire(wire: Mapping[str, Any]) -> DeploymentRecord:
    """Read a deployment."""
    return DeploymentRecord(
        id=wire["id"],
        agent=AgentName(wire["agent_id"]),
        environment=EnvironmentName(wire["environment"]),
        namespace=wire["namespace"],
        release=Digest(wire["release"]),
        image_tag=wire["image_tag"],
        status=DeploymentStatus(wire["status"]),
        operator=wire["operator"],
        started_at=parse_time(wire["start_ts"]),
        ended_at=None if wire["end_ts"] is None else parse_time(wire["end_ts"]),
        figures=wire["figures"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """One link of the chain.

    Attributes:
        at: When the ledger wrote it, by its own clock, as text exactly as hashed.
        subject: What it is about: a route and sequence number, a release version, a request id …
        payload_digest: Of the canonical JSON of the record's body, which is kept apart and can be erased.
        prev_hash: ``hash`` of the row before; 64 zeros before the first.
        hash: Over everything above.
    """

    seq: int
    at: str
    kind: str
    subject: str
    actor: str
    payload_digest: str
    prev_hash: str
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One row with its body; ``payload`` is ``None`` when it was erased."""

    row: AuditRow
    payload: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedHead:
    """The chain up to ``seq``, signed: keep one elsewhere and nobody can rewrite what came before."""

    seq: int
    hash: str
    at: str
    key_id: str
    signature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditProblem:
    """Something that is not as it was written.

    Attributes:
        seq: The row it was found at.
        kind: ``altered``, ``removed``, ``inserted``, ``truncated``, ``payload_missing``, ``payload_altered``,
            ``record_altered``, ``record_missing``, ``record_inserted``, ``bad_head`` or ``unreadable``.
    """

    seq: int
    kind: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What a verification found.

    Attributes:
        rows: Rows looked at.
        proved_to: Everything up to this row is as it was written, by a signed head; 0: nothing is proved.
        unsigned: Rows after the last signed head: their chain holds, but nobody has signed it yet.
        erased: Payloads that were erased on purpose, with a record of it.
    """

    rows: int
    proved_to: int
    unsigned: int
    erased: int
    heads: int
    problems: tuple[AuditProblem, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.problems
