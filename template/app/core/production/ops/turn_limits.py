"""Where a turn ends that goes on for too long: with what there is, and a notice."""

import asyncio
import json
import math
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Annotated

from agents import Agent, MaxTurnsExceeded, TResponseInputItem
from chatkit import types as ck
from pydantic import Field

from ...agent.history import History, Input
from ...agent.run import AgentServer, Context, Message, RunSettings
from ...chat_server import Events
from ...config import Section
from ...store.base import BaseStore
from ..guardrails import without_stopped
from .meter import LimitReached, meter

STEPS = "The assistant could not finish within the steps that it may take for one answer."
SECONDS = "The assistant could not finish within the time that it may take for one answer."
LONG = "This conversation is long by now: the assistant does not see its beginning any more."


class TurnLimitSettings(Section):
    """Beside `max_turns`; 0 is no limit."""

    turn_seconds: Annotated[float, Field(ge=0)] = 600.0
    max_tool_calls: Annotated[int, Field(ge=0)] = 50
    max_output_tokens: Annotated[int, Field(ge=0)] = 0
    history_tokens: Annotated[int, Field(ge=0)] = 100_000  # about, at four bytes a token


class TurnLimits(AgentServer):
    """Ends a run at its limits as if it was over, but for a notice."""

    def __init__(self, store: BaseStore, settings: RunSettings) -> None:
        super().__init__(store, settings)
        assert isinstance(settings, TurnLimitSettings)
        self.limits = settings

    async def answer(self, agent: Agent[Context], message: Message, about: Context) -> Events:
        count, limits = meter(), self.limits
        count.max_tool_calls = limits.max_tool_calls
        count.max_output_tokens = limits.max_output_tokens
        open_items: dict[str, ck.ThreadItem] = {}
        try:
            events = super().answer(agent, message, about)
            async for event in within(limits.turn_seconds, events):
                self._follow(open_items, event)
                yield event
        except MaxTurnsExceeded as limit:
            count.reached = str(limit) if isinstance(limit, LimitReached) else STEPS
            for item in said(open_items.values()):
                yield ck.ThreadItemDoneEvent(item=item)
        if count.reached:
            yield ck.NoticeEvent(level="warning", message=count.reached)
        if count.shortened and not about.thread.metadata.get("history_notice"):
            about.thread.metadata["history_notice"] = True
            yield ck.NoticeEvent(level="info", message=LONG)

    def _follow(self, open_items: dict[str, ck.ThreadItem], event: ck.ThreadStreamEvent) -> None:
        """Keep what is not done, as the SDK does for a Stop."""
        match event:
            case ck.ThreadItemAddedEvent(item=item):
                open_items[item.id] = item.model_copy(deep=True)
            case ck.ThreadItemUpdatedEvent():
                copied = event.model_copy(deep=True)  # the SDK itself goes on writing into its own
                self._update_pending_items(open_items, copied)
            case ck.ThreadItemDoneEvent(item=item) | ck.ThreadItemReplacedEvent(item=item):
                open_items.pop(item.id, None)
            case ck.ThreadItemRemovedEvent(item_id=item_id):
                open_items.pop(item_id, None)

    def history(self, about: Context) -> History:
        return ShortHistory(about, self.limits.history_tokens)


def said(items: Iterable[ck.ThreadItem]) -> list[ck.ThreadItem]:
    """What is worth keeping of items that were not done: messages with a text, and thoughts."""
    return [
        item
        for item in items
        if (isinstance(item, ck.AssistantMessageItem) and any(p.text for p in item.content))
        or (isinstance(item, ck.WorkflowItem) and item.workflow.tasks)
    ]


async def within(seconds: float, events: Events) -> Events:
    """The events, for so long. Then what makes them is stopped, and LimitReached is raised."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    deadline, over = loop.time() + seconds if seconds else None, False
    while True:
        try:
            async with asyncio.timeout_at(None if over else deadline) as limit:
                event = await anext(events)
        except StopAsyncIteration:
            break
        except (TimeoutError, asyncio.CancelledError):
            if task.cancelling() or not (over or limit.expired()):
                raise
            raise LimitReached(SECONDS) from None
        over = over or limit.expired()  # then these are the last words of what was stopped
        yield event
    if over:
        raise LimitReached(SECONDS)


class ShortHistory(History):
    """The newest items that fit, each as a whole, at least from the person's last message on."""

    def __init__(self, about: Context, tokens: int) -> None:
        super().__init__(about.store, about.request_context)
        self.tokens = tokens

    async def to_agent_input(
        self, thread_items: Sequence[ck.ThreadItem] | ck.ThreadItem
    ) -> list[TResponseInputItem]:
        given = thread_items if isinstance(thread_items, Sequence) else [thread_items]
        items = without_stopped(given)
        parts, left, asked = list[Input](), self.tokens or math.inf, False
        for item in reversed(items):
            part = await self._thread_item_to_input_item(item, not asked)
            left -= sum(len(json.dumps(one, ensure_ascii=False).encode()) for one in part) / 4
            if left < 0 and asked:
                meter().shortened = True
                break
            parts.append(part)
            asked = asked or isinstance(item, ck.UserMessageItem)
        return [*chain(*reversed(parts))]
