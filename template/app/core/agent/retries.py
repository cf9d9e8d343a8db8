"""Retries of a turn's model calls, and the end of a call that has fallen silent."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from agents import Model, ModelResponse, ModelRetrySettings, ModelSettings, RunConfig
from agents.items import TResponseStreamEvent
from agents.retry import ModelRetryAdviceRequest

from .model_errors import ModelStalled, TryLater

RETRIES = 2  # of a turn, whichever of its model calls fail
FIRST_DELAY, LONGEST_DELAY = 0.5, 8.0  # seconds, where the provider names none
LONGEST_WAIT = 10.0  # seconds that a person waits for a retry without being told
TALKING = ("message", "function_call", "custom_tool_call")


def without_retries(config: RunConfig) -> None:
    """Switch off the retries of a provider's own client, which knows only its own request.

    The client would ask three times for each call and wait up to a minute in silence, as often
    as its provider's Retry-After says.
    """
    none = ModelSettings(retry=ModelRetrySettings(max_retries=0))
    config.model_settings = (config.model_settings or ModelSettings()).resolve(none)


class RetryingModel(Model):
    """`model`, asked again where its provider failed before it sent an event. It serves one run.

    `stall` is how many seconds a provider may be silent while it sends text or arguments.
    """

    def __init__(self, model: Model, stall: float) -> None:
        self.model, self.stall = model, stall
        self.retried = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)  # the runner reads attributes that only some models have

    async def get_response(self, *args: Any, **rest: Any) -> ModelResponse:
        while True:
            try:
                return await self.model.get_response(*args, **rest)
            except Exception as error:
                await self._wait(error)

    async def stream_response(self, *args: Any, **rest: Any) -> AsyncIterator[TResponseStreamEvent]:
        while True:
            events: Any = self.model.stream_response(*args, **rest)
            watch, begun = _Watch(self.stall), False
            try:
                async with aclosing(events), aclosing(watch.over(events)) as watched:
                    async for event in watched:
                        begun = True
                        yield event
                return
            except Exception as error:
                if begun:
                    raise
                await self._wait(error)

    def get_retry_advice(self, request: Any) -> Any:
        return self.model.get_retry_advice(request)

    async def _wait(self, error: Exception) -> None:
        """Wait for the next try. Raises the error, or TryLater, where there is none."""
        about = ModelRetryAdviceRequest(error=error, attempt=self.retried + 1, stream=True)
        advice = self.model.get_retry_advice(about)
        if advice is None or not advice.suggested or advice.replay_safety == "unsafe":
            raise error
        if (advice.retry_after or 0) > LONGEST_WAIT:
            raise TryLater(advice.retry_after or 0, getattr(error, "status_code", None)) from error
        if self.retried == RETRIES:
            raise error
        delay = min(FIRST_DELAY * 2**self.retried, LONGEST_DELAY) * random.uniform(0.75, 1)
        self.retried += 1
        await asyncio.sleep(delay if advice.retry_after is None else advice.retry_after)


class _Watch:
    """Ends the wait for a stream's next event after `limit` seconds of silence.

    One timer for the whole stream: an `asyncio.timeout` for each event costs a tenth of a turn.
    """

    def __init__(self, limit: float) -> None:
        self._limit, self._loop = limit, asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._cancelling = self._task.cancelling() if self._task else 0
        self._since: float | None = None  # the begin of a wait that may not take longer
        self._expired = False

    async def over(self, events: Any) -> AsyncGenerator[Any, None]:
        """Yield the events. Raises ModelStalled."""
        may_be_silent = True  # MODEL_TIMEOUT counts until the first event
        self._timer = self._loop.call_later(self._limit, self._check)
        try:
            while True:
                self._since = None if may_be_silent else self._loop.time()
                event = await anext(events)
                self._since = None
                may_be_silent = _may_fall_silent(event, may_be_silent)
                yield event
        except StopAsyncIteration:
            return
        except asyncio.CancelledError:
            if self._expired and self._task and self._task.uncancel() <= self._cancelling:
                raise ModelStalled from None
            raise
        finally:
            self._timer.cancel()

    def _check(self) -> None:
        waited = 0.0 if self._since is None else self._loop.time() - self._since
        if waited < self._limit:
            self._timer = self._loop.call_later(self._limit - waited, self._check)
        elif self._task:
            self._expired = True
            self._task.cancel()


def _may_fall_silent(event: TResponseStreamEvent, before: bool) -> bool:
    """Tell whether a provider may be silent after the event.

    While a model thinks, or its provider runs a tool, no event may come for minutes.
    """
    match event.type:
        case "response.output_item.added":
            return event.item.type not in TALKING
        case "response.created" | "response.output_item.done" | "response.output_text.delta":
            return False
    return before
