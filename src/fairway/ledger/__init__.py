"""The durable, tamper-evident record of everything: see ``docs/explanation/ledger.md``."""

from fairway.ledger.opening import open_ledger, restore_ledger
from fairway.ledger.sql_ledger import SqlLedger

__all__ = ["SqlLedger", "open_ledger", "restore_ledger"]
