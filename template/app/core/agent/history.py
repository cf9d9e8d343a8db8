"""What the model is told of the conversation so far."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from agents import TResponseInputItem
from agents.items import RunItem, ToolCallItem, ToolCallOutputItem
from chatkit import types as ck
from chatkit.agents import ThreadItemConverter
from chatkit.store import Store
from openai.types.responses import EasyInputMessageParam, ResponseInputTextParam

from ..context import RequestContext
from ..store.base import new_id
from .call_ids import call_id_of

Input = list[TResponseInputItem]
# From who asks and a tag's id to what the model may know of it; empty where it is not theirs.
TagResolver = Callable[[RequestContext, str], Awaitable[str]]


class History(ThreadItemConverter):
    """Thread items as model input that both OpenAI APIs accept on every turn."""

    def __init__(self, store: Store[RequestContext], context: RequestContext) -> None:
        self.store, self.context = store, context
        self.tags: Mapping[str, TagResolver] = {}

    async def assistant_message_to_input(self, item: ck.AssistantMessageItem) -> TResponseInputItem:
        # Plain text: Chat Completions refuses the output_text parts of the default.
        text = "".join(part.text for part in item.content)
        return EasyInputMessageParam(type="message", role="assistant", content=text)

    async def hidden_context_to_input(
        self, item: ck.HiddenContextItem
    ) -> TResponseInputItem | Input | None:
        match item.content:
            case {"type": "tool_record", "items": items}:
                return [_with_call_id(item.id, part) for part in items]
            case {"type": "pending_run" | "stopped"}:
                return None  # a call without its output; the mark of a guardrail
            case str():
                return await super().hidden_context_to_input(item)
        text = item.model_copy(update={"content": json.dumps(item.content, default=str)})
        return await super().hidden_context_to_input(text)

    async def client_tool_call_to_input(self, item: ck.ClientToolCallItem) -> Input | None:
        found = await super().client_tool_call_to_input(item)
        return [_with_call_id(item.id, part) for part in cast(Input, found or [])]

    async def tag_to_message_content(self, tag: ck.UserMessageTagContent) -> ResponseInputTextParam:
        resolve = self.tags.get(tag.group or "")
        found = await resolve(self.context, tag.id) if resolve else ""
        text = f"@{tag.text}: {found}" if found else f"@{tag.text}"
        return ResponseInputTextParam(type="input_text", text=text)

    async def attachment_to_message_content(self, file: ck.Attachment) -> ResponseInputTextParam:
        return ResponseInputTextParam(type="input_text", text=f"[attachment: {file.name}]")


async def load_history(history: History, thread: ck.ThreadMetadata, limit: int) -> Input:
    """The thread's newest `limit` items, oldest first, as model input.

    At least from the person's last message on. A tool's call and its output are one item of the
    thread, so none is ever cut from the other.
    """
    items, after, more = list[ck.ThreadItem](), None, True
    while more and not any(isinstance(item, ck.UserMessageItem) for item in items):
        page = await history.store.load_thread_items(
            thread.id, after, limit, "desc", history.context
        )
        items, after, more = items + page.data, page.after, page.has_more
    return await history.to_agent_input(items[::-1])


def of_tools(items: Sequence[RunItem]) -> list[Any]:
    """The calls of tools and their outputs, as model input."""
    of_tool = ToolCallItem | ToolCallOutputItem
    return [item.to_input_item() for item in items if isinstance(item, of_tool)]


def _with_call_id(item_id: str, part: Any) -> Any:
    """A call or its output, with the id of the item that keeps both.

    A provider's own id may be another call's too, and be refused by the next provider.
    """
    return {**part, "call_id": call_id_of(item_id)}


def tool_record(thread: ck.ThreadMetadata, call: Any, output: Any) -> ck.HiddenContextItem:
    """A server tool's call with its output, for the model's later turns; never shown."""
    kept = ("type", "call_id", "name", "arguments", "output")
    new, now = new_id("message"), datetime.now()
    items = [
        _with_call_id(new, {name: part[name] for name in kept if name in part})
        for part in (call, output)
    ]
    content = {"type": "tool_record", "items": items}
    return ck.HiddenContextItem(id=new, thread_id=thread.id, created_at=now, content=content)
