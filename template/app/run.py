"""Running an agent for a thread: its history in, ChatKit events out, and a Stop that stops.

The template's file: improvements arrive through `copier update`.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, cast

from agents import (
    Agent,
    Model,
    ModelSettings,
    RunConfig,
    RunContextWrapper,
    Runner,
    RunResultStreaming,
    StreamEvent,
)
from chatkit.agents import AgentContext, stream_agent_response
from chatkit.errors import CustomStreamError
from chatkit.types import (
    AssistantMessageItem,
    InferenceOptions,
    NoticeEvent,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemRemovedEvent,
    ThreadItemUpdatedEvent,
    ThreadMetadata,
    ThreadStreamEvent,
    UserMessageItem,
)
from pydantic import Field

from .base import BaseServer
from .context import RequestContext
from .history import load_history, tool_record
from .model import ModelSettings as ModelSection
from .model import build_model, has_credentials
from .model.offline import OfflineModel
from .store.base import BaseStore, new_id

# What tools and instructions get: `.request_context` is the asker, `.thread` the conversation.
Context = AgentContext[RequestContext]
ToolContext = RunContextWrapper[Context]

OFFLINE_NOTICE = "This is the offline model. Set a model's credentials in .env for real answers."
CLEANUP_LIMIT = 2.0  # seconds for the provider's connection to close after a Stop


class RunSettings(ModelSection):
    history_items: Annotated[int, Field(gt=0)] = 20
    max_turns: Annotated[int, Field(gt=0)] = 10  # model calls in one answer
    openai_tracing: bool = False  # send traces of every run to OpenAI
    offline_delay: Annotated[float, Field(ge=0)] = 0.03  # seconds a word of the offline model

    @property
    def is_offline(self) -> bool:
        return self.model == "offline" or not (self.is_production or has_credentials(self))

    def notes(self) -> list[str]:
        found = super().notes()
        return [*found, OFFLINE_NOTICE] if self.is_offline else found


class AgentServer(BaseServer):
    """A server whose answers come from an agent: call `run` in `respond`."""

    models: tuple[str, ...] = ()  # what `inference_options.model` may ask for
    tools: tuple[str, ...] = ()  # what `inference_options.tool_choice` may ask for

    def __init__(self, store: BaseStore, settings: RunSettings) -> None:
        super().__init__(store, settings)
        self.settings: RunSettings = settings
        self.model: Model = OfflineModel(settings.offline_delay) if settings.is_offline else build_model(settings)

    async def run(
        self,
        agent: Agent[Context],
        thread: ThreadMetadata,
        message: UserMessageItem | None,
        context: RequestContext,
    ) -> AsyncIterator[ThreadStreamEvent]:
        """Run `agent` on the thread's newest items and yield its events.

        Raises CustomStreamError for a model or tool that is not on the server's list.
        """
        config = self.run_config(message.inference_options if message else InferenceOptions())
        if self.settings.is_offline and not thread.metadata.get("offline_notice"):
            thread.metadata["offline_notice"] = True
            yield NoticeEvent(level="info", message=OFFLINE_NOTICE)
        history = await load_history(self.store, thread, self.settings.history_items, context)
        agent_context = Context(thread=thread, store=self.store, request_context=context)
        result = Runner.run_streamed(
            agent,
            history,
            context=agent_context,
            max_turns=self.settings.max_turns,
            run_config=config,
        )
        watched = _WatchedRun(result, agent_context)
        try:
            events = stream_agent_response(agent_context, cast(RunResultStreaming, watched))
            async for event in own_ids(events):
                yield event
        finally:
            await watched.close()

    def run_config(self, asked: InferenceOptions) -> RunConfig:
        """The run's model and settings: what a client asks for counts only if it is listed."""
        model, settings = self.model, None
        if asked.model is not None:
            _require(asked.model, self.models, "model")
            if not self.settings.is_offline:
                model = build_model(self.settings.model_copy(update={"model": asked.model}))
        if asked.tool_choice is not None:
            _require(asked.tool_choice.id, self.tools, "tool")
            settings = ModelSettings(tool_choice=asked.tool_choice.id)
        return RunConfig(
            model=model,
            model_settings=settings,
            tracing_disabled=not self.settings.openai_tracing,
            trace_include_sensitive_data=False,
        )


def _require(name: str, listed: tuple[str, ...], what: str) -> None:
    if name not in listed:
        raise CustomStreamError(f"This {what} is not available here. Please choose another.")


async def own_ids(events: AsyncIterator[ThreadStreamEvent]) -> AsyncIterator[ThreadStreamEvent]:
    """Give each assistant message an id of ours, the same from added to done.

    Providers' ids are not to be relied on: those of Chat Completions are all `__fake_id__`.
    """
    ids: dict[str, str] = {}
    open_items: dict[str, AssistantMessageItem] = {}
    seen: dict[str, list[str]] = {}
    async for event in events:
        match event:
            case ThreadItemUpdatedEvent():
                event.item_id = ids.get(event.item_id, event.item_id)
            case ThreadItemAddedEvent(item=AssistantMessageItem() as item):
                ids[item.id] = new_id("message")
                seen.setdefault(item.id, []).append(ids[item.id])
                event.item = item.model_copy(update={"id": ids[item.id]})
                open_items[event.item.id] = event.item
            case ThreadItemDoneEvent(item=AssistantMessageItem() as item):
                event.item = item.model_copy(update={"id": ids.get(item.id) or new_id("message")})
                open_items.pop(event.item.id, None)
            case ThreadItemAddedEvent() | ThreadItemDoneEvent():
                seen.setdefault(event.item.id, [event.item.id])
            case ThreadItemRemovedEvent():
                # A guardrail takes back what was said; only what was added can be removed.
                for item_id in seen.pop(event.item_id, []):
                    if unfinished := open_items.pop(item_id, None):
                        yield ThreadItemDoneEvent(item=unfinished)
                    yield ThreadItemRemovedEvent(item_id=item_id)
                continue
        yield event


class _WatchedQueue(asyncio.Queue[Any]):
    """A queue that knows which task waits for its next event."""

    reader: asyncio.Task[Any] | None = None

    async def get(self) -> Any:
        self.reader = asyncio.current_task()
        event = await super().get()
        self.task_done()
        return event


class _WatchedRun:
    """A run that keeps what its tools returned, and that can be stopped without leaks.

    `stream_agent_response` leaves two reader tasks and the run itself behind when it is
    cancelled: the model would go on to its last token, unheard.
    """

    def __init__(self, result: RunResultStreaming, context: Context) -> None:
        self._result, self._context = result, context
        self._reader: asyncio.Task[Any] | None = None
        self._queue = _WatchedQueue()
        self._calls: dict[str, Any] = {}
        context._events = self._queue

    async def stream_events(self) -> AsyncIterator[StreamEvent]:
        self._reader = asyncio.current_task()
        async for event in self._result.stream_events():
            if event.type == "run_item_stream_event":
                await self._keep(event.item.to_input_item())
            yield event
            self._reader = asyncio.current_task()

    async def _keep(self, item: Any) -> None:
        match item:
            case {"type": "function_call", "call_id": str(call_id)}:
                self._calls[call_id] = item
            case {"type": "function_call_output", "call_id": str(call_id)}:
                call = self._calls.pop(call_id, None)
                if call is None or self._context.client_tool_call is not None:
                    return  # a client tool's call becomes an item of its own
                record = tool_record(self._context.thread, call, item)
                await self._context.stream(ThreadItemDoneEvent(item=record))
                await self._queue.join()  # stored before anything that follows

    async def close(self) -> None:
        """End the run and its readers. A run that is complete has nothing left to end."""
        found = {self._reader, self._queue.reader} - {asyncio.current_task()}
        readers = {task for task in found if task and not task.done()}
        for task in readers:
            task.cancel()
        if not self._result.is_complete:
            self._result.cancel()
        if (run := self._result.run_loop_task) is not None:
            readers.add(run)
        if readers:
            await asyncio.wait(readers, timeout=CLEANUP_LIMIT)
        for task in readers:
            if task.done() and not task.cancelled():
                task.exception()  # seen: the turn has its error, or wants none
