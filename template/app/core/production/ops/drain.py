"""The end of a server process: new turns are refused first, running ones end, then it closes."""

import asyncio
import math
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from multiprocessing import parent_process
from types import FrameType
from typing import Annotated, Any

from chatkit.errors import CustomStreamError
from chatkit.server import NonStreamingResult, StreamingResult
from fastapi import FastAPI
from pydantic import Field

from ...chat_server import BaseServer
from ...config import Section
from ...context import RequestContext
from ...errors import ApiError, logger

DRAINING = "The server is shutting down."
CUT = "The server had to restart before the answer was whole. What was said is kept."
ECHO = 2.0
PAUSE = 0.1  # seconds
Handlers = dict[int, Callable[[int, FrameType | None], Any]]


class DrainSettings(Section):
    drain_delay: Annotated[float | None, Field(ge=0)] = None  # seconds of 503 before sockets close
    shutdown_grace: Annotated[float, Field(ge=0)] = 20.0  # seconds for running turns, after that

    @property
    def seconds_of_503(self) -> float:
        """While they last, a load balancer finds out. Nobody waits for a Ctrl-C."""
        usual = 5.0 if self.is_production else 0.0
        return usual if self.drain_delay is None else self.drain_delay


class DrainServer(BaseServer):
    draining_for: float | None = None  # seconds until another instance has everybody

    async def process(
        self, request: str | bytes | bytearray, context: RequestContext
    ) -> StreamingResult | NonStreamingResult:
        result = await super().process(request, context)
        if self.draining_for is not None and isinstance(result, StreamingResult):
            after = str(max(1, math.ceil(self.draining_for)))  # nothing of the turn has begun
            raise ApiError(503, "draining", f"{DRAINING} Please try again.", retry_after=after)
        return result

    async def ready(self) -> str | None:
        return await super().ready() if self.draining_for is None else DRAINING


class Drain:
    """What signals do. `own` are the server's handlers, which close its sockets at once."""

    def __init__(self, app: FastAPI, settings: DrainSettings, own: Handlers) -> None:
        self.app, self.settings, self.own = app, settings, own
        self._loop = asyncio.get_running_loop()
        self._since: float | None = None
        self._closed = self._was_cut = False

    def on_signal(self, number: int, frame: object = None) -> None:
        """A handler of signals, which come between any two steps of a program."""
        self._loop.call_soon_threadsafe(self._told, number)

    def _told(self, number: int) -> None:
        if self._since is None:
            delay = self.settings.seconds_of_503 if number == signal.SIGTERM else 0.0
            self._since, self.app.state.server.draining_for = self._loop.time(), delay
            self._loop.call_later(delay, self._close, number)
        elif self._was_cut:
            self.own[number](number, None)
        elif self._loop.time() - self._since > ECHO:  # somebody does not want to wait
            self._close(number)
            self._cut()

    def _close(self, number: int) -> None:
        if not self._closed:
            self._closed = True
            self._loop.call_later(self.settings.shutdown_grace, self._cut)
            self._leave(number)

    def _leave(self, number: int) -> None:
        """Close the sockets. Those of a worker take connections on in its parent, which reads none.

        So a worker answers what comes until its last turn has ended.
        """
        if parent_process() and self.app.state.turns and not self._was_cut:
            self._loop.call_later(PAUSE, self._leave, number)
        else:
            self.own[number](number, None)

    def _cut(self) -> None:
        """End what still runs as a Stop does, and tell its reader."""
        self._was_cut = True
        if turns := list(self.app.state.turns):
            logger.warning("%d answers were cut: their time to end was over", len(turns))
        for turn in turns:
            turn.stop(CustomStreamError(CUT, allow_retry=True))


@asynccontextmanager
async def open_drain(app: FastAPI, settings: DrainSettings) -> AsyncIterator[None]:
    """Stand between the signals and the server, where it is one that handles them here."""
    own: Handlers = {}
    if threading.current_thread() is threading.main_thread():
        found = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        own = {number: handler for number, handler in found.items() if callable(handler)}
    drain = Drain(app, settings, own)
    for number in own:
        signal.signal(number, drain.on_signal)
    config = getattr(getattr(own.get(signal.SIGTERM), "__self__", None), "config", None)
    limit = getattr(config, "timeout_graceful_shutdown", None)  # uvicorn's: None waits for ever
    if limit is not None and limit <= settings.shutdown_grace:
        logger.warning("SHUTDOWN_GRACE is not below --timeout-graceful-shutdown, %s seconds", limit)
    try:
        yield
    finally:
        for number, handler in own.items():
            if signal.getsignal(number) == drain.on_signal:
                signal.signal(number, handler)
