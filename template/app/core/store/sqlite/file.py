"""The file of the SQLite store: its connections, and what keeps it from being used."""

import asyncio
import itertools
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiosqlite

from ...errors import StoreUnavailable, logger
from .schema import APPLICATION, NEWER, UPGRADES, Unusable, prepare

Rows = list[Any]

READERS = 2  # connections; a page does not wait for a write, nor for the one page before it
PRAGMAS = "PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL;"

# What keeps a file from being used, and what to do; by SQLite's primary result codes.
REASONS = {
    sqlite3.SQLITE_BUSY: "it stayed locked for DATABASE_BUSY_TIMEOUT: end what holds it",
    sqlite3.SQLITE_READONLY: "it is read-only: let this server's user write it and its folder",
    sqlite3.SQLITE_IOERR: "reading or writing failed: look after the disk, which may be full",
    sqlite3.SQLITE_CORRUPT: "it is damaged: put a backup in its place",
    sqlite3.SQLITE_FULL: "the disk is full: make room on it",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: let this server's user write it and its folder",
    sqlite3.SQLITE_NOTADB: "it is not a SQLite database: name another file in DATABASE_URL",
}
REPLACED = "it was deleted or replaced while the server ran: start the server again"
NO_FOLDER = "its folder cannot be made or written: let this server's user write there"


def reason_of(error: Exception) -> str | None:
    """Why the file cannot be used; None for an error that is not the file's fault."""
    match error:
        case Unusable():
            return str(error)
        case TimeoutError():
            return REASONS[sqlite3.SQLITE_BUSY]
        case OSError():
            return REASONS[sqlite3.SQLITE_CANTOPEN]
    return REASONS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)


def reason_at_start(path: Path) -> str | None:
    """Why the file will not do, without making it; None when nothing speaks against it."""
    try:
        folder = next(one for one in path.absolute().parents if one.exists())
        if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
            return NO_FOLDER
        with path.open("r+b") as file:
            head = file.read(100)
    except FileNotFoundError:
        return None
    except OSError as error:
        return reason_of(error)
    if head and not head.startswith(b"SQLite format 3\0"):
        return REASONS[sqlite3.SQLITE_NOTADB]
    version, application = int.from_bytes(head[60:64]), int.from_bytes(head[68:72])
    return NEWER if application == APPLICATION and version > len(UPGRADES) else None


@asynccontextmanager
async def _place(among: asyncio.Semaphore, patience: float) -> AsyncIterator[None]:
    """Hold a place. Raises TimeoutError when none gets free within `patience` seconds."""
    async with asyncio.timeout(patience):
        await among.acquire()
    try:
        yield
    finally:
        among.release()


class Connection:
    """A connection in a thread of its own, which does one statement after the other.

    Each is a transaction of its own; once begun it is finished, whoever is cancelled meanwhile.
    The next one waits in the thread, the others here: each for so long as it has patience.
    """

    def __init__(self, connection: aiosqlite.Connection, patience: float) -> None:
        self._connection, self._patience = connection, patience
        self._places = asyncio.Semaphore(2)

    async def execute(self, statement: str, values: dict[str, Any]) -> Rows:
        """The statement's rows. Raises sqlite3.Error, or TimeoutError when others took too long."""
        async with _place(self._places, self._patience):
            return list(await self._connection.execute_fetchall(statement, values))


def _seen(task: asyncio.Task[None]) -> None:
    """Keep asyncio from logging an error that each request which meets it logs itself."""
    if not task.cancelled():
        task.exception()


class SqliteFile:
    """One connection that writes and some that read. What could not be opened is tried again."""

    def __init__(self, path: Path, patience: float) -> None:
        self.path, self.patience = path.absolute(), patience
        self._opening: asyncio.Task[None] | None = None
        self._open = AsyncExitStack()
        self._connections: list[Connection] = []  # first the one that writes
        self._turns = itertools.count()
        self._inode, self._told, self._closed = 0, "", False

    async def read(self, statement: str, values: dict[str, Any]) -> Rows:
        """The rows of a statement that changes nothing. Raises StoreUnavailable."""
        try:
            _, *readers = await self._opened()
            return await readers[next(self._turns) % READERS].execute(statement, values)
        except Exception as error:
            raise self._told_once(error) from None

    async def write(self, statement: str, values: dict[str, Any]) -> Rows:
        """The rows of a statement, once its changes are on the disk. Raises StoreUnavailable."""
        try:
            writer, *_ = await self._opened()
            self._must_be_the_same()
            rows = await writer.execute(statement, values)
        except Exception as error:
            raise self._told_once(error) from None
        self._told = ""
        return rows

    async def ready(self) -> str | None:
        """Why the file cannot be written now; None once it was, with what it had before."""
        try:
            await self.write(f"PRAGMA application_id = {APPLICATION}", {})
        except StoreUnavailable:
            return f"The database file cannot be used: {self._told}."
        return None

    async def open(self) -> None:
        """Open the file; where that cannot be done now the log says why."""
        with suppress(StoreUnavailable):
            await self.read("SELECT 1", {})

    async def close(self) -> None:
        """Finish what was begun and close the connections, for good."""
        self._closed = True
        if self._opening:
            await asyncio.wait({self._opening})
        await asyncio.shield(asyncio.create_task(self._open.aclose()))

    async def _opened(self) -> list[Connection]:
        """The connections. One task opens them for all: a request that is cancelled ends none."""
        if not self._connections and not self._closed:
            is_first = self._opening is None or self._opening.done()
            if self._opening is None or is_first:
                self._opening = asyncio.create_task(self._connect())
                self._opening.add_done_callback(_seen)  # also where nobody waits for it any more
            async with asyncio.timeout(None if is_first else self.patience):
                await asyncio.shield(self._opening)
        return self._connections

    async def _connect(self) -> None:
        await asyncio.to_thread(prepare, self.path, self.patience)
        async with AsyncExitStack() as stack:
            opened = []
            for query_only in (0, *[1] * READERS):
                each = aiosqlite.connect(self.path, timeout=self.patience, isolation_level=None)
                connection = await stack.enter_async_context(each)
                await connection.executescript(PRAGMAS + f"PRAGMA query_only = {query_only};")
                opened.append(Connection(connection, self.patience))
            self._inode, self._open = self.path.stat().st_ino, stack.pop_all()
        self._connections = opened

    def _must_be_the_same(self) -> None:
        """SQLite would go on writing into a file that has no name any more. Raises Unusable."""
        with suppress(FileNotFoundError):
            if self.path.stat().st_ino == self._inode:
                return
        raise Unusable(REPLACED)

    def _told_once(self, error: Exception) -> Exception:
        """StoreUnavailable, with the reason in the log, where the file is to blame for `error`."""
        if (reason := reason_of(error)) is None:
            return StoreUnavailable() if self._closed else error
        if reason != self._told:
            self._told = reason
            logger.error("%s cannot be used: %s.", self.path, reason)
        return StoreUnavailable()
