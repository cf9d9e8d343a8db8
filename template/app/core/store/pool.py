"""A pool of PostgreSQL connections that loses none of them to a cancellation."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]

END_LIMIT = 1.0  # seconds for PostgreSQL to end a statement that was cancelled
CLOSE_LIMIT = 2.0  # seconds for statements that still run when the pool is closed


class Pool(AsyncConnectionPool):
    """Runs work with one of its connections; a time limit or a Stop reaches the work alone.

    Hazard: psycopg_pool takes connections and gives them back under locks. A cancellation that
    comes meanwhile loses the connection for good: the pool goes on counting it, nobody can have
    it, and after as many as there are connections every request fails. Two cancellations in a row
    can also leave one of its locks taken. So a task of its own takes the connection, works and
    gives it back. It is cancelled once at most, and not while it gives the connection back.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._background: set[asyncio.Task[None]] = set()

    async def use(self, work: Work[T], seconds: float) -> T:
        """The result of `work`, which gets a connection. Raises TimeoutError after `seconds`."""
        lent = _Lent(self, work)
        task = self.keep(lent.run())
        try:
            async with asyncio.timeout(seconds):
                return await lent.outcome
        except (TimeoutError, asyncio.CancelledError):
            # The caller's next statement must not overtake this one, so let this one end first.
            # PostgreSQL is asked to end it; where it does not in time, the connection is closed.
            lent.stop(task)
            if not (await asyncio.wait({task}, timeout=END_LIMIT))[0]:
                lent.stop(task)
                await asyncio.wait({task}, timeout=END_LIMIT)
            raise

    def keep(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task that nobody has to wait for."""
        task = asyncio.create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def close(self, timeout: float = 5.0) -> None:  # noqa: ASYNC109 (as psycopg has it)
        if self._background:
            await asyncio.wait(self._background, timeout=CLOSE_LIMIT)
        await super().close(timeout)


class _Lent(Generic[T]):
    """One use of a connection, and how it ended."""

    def __init__(self, pool: Pool, work: Work[T]) -> None:
        self.pool, self.work = pool, work
        self.outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.is_stopped = self.is_working = self.is_over = False

    def stop(self, task: asyncio.Task[None]) -> None:
        """Cancel the work, or the wait for a connection; a second time only the work."""
        if self.is_working or not (self.is_stopped or self.is_over):
            self.is_stopped = True
            task.cancel()

    async def run(self) -> None:
        connection = None
        try:
            connection = await self.pool.getconn()
            # Python 3.11's wait_for() returns a connection and drops the cancellation, where both
            # come at the same time: do not begin work that was cancelled.
            if not self.outcome.done():
                self.is_working = True
                result = await self.work(connection)
                if not self.outcome.done():
                    self.outcome.set_result(result)
        except asyncio.CancelledError:
            self.outcome.cancel()
        except Exception as error:
            if not self.outcome.done():
                self.outcome.set_exception(error)
        finally:
            self.is_working, self.is_over = False, True
            if connection is not None:
                await self.pool.putconn(connection)
