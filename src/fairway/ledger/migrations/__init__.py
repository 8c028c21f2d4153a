"""Alembic's folder: how an older ledger becomes a newer one. Never edit a revision that was released."""
