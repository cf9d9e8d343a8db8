"""Threads in PostgreSQL the way that many public examples keep them, to compare with.

A synchronous connection for each call inside `async def`, a row's owner looked up by a query of its
own, and rows that a time puts in order.
"""

from typing import Any

import psycopg
from chatkit.store import NotFoundError, Store
from chatkit.types import Attachment, Page, ThreadItem, ThreadMetadata
from psycopg.types.json import Jsonb
from pydantic import TypeAdapter

ITEM: TypeAdapter[ThreadItem] = TypeAdapter(ThreadItem)
TABLES = """
    CREATE TABLE threads (id text PRIMARY KEY, user_id text, created_at timestamp, data jsonb);
    CREATE TABLE items (
        id text PRIMARY KEY, thread_id text REFERENCES threads, created_at timestamp, data jsonb
    );
    CREATE INDEX ON threads (user_id, created_at);
    CREATE INDEX ON items (thread_id, created_at);
"""
SAVE_THREAD = """
    INSERT INTO threads VALUES (%s, %s, %s, %s) ON CONFLICT (id) DO UPDATE SET data = excluded.data
"""
SAVE_ITEM = """
    INSERT INTO items VALUES (%s, %s, %s, %s) ON CONFLICT (id) DO UPDATE SET data = excluded.data
"""
LOAD_ITEMS = "SELECT data FROM items WHERE thread_id = %s ORDER BY created_at {} LIMIT %s"


class PublicStore(Store[Any]):
    def __init__(self, conninfo: str) -> None:
        self.conninfo = conninfo
        self._ask(TABLES)

    def _ask(self, statement: str, *values: Any) -> list[Any]:
        with psycopg.connect(self.conninfo) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def _check(self, thread_id: str, context: Any) -> None:
        owner = self._ask("SELECT user_id FROM threads WHERE id = %s", thread_id)
        if owner != [(context.user_id,)]:
            raise NotFoundError(thread_id)

    async def load_thread(self, thread_id: str, context: Any) -> ThreadMetadata:
        self._check(thread_id, context)
        [(data,)] = self._ask("SELECT data FROM threads WHERE id = %s", thread_id)
        return ThreadMetadata.model_validate(data)

    async def save_thread(self, thread: ThreadMetadata, context: Any) -> None:
        data = Jsonb(thread.model_dump(mode="json"))
        self._ask(SAVE_THREAD, thread.id, context.user_id, thread.created_at, data)

    async def load_thread_items(
        self, thread_id: str, after: str | None, limit: int, order: str, context: Any
    ) -> Page[ThreadItem]:
        self._check(thread_id, context)
        rows = self._ask(LOAD_ITEMS.format(order), thread_id, limit + 1)
        items = [ITEM.validate_python(data) for (data,) in rows[:limit]]
        return Page(data=items, has_more=len(rows) > limit)

    async def add_thread_item(self, thread_id: str, item: ThreadItem, context: Any) -> None:
        self._check(thread_id, context)
        data = Jsonb(item.model_dump(mode="json"))
        self._ask(SAVE_ITEM, item.id, thread_id, item.created_at, data)

    save_item = add_thread_item

    # What a turn does not ask for.

    async def load_threads(self, *_: Any, **__: Any) -> Page[ThreadMetadata]:
        raise NotImplementedError

    async def load_item(self, *_: Any, **__: Any) -> ThreadItem:
        raise NotImplementedError

    async def delete_thread(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError

    async def delete_thread_item(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError

    async def save_attachment(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError

    async def load_attachment(self, *_: Any, **__: Any) -> Attachment:
        raise NotImplementedError

    async def delete_attachment(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError
