"""Connections to PostgreSQL: statements with a time limit, sent again where a connection had
died.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from ...errors import StoreUnavailable, logger
from ..embedded import with_limits
from ..pool import Pool

# Errors of a database that cannot be used now; any other error is the statement's own.
UNAVAILABLE = (
    TimeoutError,
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.ReadOnlySqlTransaction,
)


class Rows(list[tuple[Any, ...]]):
    """The rows of a statement; `again` after a second try, when the first may have been done."""

    def __init__(self, rows: list[tuple[Any, ...]], again: bool) -> None:
        super().__init__(rows)
        self.again = again


class Connections:
    """Statements on the connections of a pool, each a transaction of its own."""

    def __init__(self, pool: Pool, timeout: float) -> None:
        self.pool, self.timeout = pool, timeout

    async def execute(self, statement: str, values: dict[str, Any], again: bool = False) -> Rows:
        """The statement's rows. Raises StoreUnavailable, or the statement's own psycopg.Error."""
        used: psycopg.AsyncConnection | None = None

        async def work(connection: psycopg.AsyncConnection) -> Rows:
            nonlocal used
            used = connection
            cursor = await connection.execute(statement.encode(), values)
            return Rows(await cursor.fetchall(), again)

        try:
            return await self.pool.use(work, self.timeout)
        except UNAVAILABLE as error:
            # A connection died, mostly while it rested in the pool, and others with it. Replace
            # them all and send the statement again. It may have been done before; a lease whose
            # answer was lost stays taken until it expires.
            if not again and used is not None and used.closed:
                await asyncio.shield(self.pool.keep(self.pool.drain()))
                return await self.execute(statement, values, again=True)
            logger.warning("PostgreSQL cannot be used: %s%s", type(error).__name__, _hint(error))
            raise StoreUnavailable from None


def _hint(error: Exception) -> str:
    missing = isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn)
    return ". The schema is behind: uv run alembic upgrade head" if missing else ""


@asynccontextmanager
async def open_connections(
    conninfo: str, size: int, connect_timeout: float, statement_timeout: float, *, prepare: bool
) -> AsyncIterator[Connections]:
    """Up to `size` connections, opened when they are needed; the timeouts are in seconds."""
    pool = Pool(
        with_limits(conninfo, connect_timeout),
        kwargs={"autocommit": True, "prepare_threshold": 5 if prepare else None},
        min_size=min(2, size),
        max_size=size,
        timeout=connect_timeout,
        reconnect_timeout=connect_timeout,
        open=False,
    )
    await pool.open()
    try:
        yield Connections(pool, statement_timeout)
    finally:
        await pool.close()
