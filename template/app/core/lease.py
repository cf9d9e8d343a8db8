"""One running turn per thread: a lease that is taken before a turn and given back after it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress

from chatkit.types import ErrorEvent

from .context import RequestContext
from .errors import StoreUnavailable, error_event, logger, report
from .log_context import log_context
from .store.base import BaseStore, Lease, TurnLost
from .validation import closed

BUSY = "Another answer in this conversation is still being written. Please try again after it."
RELEASE_LIMIT = 5.0  # seconds; a lease that cannot be given back expires


class TurnLease:
    """The lease of one turn, by which no other turn writes into its thread meanwhile."""

    def __init__(self, store: BaseStore, lease: Lease, context: RequestContext) -> None:
        self.store, self.lease, self.context = store, lease, context
        self.lost = False

    async def take(self, thread_id: str, patience: float) -> ErrorEvent | None:
        """Wait up to `patience` seconds for the thread; None, or why the turn may not begin.

        No connection is held while it waits. Raises NotFoundError.
        """
        loop, pause = asyncio.get_running_loop(), 0.05
        deadline = loop.time() + patience
        while True:
            seconds = self.lease.seconds
            thread, generation = await self.store.take_lease(thread_id, seconds, self.context)
            if generation is not None:
                self.lease.taken(thread_id, generation)
                return None
            if reason := closed(thread):
                return ErrorEvent(message=reason)
            if loop.time() >= deadline:
                return ErrorEvent(message=BUSY, allow_retry=True)
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.5)

    async def hold(self, events: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """Pass a turn's events on; renew the lease meanwhile, and give it back at the end."""
        turn = asyncio.current_task()
        assert turn is not None
        renewal = asyncio.create_task(self._renew(turn))
        try:
            async for event in events:
                yield event
        except asyncio.CancelledError:
            if not self.lost:
                raise
            turn.uncancel()
            log_context().setdefault("ended", "failed")
            last = error_event(TurnLost()).model_dump_json(exclude_none=True)
            yield f"data: {last}\n\n".encode()
        finally:
            # A Stop may arrive just now, as the turn ends. It would cancel the release, and the
            # person's next message would wait for the lease to expire: release it in a task.
            release = asyncio.create_task(self._end(renewal))
            while not release.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({release})

    async def _renew(self, turn: asyncio.Task[None]) -> None:
        """Renew until cancelled. Where that cannot be done the turn is ended, as a Stop ends it."""
        loop, pause = asyncio.get_running_loop(), self.lease.seconds / 3
        expires = loop.time() + self.lease.seconds
        while not self.lost:
            await asyncio.sleep(pause)
            thread_id, generation, seconds = (
                self.lease.thread_id,
                self.lease.generation,
                self.lease.seconds,
            )
            began = loop.time()
            try:
                async with asyncio.timeout(pause):
                    if generation is None or await self.store.renew_lease(
                        thread_id, generation, seconds, self.context
                    ):
                        expires = began + self.lease.seconds
                    else:
                        self.lost = True
            except Exception as error:
                logger.warning("a lease could not be renewed: %s", type(error).__name__)
                self.lost = loop.time() >= expires
        turn.cancel()

    async def _end(self, renewal: asyncio.Task[None]) -> None:
        renewal.cancel()
        await asyncio.wait({renewal}, timeout=RELEASE_LIMIT)  # one on its way would come after
        await self._give_back()

    async def _give_back(self) -> None:
        generation, self.lease.generation = self.lease.generation, None
        if generation is None or self.lost:
            return
        try:
            async with asyncio.timeout(RELEASE_LIMIT):
                await self.store.release_lease(self.lease.thread_id, generation, self.context)
        except StoreUnavailable:
            pass  # the log has the reason; the lease expires
        except Exception as error:
            report(error, "a lease was not given back; it expires. ")
