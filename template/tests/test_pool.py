"""No connection is held while a model streams: few of them carry many turns.

The template's file: improvements arrive through `copier update`.
"""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from chatkit import types as ck

from app.base import BaseServer
from app.context import RequestContext

from .chat import text_of
from .conftest import serve

TURNS, CONNECTIONS = 50, 2


class Together(BaseServer):
    """Nobody's answer ends before everybody's has begun."""

    all_speak: asyncio.Barrier

    async def respond(
        self, thread: ck.ThreadMetadata, message: ck.UserMessageItem | None, context: RequestContext
    ) -> AsyncIterator[ck.ThreadStreamEvent]:
        await self.store.load_thread_items(thread.id, None, 20, "desc", context)
        item_id = self.store.generate_item_id("message", thread, context)
        now = datetime.now()
        item = ck.AssistantMessageItem(id=item_id, thread_id=thread.id, created_at=now, content=[])
        yield ck.ThreadItemAddedEvent(item=item)
        async with asyncio.timeout(8):
            await self.all_speak.wait()
        text = ck.AssistantMessageContent(text="Together")
        yield ck.ThreadItemDoneEvent(item=item.model_copy(update={"content": [text]}))


def test_few_connections_carry_many_slow_turns() -> None:
    with serve(database_pool_size=CONNECTIONS, answers_at_once=TURNS) as server:
        state = server.app.state
        state.server = Together(state.server.store, state.settings)
        state.server.all_speak = asyncio.Barrier(TURNS)
        person = server.person()
        person.ask("threads.list")  # whom all of them are from
        with ThreadPoolExecutor(TURNS) as several:
            turns = list(several.map(person.say, ["Hello"] * TURNS))
        stored = person.ask("threads.list", limit=100)["data"]
    assert [text_of(events) for events in turns] == ["Together"] * TURNS
    assert len(stored) == TURNS
