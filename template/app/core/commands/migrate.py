"""`python -m app migrate`: the schema of the PostgreSQL store, applied to DATABASE_URL."""

import typer

from .command_line import plainly


def migrate() -> None:
    """Bring the database of DATABASE_URL to the schema that this version needs."""
    with plainly():
        from alembic.util import CommandError
        from sqlalchemy.exc import OperationalError

        from ..config import load, stop_on_problems
        from ..store.embedded import with_limits
        from ..store.postgres import schema
        from ..store.postgres.store import PostgresSettings

        settings = load(PostgresSettings)
        stop_on_problems(settings)
        if not settings.conninfo:
            reason = "the embedded database migrates when the server starts."
            raise SystemExit(f"DATABASE_URL is not set: {reason}")
        try:
            schema.migrate(with_limits(settings.conninfo, settings.database_connect_timeout))
        except CommandError as error:
            raise SystemExit(f"The database cannot be used: {error}") from None
        except OperationalError as error:
            raise SystemExit(f"The database cannot be reached: {error.orig}") from None
    typer.echo(f"The schema is at {schema.HEAD}.")


def add_to(commands: typer.Typer) -> None:
    commands.command()(migrate)
