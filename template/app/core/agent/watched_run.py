"""A run that keeps what its tools returned, and that a Stop ends without leaks."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from agents import RunState, StreamEvent
from agents.result import RunResultStreaming
from chatkit.agents import AgentContext

from ..context import RequestContext
from .history import of_tools, tool_record

CUT = "This was stopped. It is not known whether it was done."  # of what a person had approved
OUTPUT = "function_call_output"
# The items of a run after which its model is asked.
BEFORE_MODEL = ("tool_call_output_item", "handoff_output_item", "mcp_approval_response_item")
CLEANUP_LIMIT = 2.0  # seconds for the provider's connection to close after a Stop


class _WatchedQueue(asyncio.Queue[Any]):
    """A queue that knows which task waits for its next event."""

    reader: asyncio.Task[Any] | None = None

    async def get(self) -> Any:
        self.reader = asyncio.current_task()
        return await super().get()


class WatchedRun:
    """A run that keeps what its tools returned, and that can be stopped without leaks.

    `stream_agent_response` leaves two reader tasks and the run itself behind when it is
    cancelled: the model would go on to its last token, unheard.
    """

    def __init__(
        self, run: RunResultStreaming, about: AgentContext[RequestContext], limit: float, given: Any
    ) -> None:
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
                self._waits = event.item.type in BEFORE_MODEL
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
