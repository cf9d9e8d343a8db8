"""Running an agent for a thread: its history in, ChatKit events out, and a Stop that stops.

The template's file: improvements arrive through `copier update`.
"""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Annotated, Any

from agents import Agent, Model, RunConfig, RunContextWrapper, Runner, RunState, StreamEvent
from agents.result import RunResultStreaming
from chatkit import types as ck
from chatkit.agents import AgentContext, ResponseStreamConverter, stream_agent_response
from chatkit.errors import CustomStreamError
from openai import DefaultHttpxClient
from pydantic import Field

from .base import BaseServer, Events
from .config import AppSettings
from .context import RequestContext
from .facts import request_id
from .failures import model_failure, tool_failure
from .history import History, load_history, of_tools, tool_record
from .joining import JoinedModel
from .model import ModelSettings as ModelSection
from .model import build_model, has_credentials
from .model.offline import OfflineModel
from .store.base import BaseStore, new_id

# What tools and instructions get: `.request_context` is the asker, `.thread` the conversation.
Context = AgentContext[RequestContext]
ToolContext = RunContextWrapper[Context]
Message = ck.UserMessageItem | None

OFFLINE_NOTICE = "This is the offline model. Set a model's credentials in .env for real answers."
CUT = "This was stopped. It is not known whether it was done."  # of what a person had approved
OUTPUT = "function_call_output"
CLEANUP_LIMIT = 2.0  # seconds for the provider's connection to close after a Stop


class RunSettings(ModelSection, AppSettings):
    history_items: Annotated[int, Field(gt=0)] = 20
    max_turns: Annotated[int, Field(gt=0)] = 10  # model calls in one answer
    model_timeout: Annotated[float, Field(gt=0)] = 60.0  # seconds until it begins, retries included
    text_window: Annotated[float, Field(ge=0)] = 0.03  # seconds in which a model's words are joined
    openai_tracing: bool = False  # send traces of every run to OpenAI
    offline_delay: Annotated[float, Field(ge=0)] = 0.03  # seconds a word of the offline model

    @property
    def is_offline(self) -> bool:
        return self.model == "offline" or not (self.is_production or has_credentials(self))

    def problems(self) -> list[str]:
        found = super().problems()
        try:  # as every provider's client reads the environment when it is built
            _ = self.is_offline or DefaultHttpxClient()
        except Exception as error:  # its text may quote the password of a proxy
            kind = "ssl_cert_.*" if isinstance(error, OSError) else "(https?|all|no)_proxy"
            names = [name for name in os.environ if re.fullmatch(kind, name, re.IGNORECASE)]
            told = "cannot be used to reach the model: write a proxy as in http://10.0.0.1:3128 "
            told += "and certificates as a path that exists, or unset it."
            found.append(f"{' or '.join(names) or 'A proxy of this system'} {told}")
        return found

    def notes(self) -> list[str]:
        return super().notes() + [OFFLINE_NOTICE] * self.is_offline


class AgentServer(BaseServer):
    """A server whose answers come from an agent: call `run` in `respond`."""

    model: Model
    models: tuple[str, ...] = ()  # what `inference_options.model` may ask for
    tools: tuple[str, ...] = ()  # what `inference_options.tool_choice` may ask for
    converter = ResponseStreamConverter()  # of images and citations

    def __init__(self, store: BaseStore, settings: RunSettings) -> None:
        super().__init__(store, settings)
        self.settings: RunSettings = settings
        offline = settings.is_offline
        self.model = OfflineModel(settings.offline_delay) if offline else build_model(settings)
        self._picked: dict[str, Model] = {}

    def run(
        self,
        agent: Agent[Context],
        thread: ck.ThreadMetadata,
        message: ck.UserMessageItem | None,
        context: RequestContext,
    ) -> Events:
        """Run `agent` on the thread's newest items and yield its events.

        Raises CustomStreamError for a model or tool that is not on the server's list.
        """
        about = Context(thread=thread, store=self.store, request_context=context)
        return self.answer(agent, message, about)

    async def answer(self, agent: Agent[Context], message: Message, about: Context) -> Events:
        asked = message.inference_options if message else await self._asked(about)
        config = self.run_config(asked)
        if asked.tool_choice:  # of this agent alone: not of one that takes over, or is a tool
            chosen = replace(agent.model_settings, tool_choice=asked.tool_choice.id)
            agent = agent.clone(model_settings=chosen)
        config.group_id = about.thread.id
        assert isinstance(config.model, Model)
        config.model = model = JoinedModel(config.model, self.settings.text_window)
        if self.settings.is_offline and not about.thread.metadata.get("offline_notice"):
            about.thread.metadata["offline_notice"] = True
            yield ck.NoticeEvent(level="info", message=OFFLINE_NOTICE)
        agent, given = await self.begin(agent, about)
        turns = self.settings.max_turns
        rest: Any = {"context": about, "max_turns": turns, "run_config": config, "hooks": model}
        run = Runner.run_streamed(agent, given, **rest)
        shown = False
        watched: Any = _WatchedRun(run, about, self.settings.model_timeout, given)
        try:
            events = own_ids(stream_agent_response(about, watched, converter=self.converter))
            async for event in model.joined(events):
                shown = True
                yield event
            for event in await self.end(run, about):
                shown = True
                yield event
            if not shown:  # a refusal that a provider's client has swallowed
                raise CustomStreamError("The assistant has no answer to this.", allow_retry=True)
        finally:
            await watched.close()

    async def _asked(self, about: Context) -> ck.InferenceOptions:
        """What a turn goes on with that nobody has written: the model of the last message."""
        where = about.thread.id, about.request_context
        async for item in self._paginate_thread_items_reverse(*where):
            if isinstance(item, ck.UserMessageItem):
                picked = item.inference_options.model
                return ck.InferenceOptions(model=picked if picked in self.models else None)
        return ck.InferenceOptions()

    async def begin(self, agent: Agent[Context], about: Context) -> tuple[Agent[Context], Any]:
        """The agent that is run, and what it is given: the thread's newest items."""
        limit = self.settings.history_items
        return agent, await load_history(self.history(about), about.thread, limit)

    async def end(self, run: RunResultStreaming, about: Context) -> Sequence[ck.ThreadStreamEvent]:
        """What follows the run's own events: nothing, at this level."""
        return ()

    def history(self, about: Context) -> History:
        """How the thread's items become model input."""
        return History(about.store, about.request_context)

    def explain(self, error: Exception) -> ck.ErrorEvent:
        return model_failure(error)

    def run_config(self, asked: ck.InferenceOptions) -> RunConfig:
        """The run's model and settings: what a client asks for counts only if it is listed."""
        model, tool = self.model, asked.tool_choice and asked.tool_choice.id
        if tool not in (None, *self.tools) or asked.model not in (None, *self.models):
            raise CustomStreamError("This choice is not available here. Please make another.")
        if asked.model and not self.settings.is_offline:
            if asked.model not in self._picked:  # its connections, and tokens, are for many turns
                given = self.settings.model_copy(update={"model": asked.model})
                self._picked[asked.model] = build_model(given)
            model = self._picked[asked.model]
        return RunConfig(
            model=model,
            tracing_disabled=not self.settings.openai_tracing,
            trace_include_sensitive_data=False,
            trace_metadata={"request_id": request_id()},
            tool_error_formatter=tool_failure,
        )


async def own_ids(events: Events) -> Events:
    """Give each assistant message an id of ours, the same from added to done.

    Providers' ids are not to be relied on: those of Chat Completions are all `__fake_id__`.
    """
    ids: dict[str, list[str]] = {}  # ours by theirs, the newest last
    open_items: dict[str, ck.ThreadItem] = {}
    stored: set[str] = set()
    async for event in events:
        match event:
            case ck.ThreadItemUpdatedEvent():
                event.item_id = ids.get(event.item_id, [event.item_id])[-1]
            case ck.ThreadItemAddedEvent(item=item):
                if isinstance(item, ck.AssistantMessageItem):
                    ids.setdefault(item.id, []).append(new_id("message"))
                    event.item = item.model_copy(update={"id": ids[item.id][-1]})
                open_items[event.item.id] = event.item
            case ck.ThreadItemDoneEvent(item=ck.ClientToolCallItem() as item):
                own_id = new_id("tool_call")  # the SDK's is that of the last call, whichever it was
                event.item = item.model_copy(update={"id": own_id, "call_id": own_id})
            case ck.ThreadItemDoneEvent(item=item):
                if isinstance(item, ck.AssistantMessageItem):
                    own_id = ids.get(item.id, [new_id("message")])[-1]
                    event.item = item.model_copy(update={"id": own_id})
                stored.add(event.item.id)
            case ck.ThreadItemRemovedEvent():  # a guardrail takes back what was produced
                for own_id in ids.get(event.item_id, [event.item_id]):
                    if own_id not in stored and own_id in open_items:  # the SDK removes what it has
                        yield ck.ThreadItemDoneEvent(item=open_items[own_id])
                        stored.add(own_id)
                    if own_id in stored:
                        yield ck.ThreadItemRemovedEvent(item_id=own_id)
                continue
        yield event


class _WatchedQueue(asyncio.Queue[Any]):
    """A queue that knows which task waits for its next event."""

    reader: asyncio.Task[Any] | None = None

    async def get(self) -> Any:
        self.reader = asyncio.current_task()
        return await super().get()


class _WatchedRun:
    """A run that keeps what its tools returned, and that can be stopped without leaks.

    `stream_agent_response` leaves two reader tasks and the run itself behind when it is
    cancelled: the model would go on to its last token, unheard.
    """

    def __init__(self, run: RunResultStreaming, about: Context, limit: float, given: Any) -> None:
        self._result, self._context, self._queue = run, about, _WatchedQueue()
        self._reader: asyncio.Task[Any] | None = None
        # What was called and did not end, before the run goes on after a person's answer.
        told = of_tools(run.new_items)
        calls = {item["call_id"]: item for item in told if item["type"] == "function_call"}
        ended = {item["call_id"] for item in told if item["type"] == OUTPUT}
        self._calls = {one: call for one, call in calls.items() if one not in ended}
        self._answered, self._told = [*self._calls], len(run.new_items)
        self._writes: dict[Any, asyncio.Future[None]] = {}
        # Whether the model is waited for: a run that goes on begins with the tools it asked for.
        self._patience, self._waits = limit, not isinstance(given, RunState)
        while not about._events.empty():  # what was said before
            self._queue.put_nowait(about._events.get_nowait())
        about._events = self._queue

    async def stream_events(self) -> AsyncIterator[StreamEvent]:
        self._reader = asyncio.current_task()
        events = self._result.stream_events()
        while True:
            try:  # the limit is for a model that has not begun, not for tools or a long answer
                if self._waits:
                    async with asyncio.timeout(self._patience):
                        event = await anext(events)
                else:
                    event = await anext(events)
            except StopAsyncIteration:
                if self._result.interruptions:  # a person is asked first
                    self._context.client_tool_call = None
                return
            if event.type == "run_item_stream_event":
                self._waits = event.item.type in ("tool_call_output_item", "handoff_output_item")
                if write := self._keep(event.item.to_input_item()):
                    await asyncio.shield(write)  # the tool has acted: a Stop comes too late
            elif event.type == "raw_response_event":
                self._waits = False
            yield event
            self._reader = asyncio.current_task()

    def _keep(self, item: Any) -> asyncio.Future[None] | None:
        """Begin to store what a tool returned, once."""
        about, kind, call_id = self._context, item.get("type"), item.get("call_id")
        if kind == "function_call":
            self._calls[call_id] = item
        elif kind == OUTPUT and call_id in self._calls.keys() - self._writes:
            if (call := about.client_tool_call) and call.name == self._calls[call_id].get("name"):
                return None  # the SDK makes this call an item of its own, for the client
            record = tool_record(about.thread, self._calls[call_id], item)
            write = about.store.add_thread_item(about.thread.id, record, about.request_context)
            self._writes[call_id] = asyncio.ensure_future(write)
        return self._writes.get(call_id)

    async def close(self) -> None:
        """End the run and its readers; a run that is complete has nothing left to end."""
        found = {self._reader, self._queue.reader, self._result.run_loop_task}
        tasks = {task for task in found if task and not task.done()} - {asyncio.current_task()}
        for task in tasks - {self._result.run_loop_task}:
            task.cancel()
        if not self._result.is_complete:
            self._result.cancel()
        if left := {*tasks, *self._writes.values()}:
            await asyncio.wait(left, timeout=CLEANUP_LIMIT)
        if not self._result.interruptions:  # no event may have told of a tool's end
            made, cut = self._result.new_items[self._told :], {"output": CUT, "type": OUTPUT}
            for item in of_tools(made) + [cut | {"call_id": one} for one in self._answered]:
                if write := self._keep(item):
                    await asyncio.wait({write}, timeout=CLEANUP_LIMIT)  # one by one: in order
        # What nobody has asked for would be logged by asyncio.
        ends = [end for end in (*found, *self._writes.values()) if end and end.done()]
        _ = [end.exception() for end in ends if not end.cancelled()]
