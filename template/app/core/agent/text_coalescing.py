"""A model's words on their way to the browser: joined, and past both SDKs' pipelines.

Each word would cost several tasks there, though nobody but the browser has a use for it.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterator
from typing import Any

from agents import Model, ModelResponse, RunHooks
from agents.items import TResponseStreamEvent
from chatkit import types as ck
from openai.types.responses import ResponseContentPartAddedEvent, ResponseTextDeltaEvent

from ..chat_server import Events

CLOSE_LIMIT = 2.0  # seconds for a run to end after a Stop


class JoinedModel(Model, RunHooks[Any]):
    """`model` without its text, which `joined` puts into the run's events. It serves one run.

    Of that run it is the hooks too: an agent that is a tool asks the same model within the run.

    Words leave together that come within `window` seconds of the last that left; the first does
    not wait, nor does any other event.
    """

    def __init__(self, model: Model, window: float) -> None:
        self.model, self.window = model, window
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._rests_until = 0.0
        self._ready = deque[ck.ThreadStreamEvent]()
        # Messages have parts of text: what was made of each and has not left, by its number in the
        # run; the number of the one that is made, and of the one that the browser has open.
        self._texts: defaultdict[int, list[str]] = defaultdict(list)
        self._made = self._open = self._index = 0
        self._item_id = ""
        self._answers = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)  # what the runner asks of some models only

    async def on_llm_start(self, *_: Any) -> None:
        self._answers = True

    async def on_llm_end(self, *_: Any) -> None:
        self._answers = False

    async def get_response(self, *args: Any, **rest: Any) -> ModelResponse:
        return await self.model.get_response(*args, **rest)

    async def stream_response(self, *args: Any, **rest: Any) -> AsyncIterator[TResponseStreamEvent]:
        async for event in self.model.stream_response(*args, **rest):
            if not self._answers:
                pass
            elif isinstance(event, ResponseTextDeltaEvent):
                self._texts[self._made].append(event.delta)
                if self._timer is None:
                    self._wake.set()
                continue
            elif isinstance(event, ResponseContentPartAddedEvent):
                self._made += event.part.type != "reasoning_text"
            yield event

    def get_retry_advice(self, request: Any) -> Any:
        return self.model.get_retry_advice(request)

    async def joined(self, events: Events) -> Events:
        """The run's events and its text, in order; at a Stop or a failure all that was said."""
        drain = asyncio.create_task(self._drain(events))
        drain.add_done_callback(lambda _: self._ring())
        try:
            while not drain.done():
                await self._wake.wait()
                self._wake.clear()
                if self._ready:
                    for event in self._in_order():
                        yield event
                if self._loop.time() >= self._rests_until:
                    for event in self._said():
                        yield event
                elif self._timer is None and self._texts.get(self._open):
                    self._timer = self._loop.call_at(self._rests_until, self._ring)
            for event in (*self._in_order(), *self._said()):
                yield event
            drain.result()  # raises what the run raised
        except asyncio.CancelledError:
            for event in (*self._in_order(), *self._said()):
                yield event
            raise
        finally:
            drain.cancel()
            await asyncio.wait({drain}, timeout=CLOSE_LIMIT)

    async def _drain(self, events: Events) -> None:
        """Take the run's events as they come: one task from the first to the last of them."""
        async for event in events:
            self._ready.append(event)
            self._wake.set()

    def _ring(self) -> None:
        self._timer = None
        self._wake.set()

    def _in_order(self) -> Iterator[ck.ThreadStreamEvent]:
        """What is ready, each after the text that was made before it."""
        while self._ready:
            event = self._ready.popleft()
            if not isinstance(event, ck.ThreadItemRemovedEvent):  # a guardrail takes that back
                yield from self._said()
            match event:
                case ck.ThreadItemAddedEvent(item=ck.AssistantMessageItem(id=item_id)):
                    self._item_id, self._index = item_id, 0
                case ck.ThreadItemUpdatedEvent(
                    item_id=item_id,
                    update=ck.AssistantMessageContentPartAdded(content_index=index),
                ):
                    self._open, self._item_id, self._index = self._open + 1, item_id, index
                case ck.ThreadItemDoneEvent(item=ck.AssistantMessageItem()):
                    self._item_id = ""
            yield event

    def _said(self) -> Iterator[ck.ThreadStreamEvent]:
        """The text of the open part that has not left."""
        if self._item_id and (pieces := self._texts.pop(self._open, None)):
            self._rests_until = self._loop.time() + self.window
            delta = ck.AssistantMessageContentPartTextDelta(
                content_index=self._index, delta="".join(pieces)
            )
            yield ck.ThreadItemUpdatedEvent(item_id=self._item_id, update=delta)
