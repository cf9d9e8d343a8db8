"""No connection is held while a model streams: few of them carry many turns."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
from chatkit import types as ck

from app.core.chat_server import BaseServer
from app.core.context import RequestContext

from ...chat import text_of, user_input
from ...fixtures import RunningServer, serve, wait_until
from ...http.test_lease import Listener, is_speaking, talking
from ...http.test_stop import Talker

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


@pytest.fixture
def with_one() -> Iterator[tuple[RunningServer, Talker]]:
    """A server that has one connection, and turns with patience."""
    yield from talking(database_pool_size=1, turn_wait=5, answers_at_once=9)


def test_a_stop_is_not_lost_where_a_connection_comes_at_the_same_time() -> None:
    """psycopg's pool gives the connection then, and says nothing of the Stop."""

    async def stopped(store: Any, steps: int) -> bool:
        held = store.pool.connection()
        await held.__aenter__()
        asking = asyncio.create_task(store.ready())
        await asyncio.sleep(0.01)
        giving_back = asyncio.create_task(held.__aexit__(None, None, None))
        for _ in range(steps):
            await asyncio.sleep(0)
        was_early = asking.cancel()
        await asyncio.wait({asking, giving_back})
        return asking.cancelled() or not was_early

    with serve(database_pool_size=1) as server:
        ends = [server.run(stopped(server.store, steps)) for steps in range(12)]
    assert ends == [True] * 12


async def until(condition: Callable[[], Any]) -> None:
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("It did not come about.")


def test_a_stop_while_a_connection_is_given_back_does_not_lose_it() -> None:
    """psycopg's pool gives it back under a lock, and loses it where that wait is cancelled."""

    async def stopped(store: Any) -> None:
        resting = store.pool.get_stats()["pool_available"]
        asking = asyncio.create_task(store.run("SELECT pg_sleep(0.02)"))
        await until(lambda: store.pool.get_stats()["pool_available"] != resting)
        async with store.pool._lock:
            await until(lambda: store.pool._lock._waiters)  # the statement has ended
            asking.cancel()
            await asyncio.sleep(0)
        await asyncio.wait({asking})

    with serve(database_pool_size=CONNECTIONS, database_connect_timeout=0.5) as server:
        assert server.run(server.store.ready()) is None
        for _ in range(CONNECTIONS + 1):
            server.run(stopped(server.store))
        assert server.run(server.store.ready()) is None


def test_turns_that_wait_for_another_hold_no_connection(
    with_one: tuple[RunningServer, Talker],
) -> None:
    server, _ = with_one
    person, message = server.person(), {"input": user_input()}
    first = Listener(person, "threads.create", **message)
    wait_until(lambda: is_speaking(first))
    kind, about = "threads.add_user_message", {"thread_id": first.thread_id}
    waiting = [Listener(person, kind, **about, **message) for _ in range(5)]
    wait_until(lambda: len(server.app.state.turns) == 6)
    for _ in range(20):
        assert person.items(first.thread_id)[0]["type"] == "user_message"
    assert not any(each.events for each in waiting)
    first.stop()
    wait_until(lambda: any(map(is_speaking, waiting)))
    person.ask("threads.delete", thread_id=first.thread_id)
    for each in waiting:
        each.wait()
