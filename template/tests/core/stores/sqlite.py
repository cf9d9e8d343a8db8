"""Empty stores in SQLite: a file of its own each, in a folder that goes with the test run."""

import asyncio
import atexit
import tempfile
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from app.core.store.sqlite.file import READERS, Connection

# What else production asks for.
LIVE: dict[str, Any] = {}


@cache
def folder() -> Path:
    made = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    atexit.register(made.cleanup)
    return Path(made.name)


def fresh() -> dict[str, Any]:
    """Settings of a store that nobody has used."""
    return {"database_url": f"sqlite:///{folder() / uuid.uuid4().hex}.db"}


@contextmanager
def counted() -> Iterator[list[str]]:
    """The statements that reach a file meanwhile."""
    sent: list[str] = []
    execute = Connection.execute

    async def executed(self: Connection, statement: str, values: dict[str, Any]) -> Any:
        sent.append(statement)
        return await execute(self, statement, values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connection, "execute", executed)
        yield sent


@asynccontextmanager
async def contended(store: Any) -> AsyncIterator[None]:
    """Let others take the places of the connections meanwhile, again and again."""

    async def others(connection: Connection) -> None:
        while True:
            async with connection._places:
                await asyncio.sleep(0)
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(others(each)) for each in store.file._connections for _ in "12"]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def at_rest(store: Any) -> None:
    """Wait until nothing is under way. Raises AssertionError for what was left behind."""
    for each in store.file._connections:
        await each.execute("SELECT 1", {})
        assert each._places._value == 2
    threads = [one for one in threading.enumerate() if "_connection_worker_thread" in one.name]
    assert len(threads) <= 1 + READERS
