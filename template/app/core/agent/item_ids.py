"""Ids of our own for the items that a run streams."""

from chatkit import types as ck

from ..chat_server import Events
from ..store.base import new_id


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
