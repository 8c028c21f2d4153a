"""Blessed baselines in the ledger: who made which run the baseline, and why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

from fairway.evals.history.baseline import BLESSED, Baseline
from fairway.evals.wire import decode, encode
from fairway.ledger.records import AuditEntry

_PAGE = 500


class AuditChain(Protocol):
    """The part of the ledger that baselines are kept in."""

    def append_audit(self, kind: str, subject: str, actor: str, payload: Any, at: datetime) -> int:
        """Record an action."""
        ...

    def audit_log(self, after: int | None = 0, limit: int = 200, *, kind: str | None = None) -> Sequence[AuditEntry]:
        """Rows of the chain, oldest first."""
        ...


class LedgerBaselines:
    """Implements :class:`fairway.evals.history.baseline.BaselineStore` over the audit chain."""

    def __init__(self, chain: AuditChain) -> None:
        """Take the ledger."""
        self._chain = chain

    def bless(self, baseline: Baseline) -> None:
        """Put one on record, with who and why."""
        self._chain.append_audit(BLESSED, baseline.key, baseline.actor, encode(baseline), baseline.at)

    def all(self) -> tuple[Baseline, ...]:
        """Every one on record, oldest first; an erased record counts for nothing."""
        found: list[Baseline] = []
        after = 0
        while rows := self._chain.audit_log(after, _PAGE, kind=BLESSED):
            found += [decode(Baseline, row.payload["payload"]) for row in rows if row.payload is not None]
            after = rows[-1].row.seq
        return tuple(found)
