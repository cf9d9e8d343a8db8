"""Runs the migrations in one transaction, under a lock that lives as long as that.

The template's file: improvements arrive through `copier update`.
"""

import psycopg
from alembic import context
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

LOCK = 7_242_863_285_221  # any number, the same for all who migrate


def conninfo() -> str:
    """The application's own when it migrates, else that of DATABASE_URL."""
    if given := context.config.attributes.get("conninfo"):
        return str(given)
    from app.config import stop_on_problems
    from app.store.embedded import with_limits
    from app.store.postgres import PostgresSettings

    settings = PostgresSettings()
    if not settings.conninfo:
        raise SystemExit("DATABASE_URL is not set: the embedded database migrates at the start.")
    stop_on_problems(settings)
    return with_limits(settings.conninfo, settings.database_connect_timeout)


def migrate() -> None:
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(conninfo(), prepare_threshold=None),
        poolclass=NullPool,
        use_native_hstore=False,
    )
    with engine.connect() as connection:
        context.configure(connection=connection)
        with context.begin_transaction():
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            context.run_migrations()


if context.is_offline_mode():  # alembic upgrade head --sql
    context.configure(dialect_name="postgresql")
    with context.begin_transaction():
        context.run_migrations()
else:
    migrate()
