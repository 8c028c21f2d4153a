"""Bringing an older ledger up to date; Alembic and SQLAlchemy are imported only then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fairway.ledger.database import connect, errors

MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(path: Path, revision: str = "head") -> None:
    """Run the migrations up to ``revision`` in one transaction: all of them or none.

    Raises:
        PermanentError: As :func:`fairway.ledger.database.errors`.
    """
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine, event, pool

    engine = create_engine("sqlite://", creator=lambda: connect(path), poolclass=pool.NullPool)

    # SQLAlchemy believes the driver begins transactions; ours are begun by hand, before the first statement.
    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with errors(path), engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()
