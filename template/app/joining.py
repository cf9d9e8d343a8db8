"""A model's words, joined before they cost a trip through both SDKs each.

The template's file: improvements arrive through `copier update`.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from agents import InputGuardrailTripwireTriggered as InputTripwire
from agents import Model, ModelResponse
from agents import OutputGuardrailTripwireTriggered as OutputTripwire
from agents.items import TResponseStreamEvent
from chatkit import types as ck
from openai.types.responses import (
    ResponseContentPartAddedEvent,
    ResponseFunctionCallArgumentsDeltaEvent,
    ResponseReasoningSummaryTextDeltaEvent,
    ResponseTextDeltaEvent,
)

from .base import Events

CLOSE_LIMIT = 2.0  # seconds for the provider's connection to close after a Stop
_Delta = (
    ResponseTextDeltaEvent,
    ResponseReasoningSummaryTextDeltaEvent,
    ResponseFunctionCallArgumentsDeltaEvent,
)


class JoinedModel(Model):
    """`model`, of whose deltas those leave as one that come within `window` seconds of the last.

    The first never waits, nor does any other event, and the order stays. One object serves one run.
    """

    def __init__(self, model: Model, window: float) -> None:
        self.model, self.window = model, window
        self.part, self.said = 0, list[str]()  # the text that is being made: its number, so far

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)  # what the runner asks of some models only

    async def get_response(self, *args: Any, **rest: Any) -> ModelResponse:
        return await self.model.get_response(*args, **rest)

    async def stream_response(self, *args: Any, **rest: Any) -> AsyncIterator[TResponseStreamEvent]:
        queue = _Queue(self.window)
        pump = asyncio.create_task(self._pump(self.model.stream_response(*args, **rest), queue))
        pump.add_done_callback(queue.end)
        try:
            while events := await queue.take():
                for event in events:
                    yield event
            pump.result()  # raises what the model raised
        finally:
            pump.cancel()
            await asyncio.wait({pump}, timeout=CLOSE_LIMIT)

    async def _pump(self, events: AsyncIterator[TResponseStreamEvent], queue: "_Queue") -> None:
        """Take the model's events as they come: one task from the first to the last of them."""
        async for event in events:
            if isinstance(event, ResponseTextDeltaEvent):
                self.said.append(event.delta)
            elif isinstance(event, ResponseContentPartAddedEvent):
                self.part, self.said = self.part + 1, []
            queue.put(event)

    def get_retry_advice(self, request: Any) -> Any:
        return self.model.get_retry_advice(request)

    async def pass_on(self, events: Events) -> Events:
        """The run's events; at a Stop or a failure also the text that was still on its way."""
        part = length = 0
        last: ck.ThreadItemUpdatedEvent | None = None
        try:
            async for event in events:
                if isinstance(event, ck.ThreadItemUpdatedEvent):
                    match event.update:
                        case ck.AssistantMessageContentPartAdded():
                            part, length, last = part + 1, 0, None
                        case ck.AssistantMessageContentPartTextDelta(delta=delta):
                            length, last = length + len(delta), event
                yield event
        except (InputTripwire, OutputTripwire):
            raise  # what was said is taken back
        except (asyncio.CancelledError, Exception):
            rest = "".join(self.said)[length:]
            if last and rest and part == self.part:
                update = last.update.model_copy(update={"delta": rest})
                yield last.model_copy(update={"update": update})
            raise


class _Queue:
    """Events on their way to the runner; a delta at their end is still open to be joined."""

    def __init__(self, window: float) -> None:
        self._window, self._loop, self._wake = window, asyncio.get_running_loop(), asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._ready: list[TResponseStreamEvent] = []
        self._pieces: list[str] = []  # of the delta that is open
        self._rests_until = 0.0
        self._ended = False

    def put(self, event: TResponseStreamEvent) -> None:
        if not isinstance(event, _Delta):
            self._close()
            self._ready.append(event)
            self._wake.set()
            return
        if not self._pieces or _place(self._ready[-1]) != _place(event):
            self._close()
            self._ready.append(event)
        self._pieces.append(event.delta)
        if self._timer is None:  # a time that is over already is at once
            self._timer = self._loop.call_at(self._rests_until, self._wake.set)

    async def take(self) -> list[TResponseStreamEvent]:
        """What is ready; nothing once the model has ended and all was taken."""
        if not self._ended:
            await self._wake.wait()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pieces:
            self._rests_until = self._loop.time() + self._window
        self._wake.clear()
        self._close()
        ready, self._ready = self._ready, []
        return ready

    def end(self, pump: asyncio.Task[None]) -> None:
        _ = pump.cancelled() or pump.exception()  # or asyncio logs that nobody has asked for it
        self._ended = True
        self._wake.set()

    def _close(self) -> None:
        if len(self._pieces) > 1:
            joined = {"delta": "".join(self._pieces)}
            self._ready[-1] = self._ready[-1].model_copy(update=joined)
        self._pieces = []


def _place(delta: Any) -> tuple[object, ...]:
    """What a delta adds to."""
    index = getattr(delta, "content_index", None) or getattr(delta, "summary_index", None)
    return type(delta), delta.item_id, delta.output_index, index
