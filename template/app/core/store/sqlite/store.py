"""Threads in a SQLite file: each method is one statement that carries its owner."""

import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from chatkit.store import NotFoundError
from chatkit.types import Attachment, FeedbackKind, Page, ThreadItem, ThreadMetadata
from pydantic import Field

from ...config import Section
from ...context import RequestContext
from ...errors import CursorError
from ..base import (
    BaseStore,
    TurnLost,
    held_generation,
    is_for_client,
    is_own_id,
    is_thread_id,
    lease_of_new_thread,
    remember,
)
from ..sql.retention import Retention
from ..sql.rows import ATTACHMENT, ITEM, as_json, changed_columns, columns_of, page_of
from . import statements as sql
from .file import Rows, SqliteFile, reason_at_start


class SqliteSettings(Section):
    database_url: str = "sqlite:///data/chat.db"  # relative to the working directory
    database_busy_timeout: Annotated[float, Field(gt=0)] = 5.0  # seconds to wait for other writers

    def errors(self) -> list[str]:
        found = super().errors()
        if self.database_path is None:
            found.append(
                "DATABASE_URL is not the address of a SQLite file: write sqlite:///data/chat.db, "
                "relative to the working directory, or sqlite:////var/lib/chat/chat.db."
            )
        elif reason := reason_at_start(self.database_path):
            found.append(f"DATABASE_URL names {self.database_path}, but {reason}.")
        if sqlite3.sqlite_version_info < (3, 37):
            found.append("SQLite 3.37 or later is needed: use a Python that brings it, as uv's do.")
        return found

    @property
    def database_path(self) -> Path | None:
        """The file that DATABASE_URL names; None when it is not the address of one."""
        address = re.fullmatch(r"sqlite(?:\+\w+)?:///([^?#]*[^/?#])", self.database_url)
        return Path(address[1]) if address and address[1] != ":memory:" else None


class SqliteStore(BaseStore, Retention):
    statements = sql

    def __init__(self, file: SqliteFile) -> None:
        self.file = file

    async def _read(self, statement: str, context: RequestContext, /, **values: Any) -> Rows:
        org, user = context.owner
        return await self.file.read(statement, values | {"org": org, "user": user})

    async def _write(self, statement: str, context: RequestContext, /, **values: Any) -> Rows:
        org, user = context.owner
        return await self.file.write(statement, values | {"org": org, "user": user})

    async def _write_into(
        self, thread_id: str, statement: str, context: RequestContext, /, **values: Any
    ) -> None:
        """A write that a turn may only do while the thread is its own.

        Raises TurnLost where another turn has taken it over, and NotFoundError.
        """
        held = held_generation(thread_id)
        values |= {"thread": thread_id, "generation": held}
        if await self._write(statement, context, **values):
            return
        rows = await self._read(sql.GENERATION, context, thread=thread_id)
        raise TurnLost if held is not None and rows not in ([], [(held,)]) else NotFoundError

    async def run(self, statement: str, **values: Any) -> Rows:
        return await self.file.write(statement, values)

    async def ready(self) -> str | None:
        return await self.file.ready()

    async def load_thread(self, thread_id: str, context: RequestContext) -> ThreadMetadata:
        rows = await self._read(sql.LOAD_THREAD, context, thread=thread_id)
        return _thread(_only(rows, thread_id))

    async def save_thread(self, thread: ThreadMetadata, context: RequestContext) -> None:
        if (changed := changed_columns(thread)) is not None:
            await self._write_into(
                thread.id, sql.update_thread(changed), context, **_texts(changed)
            )
        else:
            lease = lease_of_new_thread()
            values = _texts(columns_of(thread)) | {"seconds": lease and lease.seconds}
            [(generation,)] = await self._write(
                sql.SAVE_THREAD, context, thread=thread.id, **values
            )
            if lease:
                lease.taken(thread.id, generation)
        remember(thread, saved=True)

    async def take_lease(
        self, thread_id: str, seconds: float, context: RequestContext
    ) -> tuple[ThreadMetadata, int | None]:
        rows = await self._write(sql.TAKE_LEASE, context, thread=thread_id, seconds=seconds)
        if not rows:
            found = await self._read(sql.LOAD_THREAD, context, thread=thread_id)
            rows = [(_only(found, thread_id), None)]
        [(text, generation)] = rows
        return ThreadMetadata.model_validate_json(text), generation  # not remembered: it may wait

    async def renew_lease(
        self, thread_id: str, generation: int, seconds: float, context: RequestContext
    ) -> bool:
        values = {"thread": thread_id, "generation": generation, "seconds": seconds}
        return bool(await self._write(sql.RENEW_LEASE, context, **values))

    async def release_lease(self, thread_id: str, generation: int, context: RequestContext) -> None:
        await self._write(sql.RELEASE_LEASE, context, thread=thread_id, generation=generation)

    async def load_threads(
        self, limit: int, after: str | None, order: str, context: RequestContext
    ) -> Page[ThreadMetadata]:
        if after is not None and not is_thread_id(after):
            raise CursorError(after)
        statement = sql.THREADS[order, after is not None]
        rows = await self._read(statement, context, after=after, rows=limit + 1)
        return page_of([ThreadMetadata.model_validate_json(text) for (text,) in rows], limit)

    async def delete_thread(self, thread_id: str, context: RequestContext) -> None:
        _only(await self._write(sql.DELETE_THREAD, context, thread=thread_id), thread_id)

    async def load_thread_items(
        self, thread_id: str, after: str | None, limit: int, order: str, context: RequestContext
    ) -> Page[ThreadItem]:
        statement = sql.ITEMS[order, after is not None, is_for_client()]
        own = is_own_id(after or "")
        values = {"thread": thread_id, "after": after, "own": own, "rows": limit + 1}
        rows = await self._read(statement, context, **values)
        if after is not None and not rows and not own:  # the end, or no item's id
            found = await self._read(sql.LOAD_ITEM, context, thread=thread_id, item=after)
            if not found:
                raise CursorError(after)
        return page_of([ITEM.validate_json(text) for (text,) in rows], limit)

    async def add_thread_item(
        self, thread_id: str, item: ThreadItem, context: RequestContext
    ) -> None:
        values = {"item": item.id, "data": as_json(item)}
        await self._write_into(thread_id, sql.SAVE_ITEM, context, **values)

    save_item = add_thread_item

    async def load_item(self, thread_id: str, item_id: str, context: RequestContext) -> ThreadItem:
        rows = await self._read(sql.LOAD_ITEM, context, thread=thread_id, item=item_id)
        return ITEM.validate_json(_only(rows, item_id))

    async def delete_thread_item(
        self, thread_id: str, item_id: str, context: RequestContext
    ) -> None:
        await self._write_into(thread_id, sql.DELETE_ITEM, context, item=item_id)

    async def save_feedback(
        self, thread_id: str, item_ids: list[str], kind: FeedbackKind, context: RequestContext
    ) -> None:
        values = {"thread": thread_id, "items": as_json(item_ids), "kind": kind}
        await self._write(sql.SAVE_FEEDBACK, context, **values)

    async def load_feedback(
        self, thread_id: str, context: RequestContext
    ) -> dict[str, FeedbackKind]:
        return dict(await self._read(sql.LOAD_FEEDBACK, context, thread=thread_id))

    async def save_attachment(self, attachment: Attachment, context: RequestContext) -> None:
        values = {"attachment": attachment.id, "data": as_json(attachment)}
        await self._write(sql.SAVE_ATTACHMENT, context, **values)

    async def load_attachment(self, attachment_id: str, context: RequestContext) -> Attachment:
        rows = await self._read(sql.LOAD_ATTACHMENT, context, attachment=attachment_id)
        return ATTACHMENT.validate_json(_only(rows, attachment_id))

    async def delete_attachment(self, attachment_id: str, context: RequestContext) -> None:
        rows = await self._write(sql.DELETE_ATTACHMENT, context, attachment=attachment_id)
        _only(rows, attachment_id)


def _thread(text: str) -> ThreadMetadata:
    thread = ThreadMetadata.model_validate_json(text)
    remember(thread, text)
    return thread


def _texts(columns: dict[str, Any]) -> dict[str, Any]:
    """SQLite keeps times as texts."""
    time = columns.get("created_at")
    return columns | {"created_at": time.isoformat()} if time else columns


def _only(rows: Rows, wanted: str) -> Any:
    """The first value of the row. Raises NotFoundError when there is none."""
    if not rows:
        raise NotFoundError(wanted)
    return rows[0][0]


@asynccontextmanager
async def open_store(settings: SqliteSettings) -> AsyncIterator[SqliteStore]:
    """The store for the life of the application; the file is made where it is missing."""
    assert settings.database_path is not None  # problems() has seen to that
    file = SqliteFile(settings.database_path, settings.database_busy_timeout)
    await file.open()
    try:
        yield SqliteStore(file)
    finally:
        await file.close()
