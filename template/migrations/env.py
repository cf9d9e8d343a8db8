"""Runs the migrations in one transaction, under a lock that lives as long as that.

The template's file: improvements arrive through `copier update`.
"""

from importlib import import_module

import psycopg
from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

LOCK = 7_242_863_285_221  # any number, the same for all who migrate


def conninfo() -> str:
    """The application's own when it migrates, else that of DATABASE_URL."""
    if given := context.config.attributes.get("conninfo"):
        return str(given)
    from app.core.config import stop_on_problems
    from app.core.store.embedded import with_limits
    from app.core.store.postgres.store import PostgresSettings

    settings = PostgresSettings()
    if not settings.conninfo:
        raise SystemExit("DATABASE_URL is not set: the embedded database migrates at the start.")
    stop_on_problems(settings)
    return with_limits(settings.conninfo, settings.database_connect_timeout)


def why_not(connection: Connection) -> str:
    """What keeps this application's tables from being here; empty where nothing does."""
    if not connection.scalar(text("SELECT current_schema()")):
        return (
            "no schema is there that its role may use: let the database's owner make the one that "
            "DATABASE_URL names (CREATE SCHEMA chat AUTHORIZATION role)"
        )
    store = context.config.attributes.get(
        "store", "app.core.store.postgres"
    )  # a host may have an `app` too
    sql = import_module(f"{store}.statements")
    found = connection.exec_driver_sql(sql.TAKEN).first()
    if not found and context.get_context().get_current_heads():
        found = connection.exec_driver_sql(sql.VERSION).first()
    return str(import_module(f"{store}.schema").FOREIGN) if found and not found[0] else ""


def refuse_what_is_not_ours(connection: Connection) -> None:
    """Ends before anything is changed; by one sentence also where the command line migrates."""
    if reason := why_not(connection):
        if "conninfo" in context.config.attributes:
            raise CommandError(reason)
        raise SystemExit(f"The database cannot be used: {reason}")


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
            refuse_what_is_not_ours(connection)
            context.run_migrations()


if context.is_offline_mode():  # alembic upgrade head --sql
    context.configure(dialect_name="postgresql")
    with context.begin_transaction():
        context.run_migrations()
else:
    migrate()
