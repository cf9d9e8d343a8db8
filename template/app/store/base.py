"""What every store shares: ids, cursors, and saves that keep what others changed meanwhile.

The template's file: improvements arrive through `copier update`.
"""

import re
import secrets
import time
from contextvars import ContextVar

from chatkit.store import Store, StoreItemType, default_generate_id
from chatkit.types import ThreadMetadata

from ..context import RequestContext

_THREAD_ID = re.compile(r"thr_[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}")

_last_ms = 0


def new_id(kind: StoreItemType) -> str:
    """A fresh id: the SDK's prefix for `kind` and 32 hex digits.

    A UUIDv7 (RFC 9562): 48 bits of milliseconds, 74 random bits. Ids of one process sort
    strictly by creation: within one millisecond the clock is taken to have moved on.
    """
    global _last_ms
    _last_ms = max(time.time_ns() // 1_000_000, _last_ms + 1)
    a, b = secrets.randbits(12), secrets.randbits(62)
    number = _last_ms << 80 | 0x7 << 76 | a << 64 | 0b10 << 62 | b
    prefix = default_generate_id(kind).rpartition("_")[0]
    return f"{prefix}_{number:032x}"


class BaseStore(Store[RequestContext]):
    """What a variant inherits: `tests/test_store.py` holds it to the promises of a store."""

    def generate_thread_id(self, context: RequestContext) -> str:
        return new_id("thread")

    def generate_item_id(
        self, item_type: StoreItemType, thread: ThreadMetadata, context: RequestContext
    ) -> str:
        return new_id(item_type)

    async def ready(self) -> str | None:
        """Why the store cannot serve requests now, or None when it can."""
        return None


def is_thread_id(cursor: str) -> bool:
    """Whether `cursor` sorts among thread ids, also when its thread is gone."""
    return _THREAD_ID.fullmatch(cursor) is not None


# A turn loads its thread once and the SDK saves the whole of it at the end. What the request
# has loaded is kept here, so that a save writes only what the request itself changed.
_loaded: ContextVar[dict[str, ThreadMetadata] | None] = ContextVar("loaded", default=None)


def begin_request() -> None:
    """Forget what was loaded: call it once at the start of each request."""
    _loaded.set({})


def metadata_of(thread: ThreadMetadata) -> ThreadMetadata:
    """A copy of the thread's own fields (the SDK also passes threads with their items)."""
    fields = {name: getattr(thread, name) for name in ThreadMetadata.model_fields}
    return ThreadMetadata.model_validate(fields).model_copy(deep=True)


def remember(thread: ThreadMetadata, *, saved: bool = False) -> None:
    """Note what this request knows of `thread`: call it after loading and after saving.

    The first load counts: the SDK's own copy is not newer for somebody's loading it again.
    """
    loaded = _loaded.get()
    if loaded is not None and (saved or thread.id not in loaded):
        loaded[thread.id] = metadata_of(thread)


def remembered(thread_id: str) -> ThreadMetadata | None:
    """What this request last knew of the thread; None when it has not met it."""
    return (_loaded.get() or {}).get(thread_id)


def merge(stored: ThreadMetadata, thread: ThreadMetadata) -> ThreadMetadata:
    """`thread` as it is to be stored: a field that someone else changed meanwhile stays theirs."""
    known = remembered(thread.id) or stored
    merged = metadata_of(thread)
    for name in ThreadMetadata.model_fields:
        if getattr(stored, name) != getattr(known, name):
            setattr(merged, name, getattr(stored, name))
    return merged
