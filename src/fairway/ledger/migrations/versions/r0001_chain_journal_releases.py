"""The audit chain, journals, requests, telemetry blocks, releases and evidence."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

APPLICATION_ID = 0x46574C47


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "audit",
        sa.Column("seq", sa.Integer(), primary_key=True, autoincrement=False),
        *_texts("at", "kind", "subject", "actor", "payload_digest", "prev_hash", "hash"),
    )
    op.create_table(
        "payloads",
        sa.Column("digest", sa.Text(), primary_key=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "heads",
        sa.Column("seq", sa.Integer(), sa.ForeignKey("audit.seq"), primary_key=True, autoincrement=False),
        *_texts("hash", "at", "key_id", "signature"),
    )
    op.create_table(
        "leases",
        *_route(),
        *_texts("holder"),
        sa.Column("term", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.REAL(), nullable=False),
    )
    _create_journal()
    _create_releases()
    for table in ("audit", "events", "heads"):
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} BEGIN "
                f"SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
    op.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _create_journal() -> None:
    op.create_table(
        "events",
        *_route(),
        sa.Column("seq", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("term", sa.Integer(), nullable=False),
        sa.Column("snapshot", sa.Text()),
        *_record(),
    )
    op.create_table(
        "requests",
        sa.Column("id", sa.Text(), primary_key=True),
        *_texts("agent", "environment", "answer"),
        sa.Column("answer_seq", sa.Integer()),
        *_texts("answer_code", "answer_message"),
        *_record(),
    )
    op.create_index("requests_by_route", "requests", ["agent", "environment", "answer", "audit_seq"])
    op.create_table(
        "blocks",
        *_route(),
        sa.Column("t0", sa.REAL(), primary_key=True),
        sa.Column("release", sa.Text(), primary_key=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
    )


def _create_releases() -> None:
    op.create_table(
        "releases",
        sa.Column("agent", sa.Text(), primary_key=True),
        sa.Column("version", sa.Text(), primary_key=True),
        *_texts("digest", "tag", "commit_sha"),
        *_record(),
    )
    op.create_index("releases_by_digest", "releases", ["digest"])
    op.create_table(
        "evidence",
        sa.Column("audit_seq", sa.Integer(), sa.ForeignKey("audit.seq"), primary_key=True, autoincrement=False),
        *_texts("release", "kind", "payload"),
    )
    op.create_index("evidence_by_release", "evidence", ["release", "audit_seq"])


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]


def _route() -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), primary_key=True) for name in ("agent", "environment")]


def _record() -> list[sa.Column[int] | sa.Column[str]]:
    return [
        sa.Column("audit_seq", sa.Integer(), sa.ForeignKey("audit.seq"), nullable=False, unique=True),
        *_texts("payload"),
    ]
