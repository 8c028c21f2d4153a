"""Deployments and pipeline runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make their tables."""
    op.create_table(
        "deployments",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("audit_seq", sa.Integer(), sa.ForeignKey("audit.seq"), nullable=False, unique=True),
        sa.Column("payload", sa.Text(), nullable=False),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("audit_seq", sa.Integer(), sa.ForeignKey("audit.seq"), nullable=False, unique=True),
        sa.Column("payload", sa.Text(), nullable=False),
    )
