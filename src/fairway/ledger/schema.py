"""The ledger's tables, as a fresh SQLite file gets them; a test holds the migrations to the same result."""

from __future__ import annotations

REVISIONS = ("0001", "0002")
"""Schema revisions this code knows, oldest first; a file at any other one is newer than the code."""

APPLICATION_ID = 0x46574C47
"""Marks a SQLite file as a Fairway ledger (``FWLG``)."""

_APPEND_ONLY = ("audit", "events", "heads")

TABLES = (
    "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
    "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))",
    # The chain. Bodies live in payloads, by digest, so that one can be erased and the chain stays.
    "CREATE TABLE audit (seq INTEGER NOT NULL PRIMARY KEY, at TEXT NOT NULL, kind TEXT NOT NULL, "
    "subject TEXT NOT NULL, actor TEXT NOT NULL, payload_digest TEXT NOT NULL, prev_hash TEXT NOT NULL, "
    "hash TEXT NOT NULL)",
    "CREATE TABLE payloads (digest TEXT NOT NULL PRIMARY KEY, body BLOB NOT NULL)",
    "CREATE TABLE heads (seq INTEGER NOT NULL PRIMARY KEY REFERENCES audit (seq), hash TEXT NOT NULL, "
    "at TEXT NOT NULL, key_id TEXT NOT NULL, signature TEXT NOT NULL)",
    "CREATE TABLE leases (agent TEXT NOT NULL, environment TEXT NOT NULL, holder TEXT NOT NULL, term INTEGER NOT NULL, "
    "expires_at REAL NOT NULL, PRIMARY KEY (agent, environment))",
    # Each of these is an index over the chain: what it says is in the payload of its audit row.
    "CREATE TABLE events (agent TEXT NOT NULL, environment TEXT NOT NULL, seq INTEGER NOT NULL, term INTEGER NOT NULL, "
    "snapshot TEXT, audit_seq INTEGER NOT NULL UNIQUE REFERENCES audit (seq), payload TEXT NOT NULL, "
    "PRIMARY KEY (agent, environment, seq))",
    "CREATE TABLE requests (id TEXT NOT NULL PRIMARY KEY, agent TEXT NOT NULL, environment TEXT NOT NULL, "
    "answer TEXT NOT NULL, answer_seq INTEGER, answer_code TEXT NOT NULL, answer_message TEXT NOT NULL, "
    "audit_seq INTEGER NOT NULL UNIQUE REFERENCES audit (seq), payload TEXT NOT NULL)",
    "CREATE INDEX requests_by_route ON requests (agent, environment, answer, audit_seq)",
    "CREATE TABLE blocks (agent TEXT NOT NULL, environment TEXT NOT NULL, t0 REAL NOT NULL, release TEXT NOT NULL, "
    "body BLOB NOT NULL, PRIMARY KEY (agent, environment, t0, release))",
    "CREATE TABLE releases (agent TEXT NOT NULL, version TEXT NOT NULL, digest TEXT NOT NULL, tag TEXT NOT NULL, "
    "commit_sha TEXT NOT NULL, audit_seq INTEGER NOT NULL UNIQUE REFERENCES audit (seq), payload TEXT NOT NULL, "
    "PRIMARY KEY (agent, version))",
    "CREATE INDEX releases_by_digest ON releases (digest)",
    "CREATE TABLE evidence (audit_seq INTEGER NOT NULL PRIMARY KEY REFERENCES audit (seq), release TEXT NOT NULL, "
    "kind TEXT NOT NULL, payload TEXT NOT NULL)",
    "CREATE INDEX evidence_by_release ON evidence (release, audit_seq)",
    "CREATE TABLE deployments (id TEXT NOT NULL PRIMARY KEY, agent TEXT NOT NULL, environment TEXT NOT NULL, "
    "audit_seq INTEGER NOT NULL UNIQUE REFERENCES audit (seq), payload TEXT NOT NULL)",
    "CREATE TABLE runs (id TEXT NOT NULL PRIMARY KEY, audit_seq INTEGER NOT NULL UNIQUE REFERENCES audit (seq), "
    "payload TEXT NOT NULL)",
)

TRIGGERS = tuple(
    f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} BEGIN "
    f"SELECT RAISE(ABORT, '{table} is append-only'); END"
    for table in _APPEND_ONLY
    for verb in ("UPDATE", "DELETE")
)
"""Against accidents; against intent there is the chain."""
