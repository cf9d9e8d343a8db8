"""Threads in this process's memory: for trying things out, gone with a restart."""

import os
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from chatkit.store import NotFoundError
from chatkit.types import (
    Attachment,
    FeedbackKind,
    HiddenContextItem,
    Page,
    SDKHiddenContextItem,
    ThreadItem,
    ThreadMetadata,
)

from ..config import Section
from ..context import RequestContext
from ..errors import CursorError
from .base import (
    BaseStore,
    TurnLost,
    held_generation,
    is_for_client,
    is_own_id,
    is_thread_id,
    lease_of_new_thread,
    merge,
    metadata_of,
    remember,
    remembered,
)

HIDDEN = HiddenContextItem | SDKHiddenContextItem

Row = TypeVar("Row", ThreadMetadata, ThreadItem)


class MemorySettings(Section):
    allow_memory_store: bool = False

    def errors(self) -> list[str]:
        if self.allow_memory_store or not (self.is_production or several_workers()):
            return super().errors()
        where = "in production" if self.is_production else "with more than one worker"
        text = f"The memory store does not work {where}: ALLOW_MEMORY_STORE=1 runs it all the same,"
        return [*super().errors(), f"{text} and conversations are lost at every restart."]

    def startup_warnings(self) -> list[str]:
        return [
            *super().startup_warnings(),
            "The store is memory: a restart forgets every conversation.",
        ]


def several_workers() -> bool:
    """Whether the command line or the environment asks for more than one worker process."""
    named = [os.environ.get(name, "") for name in ("WEB_CONCURRENCY", "UVICORN_WORKERS")]
    command = " ".join([*sys.argv[1:], *(f"--workers {count}" for count in named)])
    asked = re.findall(r"(?:^| )(?:--workers[ =]|-w ?)(\d+)", command)
    return any(int(count) > 1 for count in asked)


@dataclass
class _Thread:
    metadata: ThreadMetadata
    items: dict[str, ThreadItem] = field(default_factory=dict)
    feedback: dict[str, FeedbackKind] = field(default_factory=dict)
    generation: int = 0
    leased_until: float = 0.0  # on the clock of time.monotonic()

    def lease(self, seconds: float) -> int:
        self.generation, self.leased_until = self.generation + 1, time.monotonic() + seconds
        return self.generation


@dataclass
class _Owned:
    """All that one owner has: another owner's ids are simply not in here."""

    threads: dict[str, _Thread] = field(default_factory=dict)
    attachments: dict[str, Attachment] = field(default_factory=dict)

    def thread(self, thread_id: str) -> _Thread:
        if (thread := self.threads.get(thread_id)) is None:
            raise NotFoundError(thread_id)
        return thread

    def writable(self, thread_id: str) -> _Thread:
        thread = self.thread(thread_id)
        if held_generation(thread_id) not in (None, thread.generation):
            raise TurnLost
        return thread


class MemoryStore(BaseStore):
    def __init__(self) -> None:
        self._owners: dict[tuple[str, str], _Owned] = {}

    def _owned(self, context: RequestContext) -> _Owned:
        """What the owner has, to look at: an owner who never stored anything leaves no trace."""
        return self._owners.get(context.owner) or _Owned()

    def _own(self, context: RequestContext) -> _Owned:
        """What the owner has, to add to."""
        return self._owners.setdefault(context.owner, _Owned())

    async def load_thread(self, thread_id: str, context: RequestContext) -> ThreadMetadata:
        thread = self._owned(context).thread(thread_id).metadata.model_copy(deep=True)
        remember(thread)
        return thread

    async def save_thread(self, thread: ThreadMetadata, context: RequestContext) -> None:
        owned = self._owned(context)
        if thread.id in owned.threads or remembered(thread.id) is not None:
            known = owned.writable(thread.id)  # a thread may be deleted while a request works on it
            known.metadata = merge(known.metadata, thread)
        else:
            new = self._own(context).threads[thread.id] = _Thread(metadata_of(thread))
            if lease := lease_of_new_thread():
                lease.taken(thread.id, new.lease(lease.seconds))
        remember(thread, saved=True)

    async def take_lease(
        self, thread_id: str, seconds: float, context: RequestContext
    ) -> tuple[ThreadMetadata, int | None]:
        thread = self._owned(context).thread(thread_id)
        found = thread.metadata.model_copy(deep=True)  # not remembered: it may wait
        is_free = found.status.type == "active" and thread.leased_until < time.monotonic()
        return found, thread.lease(seconds) if is_free else None

    async def renew_lease(
        self, thread_id: str, generation: int, seconds: float, context: RequestContext
    ) -> bool:
        thread = self._owned(context).threads.get(thread_id)
        if thread is None or thread.generation != generation:
            return False
        thread.leased_until = time.monotonic() + seconds
        return True

    async def release_lease(self, thread_id: str, generation: int, context: RequestContext) -> None:
        await self.renew_lease(thread_id, generation, -1, context)

    async def load_threads(
        self, limit: int, after: str | None, order: str, context: RequestContext
    ) -> Page[ThreadMetadata]:
        threads = self._owned(context).threads
        if after is not None and after not in threads and not is_thread_id(after):
            raise CursorError(after)
        ids = sorted(threads, reverse=order == "desc")
        if after is not None:
            ids = [one for one in ids if one != after and (one < after) == (order == "desc")]
        return _page([threads[one].metadata for one in ids[: limit + 1]], limit)

    async def delete_thread(self, thread_id: str, context: RequestContext) -> None:
        if self._owned(context).threads.pop(thread_id, None) is None:
            raise NotFoundError(thread_id)

    async def load_thread_items(
        self, thread_id: str, after: str | None, limit: int, order: str, context: RequestContext
    ) -> Page[ThreadItem]:
        thread = self._owned(context).threads.get(thread_id)
        items = list(thread.items.values()) if thread else []
        if after is not None:
            place = _place(items, after, order)
            items = items[:place] if order == "desc" else items[place:]
        if is_for_client():
            items = [item for item in items if not isinstance(item, HIDDEN)]
        return _page((items[::-1] if order == "desc" else items)[: limit + 1], limit)

    async def add_thread_item(
        self, thread_id: str, item: ThreadItem, context: RequestContext
    ) -> None:
        # A dict keeps a replaced key in its old place, which is what the SDK relies on
        # when it adds a workflow that spans turns a second time.
        self._owned(context).writable(thread_id).items[item.id] = item.model_copy(deep=True)

    save_item = add_thread_item

    async def load_item(self, thread_id: str, item_id: str, context: RequestContext) -> ThreadItem:
        if (item := self._owned(context).thread(thread_id).items.get(item_id)) is None:
            raise NotFoundError(item_id)
        return item.model_copy(deep=True)

    async def delete_thread_item(
        self, thread_id: str, item_id: str, context: RequestContext
    ) -> None:
        if self._owned(context).writable(thread_id).items.pop(item_id, None) is None:
            raise NotFoundError(item_id)

    async def save_feedback(
        self, thread_id: str, item_ids: list[str], kind: FeedbackKind, context: RequestContext
    ) -> None:
        if thread := self._owned(context).threads.get(thread_id):
            thread.feedback |= dict.fromkeys(thread.items.keys() & item_ids, kind)

    async def load_feedback(
        self, thread_id: str, context: RequestContext
    ) -> dict[str, FeedbackKind]:
        thread = self._owned(context).threads.get(thread_id)
        return dict(thread.feedback) if thread else {}

    async def save_attachment(self, attachment: Attachment, context: RequestContext) -> None:
        self._own(context).attachments[attachment.id] = attachment.model_copy(deep=True)

    async def load_attachment(self, attachment_id: str, context: RequestContext) -> Attachment:
        if (attachment := self._owned(context).attachments.get(attachment_id)) is None:
            raise NotFoundError(attachment_id)
        return attachment.model_copy(deep=True)

    async def delete_attachment(self, attachment_id: str, context: RequestContext) -> None:
        if self._owned(context).attachments.pop(attachment_id, None) is None:
            raise NotFoundError(attachment_id)


def _place(items: list[ThreadItem], after: str, order: str) -> int:
    """The place in the thread that a cursor stands for, also where its item is gone."""
    for place, item in enumerate(items):
        if item.id == after:
            return place if order == "desc" else place + 1
    if not is_own_id(after):
        raise CursorError(after)
    before = (place for place, item in enumerate(items, 1) if item.id[-32:] < after[-32:])
    return max(before, default=0)


def _page(rows: list[Row], limit: int) -> Page[Row]:
    """The first `limit` of `rows`, copied; one row more than that tells that there is more."""
    data, has_more = [row.model_copy(deep=True) for row in rows[:limit]], len(rows) > limit
    return Page(data=data, has_more=has_more, after=data[-1].id if has_more else None)


@asynccontextmanager
async def open_store(settings: MemorySettings) -> AsyncIterator[MemoryStore]:
    """The store for the life of the application."""
    yield MemoryStore()
