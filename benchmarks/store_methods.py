"""Each method of the PostgreSQL store, and its statement by hand: see `store.py`."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlite
from psycopg_pool import AsyncConnectionPool
from report import Row

sys.path.insert(0, str(sqlite.ROOT / "template"))

from chatkit import types as ck

from app.core.store.base import begin_request, new_id, remember
from app.core.store.postgres import statements as sql
from app.core.store.postgres.store import PostgresSettings, PostgresStore, open_store
from app.core.store.sql.rows import ATTACHMENT, ITEM, as_json, columns_of

ME, NOW = sqlite.ME, sqlite.NOW
POOL, CLIENTS = 10, 20  # connections of each side, and who asks at once
PAGE, LENGTH = 20, 60  # items of a page and of a thread


async def opened(stack: AsyncExitStack, conninfo: str) -> PostgresStore:
    values: dict[str, Any] = {"_env_file": None, "database_url": conninfo}
    settings = PostgresSettings(**values, database_pool_size=POOL)
    return await stack.enter_async_context(open_store(settings))


class Bare:
    """The store's statements through a pool of psycopg's."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self.pool = pool

    async def rows(self, statement: str, **values: Any) -> list[Any]:
        values |= {"org": "", "user": "me"}
        async with self.pool.connection() as connection:
            cursor = await connection.execute(statement.encode(), values)
            return await cursor.fetchall()


def a_widget(thread_id: str) -> ck.ThreadItem:
    """A card with a table's worth of texts."""
    line: Any = {"type": "Row", "children": [{"type": "Text", "value": "Some text"}] * 4}
    card = {"type": "Card", "children": [line] * 8}
    about = {"id": new_id("message"), "thread_id": thread_id, "created_at": NOW, "widget": card}
    return ck.WidgetItem.model_validate(about)


@dataclass
class Client:
    """One of those who ask: threads of their own, so that no two wait for the same row."""

    thread: ck.ThreadMetadata
    texts: list[str]  # ids of its items
    widgets: ck.ThreadMetadata
    number: int = 0

    @property
    def words(self) -> ck.ThreadItem:
        return sqlite.an_item(self.thread.id)

    def retitled(self) -> ck.ThreadMetadata:
        self.number += 1
        return self.thread.model_copy(update={"title": f"Title {self.number}"})


async def a_client(store: PostgresStore) -> Client:
    begin_request()
    client = Client(a_thread(), [], a_thread())
    await store.save_thread(client.thread, ME)
    await store.save_thread(client.widgets, ME)
    for _ in range(LENGTH):
        item = client.words
        client.texts.append(item.id)
        await store.add_thread_item(client.thread.id, item, ME)
        await store.add_thread_item(client.widgets.id, a_widget(client.widgets.id), ME)
    return client


def a_thread() -> ck.ThreadMetadata:
    return ck.ThreadMetadata(id=new_id("thread"), created_at=NOW, title="A title")


Call = Callable[[Client], Awaitable[Any]]


class Methods:
    """Each method as a client calls it: by the store, and by hand."""

    def __init__(self, store: PostgresStore, bare: Bare) -> None:
        self.store, self.bare = store, bare

    def every(self) -> dict[str, tuple[Call, Call, float | None]]:
        """By name: the store's, the bare one, and what their ratio has to be at least."""
        names = [name.removeprefix("our_") for name in vars(Methods) if name.startswith("our_")]
        found = {
            name.replace("_", " "): (getattr(self, f"our_{name}"), getattr(self, f"bare_{name}"))
            for name in names
        }
        return {name: (*two, None if "widget" in name else 0.85) for name, two in found.items()}

    async def our_load_thread(self, client: Client) -> None:
        await self.store.load_thread(client.thread.id, ME)

    async def bare_load_thread(self, client: Client) -> None:
        [(text,)] = await self.bare.rows(sql.LOAD_THREAD, thread=client.thread.id)
        ck.ThreadMetadata.model_validate_json(text)

    async def our_load_threads(self, client: Client) -> None:
        page = await self.store.load_threads(PAGE, None, "desc", ME)
        assert len(page.data) == PAGE

    async def bare_load_threads(self, client: Client) -> None:
        rows = await self.bare.rows(sql.THREADS["desc", False], rows=PAGE + 1)
        threads = [ck.ThreadMetadata.model_validate_json(text) for (text,) in rows]
        ck.Page(data=threads[:PAGE], has_more=True, after=threads[-2].id)

    async def our_load_thread_items(self, client: Client) -> None:
        after = client.texts[-PAGE]
        page = await self.store.load_thread_items(client.thread.id, after, PAGE, "desc", ME)
        assert len(page.data) == PAGE

    async def bare_load_thread_items(self, client: Client) -> None:
        await self._bare_page(client.thread.id, client.texts[-PAGE])

    async def our_load_thread_items_of_widgets(self, client: Client) -> None:
        page = await self.store.load_thread_items(client.widgets.id, None, PAGE, "desc", ME)
        assert len(page.data) == PAGE

    async def bare_load_thread_items_of_widgets(self, client: Client) -> None:
        await self._bare_page(client.widgets.id, None)

    async def _bare_page(self, thread_id: str, after: str | None) -> None:
        statement = sql.ITEMS["desc", after is not None]
        rows = await self.bare.rows(statement, thread=thread_id, after=after, rows=PAGE + 1)
        items = [ITEM.validate_json(text) for (text,) in rows]
        ck.Page(data=items[:PAGE], has_more=True, after=items[-2].id)

    async def our_load_item(self, client: Client) -> None:
        await self.store.load_item(client.thread.id, client.texts[7], ME)

    async def bare_load_item(self, client: Client) -> None:
        values = {"thread": client.thread.id, "item": client.texts[7]}
        [(text,)] = await self.bare.rows(sql.LOAD_ITEM, **values)
        ITEM.validate_json(text)

    async def our_save_thread(self, client: Client) -> None:
        await self.store.save_thread(client.retitled(), ME)

    async def bare_save_thread(self, client: Client) -> None:
        values = dict.fromkeys(columns_of(client.thread)) | {"title": client.retitled().title}
        values |= {"retitled": True, "generation": None, "thread": client.thread.id}
        assert await self.bare.rows(sql.UPDATE_THREAD, **values)

    async def our_save_item(self, client: Client) -> None:
        item = client.words.model_copy(update={"id": client.texts[0]})
        await self.store.save_item(client.thread.id, item, ME)

    async def bare_save_item(self, client: Client) -> None:
        await self._bare_item(client, client.texts[0], client.words)

    async def _bare_item(self, client: Client, item_id: str, item: ck.ThreadItem) -> None:
        values = {"item": item_id, "data": as_json(item), "generation": None}
        assert await self.bare.rows(sql.SAVE_ITEM, thread=client.thread.id, **values)

    async def our_add_and_delete_thread_item(self, client: Client) -> None:
        item = client.words
        await self.store.add_thread_item(client.thread.id, item, ME)
        await self.store.delete_thread_item(client.thread.id, item.id, ME)

    async def bare_add_and_delete_thread_item(self, client: Client) -> None:
        item = client.words
        await self._bare_item(client, item.id, item)
        values = {"thread": client.thread.id, "item": item.id, "generation": None}
        assert await self.bare.rows(sql.DELETE_ITEM, **values)

    async def our_save_and_delete_thread(self, client: Client) -> None:
        thread = a_thread()
        await self.store.save_thread(thread, ME)
        await self.store.delete_thread(thread.id, ME)

    async def bare_save_and_delete_thread(self, client: Client) -> None:
        thread = a_thread()
        values = columns_of(thread) | {"lease": 0, "seconds": None}
        assert await self.bare.rows(sql.SAVE_THREAD, thread=thread.id, **values)
        assert await self.bare.rows(sql.DELETE_THREAD, thread=thread.id)

    async def our_take_renew_and_release_lease(self, client: Client) -> None:
        _, generation = await self.store.take_lease(client.widgets.id, 9, ME)
        assert generation is not None
        await self.store.renew_lease(client.widgets.id, generation, 9, ME)
        await self.store.release_lease(client.widgets.id, generation, ME)

    async def bare_take_renew_and_release_lease(self, client: Client) -> None:
        values: dict[str, Any] = {"thread": client.widgets.id, "seconds": 9}
        [(text, generation)] = await self.bare.rows(sql.TAKE_LEASE, **values)
        ck.ThreadMetadata.model_validate_json(text)
        assert await self.bare.rows(sql.RENEW_LEASE, generation=generation, **values)
        assert await self.bare.rows(sql.RELEASE_LEASE, generation=generation, **values)

    async def our_save_load_and_delete_attachment(self, client: Client) -> None:
        file = ck.FileAttachment(id=new_id("message"), name="name", mime_type="text/plain")
        await self.store.save_attachment(file, ME)
        await self.store.load_attachment(file.id, ME)
        await self.store.delete_attachment(file.id, ME)

    async def bare_save_load_and_delete_attachment(self, client: Client) -> None:
        file = ck.FileAttachment(id=new_id("message"), name="name", mime_type="text/plain")
        values = {"attachment": file.id, "data": as_json(file)}
        assert await self.bare.rows(sql.SAVE_ATTACHMENT, **values)
        [(text,)] = await self.bare.rows(sql.LOAD_ATTACHMENT, **values)
        ATTACHMENT.validate_json(text)
        assert await self.bare.rows(sql.DELETE_ATTACHMENT, **values)


async def rate(clients: list[Client], seconds: float, call: Call) -> float:
    """Calls a second, of all clients at once."""
    began = time.perf_counter()

    async def ask(client: Client) -> int:
        begin_request()
        known, calls = client.retitled(), 0
        remember(known)
        while time.perf_counter() < began + seconds:
            await call(client)
            calls += 1
        return calls

    calls = sum(await asyncio.gather(*map(ask, clients)))
    return calls / (time.perf_counter() - began)


async def methods(conninfo: str, rounds: int, seconds: float) -> list[Row]:
    async with AsyncExitStack() as stack:
        store = await opened(stack, conninfo)
        options = {"autocommit": True, "prepare_threshold": None}
        pool = AsyncConnectionPool(conninfo, kwargs=options, min_size=2, max_size=POOL, open=False)
        await stack.enter_async_context(pool)
        clients = [await a_client(store) for _ in range(CLIENTS)]
        rows = []
        for name, (ours, theirs, bound) in Methods(store, Bare(pool)).every().items():
            row = Row(f"{name}, op/s", at_least=bound)
            sides = (partial(rate, clients, seconds, call) for call in (ours, theirs))
            rows.append(await sqlite.in_turn(row, rounds, *sides))
        return rows
