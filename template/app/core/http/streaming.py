"""A turn's events on their way to the browser, and what a Stop does to the turn."""

import asyncio
from collections.abc import AsyncIterator, Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..errors import error_event
from ..log_context import log_context

JOIN_WINDOW = 0.005  # seconds; what is ready within them leaves in one send
MAX_WAITING = 4_000_000  # bytes that may wait for a reader
MAX_LAG = 5.0  # seconds to catch up with them; a reader that does not counts as gone
MAX_STALL = 60.0  # seconds that one send may take
PIECE = 65_536  # bytes of one send: more than this never waits in the server's own buffer
STOP_LIMIT = 10.0  # seconds for a stopped turn to store what was said

UNBUFFERED = {"cache-control": "no-cache, no-transform", "x-accel-buffering": "no"}
# The SDK's first event of every respond and action: from here on a cancellation is persisted.
_ANSWERING = b'data: {"type":"stream_options"'


class ResponseTask:
    """One task that owns the SDK's generator and iterates it to its end.

    A Stop, a lost connection and a shutdown all come down to `stop()`.
    """

    def __init__(self, events: AsyncIterator[bytes]) -> None:
        self.error: Exception | None = None
        self.on_lost: Callable[[], object] = lambda: None
        self.first_sent, self._wake, self._taken = (asyncio.Event() for _ in range(3))
        self._ready: list[bytes] = []
        self._waiting = 0
        self._answering = self._stop_asked = self._silent = False
        self._told: Exception | None = None
        self.task = asyncio.create_task(self._run(events))
        self.task.add_done_callback(lambda _: self._wake.set())

    def stop(self, told: Exception | None = None) -> None:
        """End the turn, keeping what was said, and tell a reader who stays.

        Returns at once; `task` ends a little later.
        """
        if self.task.done() or self._stop_asked:
            return
        self._stop_asked, self._told = True, told
        self.first_sent.set()
        if self._answering:  # before that the person's own message is still being stored
            self.task.cancel()
        asyncio.get_running_loop().call_later(STOP_LIMIT, self.task.cancel)

    async def first(self) -> bool:
        """Wait for the first event; whether there is one. Raises what went wrong before it."""
        await self._wake.wait()
        if self.error is not None:
            raise self.error
        return bool(self._ready)

    async def read(self, patience: float) -> tuple[bytes, bool]:
        """What is ready, joined, and whether more may come; b"" after `patience` seconds."""
        self._silent = False
        # As asyncio.timeout() would end it, at a third of the cost: this is once a word.
        timer = asyncio.get_running_loop().call_later(patience, self._fall_silent)
        try:
            while not (self.task.done() or (self._ready and self._wake.is_set()) or self._silent):
                self._wake.clear()
                await self._wake.wait()
        finally:
            timer.cancel()
        self._wake.clear()
        events, self._ready, self._waiting = self._ready, [], 0
        self._taken.set()
        return b"".join(events), not self.task.done()

    def _fall_silent(self) -> None:
        self._silent = True
        self._wake.set()

    async def _run(self, events: AsyncIterator[bytes]) -> None:
        try:
            async for event in events:
                self._put(event)
                if not self.first_sent.is_set():  # its arrival sets the pace that a person feels
                    await self._rest(self.first_sent)
                elif self._waiting > MAX_WAITING and not self._stop_asked:
                    self._taken.clear()
                    await self._rest(self._taken)
        except asyncio.CancelledError:
            if not self._stop_asked or self._told:
                self._fail(self._told or RuntimeError("cancelled by nobody"))
        except Exception as error:
            self._fail(error)

    async def _rest(self, until: asyncio.Event) -> None:
        """Let the reader catch up before the next event is made; one that does not is gone."""
        self._wake.set()
        try:
            async with asyncio.timeout(MAX_LAG):
                await until.wait()
        except TimeoutError:
            self.stop()
            self.on_lost()
        except asyncio.CancelledError:
            # A stop belongs inside the generator, which only then stores what was said.
            asyncio.get_running_loop().call_soon(self.task.cancel)

    def _fail(self, error: Exception) -> None:
        if self.first_sent.is_set():
            log_context().setdefault("ended", "failed")
            last = error_event(error).model_dump_json(exclude_none=True)
            self._put(f"data: {last}\n\n".encode())
        else:
            self.error = error

    def _put(self, event: bytes) -> None:
        if not self._ready:
            asyncio.get_running_loop().call_later(JOIN_WINDOW, self._wake.set)
        self._ready.append(event)
        self._waiting += len(event)
        if not self._answering and event.startswith(_ANSWERING):
            self._answering = True
            if self._stop_asked:
                self.task.cancel()


class EventStream(Response):
    """Sends a turn as server-sent events, with a comment whenever nothing else is to be said."""

    media_type = "text/event-stream"

    def __init__(self, turn: ResponseTask, heartbeat: float) -> None:
        super().__init__(headers=UNBUFFERED)
        del self.headers["content-length"]
        self.turn, self.heartbeat = turn, heartbeat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sender = asyncio.create_task(self._send(send))
        watcher = asyncio.create_task(_disconnected(receive))
        self.turn.on_lost = sender.cancel
        try:
            await asyncio.wait({sender, watcher}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            pass  # the server shuts down; the application waits for what is to be stored
        finally:
            self.turn.stop()
            stalled = sender.done() and (sender.cancelled() or sender.exception() is not None)
            log_context().setdefault(
                "ended", "done" if sender.done() and not stalled else "stopped"
            )
            sender.cancel()
            watcher.cancel()
            await asyncio.gather(sender, watcher, return_exceptions=True)
            if stalled:
                scope["abort"]()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        more = True
        while more:
            chunk, more = await self.turn.read(self.heartbeat)
            body = chunk or (b": still here\n\n" if more else b"")
            for start in range(0, len(body) or 1, PIECE):
                piece, last = body[start : start + PIECE], start + PIECE >= len(body)
                message = {"type": "http.response.body", "body": piece}
                async with asyncio.timeout(MAX_STALL):
                    await send({**message, "more_body": more or not last})
            self.turn.first_sent.set()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def stop_all(turns: set[ResponseTask]) -> None:
    """Stop the turns that still run and wait until each has stored what was said."""
    for turn in turns:
        turn.stop()
    if running := {turn.task for turn in turns}:
        await asyncio.wait(running, timeout=STOP_LIMIT)
