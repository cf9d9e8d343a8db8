"""Empty stores in PostgreSQL: a schema of its own each."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from importlib import import_module
from io import StringIO
from itertools import chain
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.config import Config

from app.core.store.postgres.schema import MIGRATIONS

from ..database import schema

# Each after those that refer to it.
TABLES = ("usage", "feedback", "items", "threads", "attachments")

# What else production asks for.
LIVE: dict[str, Any] = {}


def fresh(partitions: int = 0) -> dict[str, Any]:
    """Settings of a store that nobody has used, its tables in that many parts by owner."""
    conninfo = schema()
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(_script().encode())
        if partitions:
            _spread(connection, partitions)
    return {"database_url": conninfo}


@cache
def _script() -> str:
    """The schema as `alembic upgrade head --sql` prints it: to migrate takes five times as long."""
    config = Config(output_buffer=(printed := StringIO()))
    config.set_main_option("script_location", str(MIGRATIONS))
    command.upgrade(config, "head", sql=True)
    return printed.getvalue()


def _spread(connection: psycopg.Connection, partitions: int) -> None:
    """Make the tables once more, as a database of many owners would have them."""
    connection.execute(f"DROP TABLE {', '.join(TABLES)}".encode())
    versions = ("0001_conversations", "0002_feedback", "0003_usage", "0004_hidden_items")
    for statement in chain(*(import_module(f"migrations.versions.{v}").UP for v in versions)):
        by_owner = " PARTITION BY HASH (org_id, user_id)" * ("CREATE TABLE" in statement)
        connection.execute(f"{statement}{by_owner}".encode())
    for table in TABLES:
        for number in range(partitions):
            values = f"FOR VALUES WITH (MODULUS {partitions}, REMAINDER {number})"
            part = f"CREATE TABLE {table}_{number} PARTITION OF {table} {values}"
            connection.execute(part.encode())


@contextmanager
def counted() -> Iterator[list[str]]:
    """What the server is asked meanwhile: a text for each round trip, BEGIN and COMMIT included."""
    sent: list[str] = []
    execute, command = psycopg.AsyncCursor.execute, psycopg.AsyncConnection._exec_command

    async def executed(self: Any, query: Any, *args: Any, **named: Any) -> Any:
        sent.append(str(query))
        return await execute(self, query, *args, **named)

    def commanded(self: Any, query: Any, *args: Any) -> Any:
        sent.append(str(query))
        return command(self, query, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psycopg.AsyncCursor, "execute", executed)
        patch.setattr(psycopg.AsyncConnection, "_exec_command", commanded)
        yield sent


@asynccontextmanager
async def contended(store: Any) -> AsyncIterator[None]:
    """Let others take the pool's lock meanwhile, again and again."""

    async def others() -> None:
        while True:
            async with store.pool._lock:
                for _ in range(3):
                    await asyncio.sleep(0)
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    yield
    task.cancel()
    await asyncio.wait({task})


async def at_rest(store: Any) -> None:
    """Wait until nothing is under way. Raises AssertionError for what was left behind."""
    for _ in range(2000):
        counts = store.pool.get_stats()
        if counts["pool_available"] == counts["pool_size"]:
            break
        await asyncio.sleep(0.001)
    else:
        raise AssertionError(f"Connections are missing: {counts}")
    assert not store.pool._lock.locked()
    ours = [each.info.backend_pid for each in store.pool._pool]
    asked = "SELECT count(*) FROM pg_locks WHERE pid = ANY(%s) AND locktype = 'relation'"
    async with await psycopg.AsyncConnection.connect(store.pool.conninfo) as other:
        cursor = await other.execute(asked, [ours])
        assert await cursor.fetchone() == (0,)
        alive = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s)"
        assert await (await other.execute(alive, [ours])).fetchone() == (len(ours),)
