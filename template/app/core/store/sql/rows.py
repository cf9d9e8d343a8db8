"""What the databases share: rows of threads, items and attachments, and pages of them."""

from collections.abc import Sequence
from datetime import UTC
from typing import Any, TypeVar

from chatkit.types import Attachment, Page, ThreadItem, ThreadMetadata
from pydantic import TypeAdapter
from pydantic_core import to_json

from ..base import remembered

ITEM: TypeAdapter[ThreadItem] = TypeAdapter(ThreadItem)
ATTACHMENT: TypeAdapter[Attachment] = TypeAdapter(Attachment)

Row = TypeVar("Row", ThreadMetadata, ThreadItem)


def columns_of(thread: ThreadMetadata) -> dict[str, Any]:
    """The thread's row by column, but for its keys: a naive time, a text, and JSON texts."""
    time, title = thread.created_at, thread.title
    return {
        "created_at": time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time,
        "title": title and title.replace("\0", ""),  # PostgreSQL's texts cannot hold it
        "status": as_json(thread.status),
        "allowed_image_domains": as_json(thread.allowed_image_domains),
        "metadata": as_json(thread.metadata),
    }


def changed_columns(thread: ThreadMetadata) -> dict[str, Any] | None:
    """The columns that this request has changed; None when it never met the thread.

    What others changed meanwhile is not in here, and so stays theirs.
    """
    if (known := remembered(thread.id)) is None:
        return None
    before = columns_of(known)
    return {name: value for name, value in columns_of(thread).items() if value != before[name]}


def as_json(value: Any) -> str:
    return to_json(value, inf_nan_mode="null").decode()


def page_of(rows: Sequence[Row], limit: int) -> Page[Row]:
    """The first `limit` of `rows`; one row more than that tells that there is more."""
    data, has_more = list(rows[:limit]), len(rows) > limit
    return Page(data=data, has_more=has_more, after=data[-1].id if has_more else None)
