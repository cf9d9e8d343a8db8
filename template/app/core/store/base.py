"""What every store shares: ids, cursors, leases, and saves that keep what others changed
meanwhile.
"""

import re
import secrets
import time
from abc import abstractmethod
from contextvars import ContextVar
from dataclasses import dataclass

from chatkit.errors import CustomStreamError
from chatkit.store import Store, StoreItemType, default_generate_id
from chatkit.types import FeedbackKind, ThreadMetadata

from ..context import RequestContext

_FIELDS = set(ThreadMetadata.model_fields)
_ID = re.compile(r"[a-z]+_[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}")

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


class TurnLost(CustomStreamError):
    """Another turn has taken the thread's lease over: this one may not write any more."""

    def __init__(self) -> None:
        super().__init__("This conversation went on elsewhere. Reload it to see how.")


@dataclass
class Lease:
    """The right of one running turn to write into its thread.

    A turn that makes its thread begins without either; `save_thread` then fills them in. Every
    write of the turn carries the generation: a newer one in the store makes it a TurnLost.
    """

    seconds: float  # until it expires, unless it is renewed
    thread_id: str = ""
    generation: int | None = None

    def taken(self, thread_id: str, generation: int | None) -> None:
        self.thread_id, self.generation = thread_id, generation


class BaseStore(Store[RequestContext]):
    """The base of every store; `tests/core/store/test_store.py` holds each to its promises."""

    @abstractmethod
    async def take_lease(
        self, thread_id: str, seconds: float, context: RequestContext
    ) -> tuple[ThreadMetadata, int | None]:
        """The thread, and the generation of the lease that was taken of it.

        None instead of a generation while another turn holds it, or where the thread is not
        active. Not to be remembered: the other turn still changes it. Raises NotFoundError.
        """

    @abstractmethod
    async def renew_lease(
        self, thread_id: str, generation: int, seconds: float, context: RequestContext
    ) -> bool:
        """Let the lease last for `seconds` from now; False where it is no longer this turn's."""

    @abstractmethod
    async def release_lease(self, thread_id: str, generation: int, context: RequestContext) -> None:
        """Give the lease back, if it still is this turn's."""

    @abstractmethod
    async def save_feedback(
        self, thread_id: str, item_ids: list[str], kind: FeedbackKind, context: RequestContext
    ) -> None:
        """Keep what the person thinks of items of the thread; those that it lacks are left out."""

    @abstractmethod
    async def load_feedback(
        self, thread_id: str, context: RequestContext
    ) -> dict[str, FeedbackKind]:
        """What the person thought last, by item."""

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
    return cursor.startswith("thr_") and is_own_id(cursor)


def is_own_id(cursor: str) -> bool:
    """Whether `new_id` may have made it: its last 32 digits then sort by creation."""
    return _ID.fullmatch(cursor) is not None


# A turn loads its thread once and the SDK saves the whole of it at the end. What the request
# has loaded is kept here, so that a save writes only what the request itself changed.
_loaded: ContextVar[dict[str, ThreadMetadata | str] | None] = ContextVar("loaded", default=None)
_lease: ContextVar[Lease | None] = ContextVar("lease", default=None)
_for_client: ContextVar[bool] = ContextVar("for_client", default=False)


def begin_request(lease: Lease | None = None, *, for_client: bool = False) -> None:
    """Forget what was loaded: call it once at the start of each request; `lease` is a turn's.

    `for_client` leaves hidden items out of the pages of this request. A model needs them.
    """
    _loaded.set({})
    _lease.set(lease)
    _for_client.set(for_client)


def is_for_client() -> bool:
    """Whether pages of items go to the client, who must not see hidden ones."""
    return _for_client.get()


def held_generation(thread_id: str) -> int | None:
    """What a write to the thread has to carry; None for what is not part of a turn."""
    lease = _lease.get()
    return lease.generation if lease and lease.thread_id == thread_id else None


def lease_of_new_thread() -> Lease | None:
    """The lease of a turn that has no thread yet: the thread it makes is taken from the start."""
    lease = _lease.get()
    return lease if lease and not lease.thread_id else None


def metadata_of(thread: ThreadMetadata) -> ThreadMetadata:
    """A copy of the thread's own fields (the SDK also passes threads with their items)."""
    return ThreadMetadata.model_validate(thread.model_dump(include=_FIELDS))


def remember(thread: ThreadMetadata, text: str = "", *, saved: bool = False) -> None:
    """Note what this request knows of `thread`: call it after loading and after saving.

    `text` is the thread as JSON, where it is at hand: most requests that load one save none.
    The first load counts: the SDK's own copy is not newer for somebody's loading it again.
    """
    loaded = _loaded.get()
    if loaded is not None and (saved or thread.id not in loaded):
        loaded[thread.id] = text or metadata_of(thread)


def remembered(thread_id: str) -> ThreadMetadata | None:
    """What this request last knew of the thread; None when it has not met it."""
    known = (_loaded.get() or {}).get(thread_id)
    return ThreadMetadata.model_validate_json(known) if isinstance(known, str) else known


def merge(stored: ThreadMetadata, thread: ThreadMetadata) -> ThreadMetadata:
    """`thread` as it is to be stored: a field that someone else changed meanwhile stays theirs."""
    known = remembered(thread.id) or stored
    merged = metadata_of(thread)
    for name in ThreadMetadata.model_fields:
        if getattr(stored, name) != getattr(known, name):
            setattr(merged, name, getattr(stored, name))
    return merged
