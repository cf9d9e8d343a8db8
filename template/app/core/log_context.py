"""What the log tells of a request: gathered wherever it is known, kept while the request lasts."""

import uuid
from contextvars import ContextVar
from typing import Any

_log_context: ContextVar[dict[str, Any] | None] = ContextVar("facts", default=None)


def begin_log_context(request_id: str) -> dict[str, Any]:
    """Begin a request's facts. Its turn, which is a task of its own, adds to the same ones."""
    _log_context.set(begun := {"request_id": request_id})
    return begun


def log_context() -> dict[str, Any]:
    """The facts of the request that is being answered, to read and to add to.

    Never add what a client could have written freely: only ids that were checked, names of ours.
    """
    return _log_context.get() or {}


def request_id() -> str:
    """The id under which the log has this request; a new one outside of any."""
    return log_context().get("request_id") or uuid.uuid4().hex
