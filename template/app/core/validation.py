"""What has to hold before the SDK acts on a request, so that a refusal leaves nothing behind."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from chatkit import types as ck
from chatkit.server import ChatKitServer
from pydantic import TypeAdapter, ValidationError

from .context import RequestContext
from .errors import ApiError, not_supported

if TYPE_CHECKING:
    from .chat_server import BaseServer

MAX_PAGE = 100
_REQUEST: TypeAdapter[ck.ChatKitReq] = TypeAdapter(ck.ChatKitReq)
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")  # as JSON writes it; a database may refuse it


def parse(body: str | bytes | bytearray) -> ck.ChatKitReq:
    """The request in `body`. Raises ApiError 400 that says which part does not fit."""
    if isinstance(body, bytes) and _NUL.search(body):
        raise ApiError(400, "invalid_request", "The request has the character U+0000 in a text.")
    try:
        return _REQUEST.validate_json(body)
    except ValidationError as error:
        raise ApiError(400, "invalid_request", invalid(error)) from None


def invalid(error: ValidationError) -> str:
    """The first part that does not fit, and why, without repeating what was sent."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    text = ".".join(map(str, first["loc"])) + ": " + first["msg"]
    return text.removeprefix(": ")[:300]


async def check(server: "BaseServer", request: ck.ChatKitReq, context: RequestContext) -> None:
    """Refuse what the SDK would let through, or would notice only when the stream has begun.

    Raises ApiError or NotFoundError. That a thread is closed, a turn finds out when it takes its
    lease.
    """
    store = server.store
    match request:
        case ck.ThreadsListReq():
            request.params.limit = _page_size(request.params.limit)
        case ck.ItemsListReq(params=params):
            params.limit = _page_size(params.limit)
            await store.load_thread(params.thread_id, context=context)
        case ck.ThreadsCreateReq():
            for attachment_id in request.params.input.attachments:
                await store.load_attachment(attachment_id, context=context)
        case ck.ThreadsAddStructuredInputReq(params=params):
            item = await store.load_item(params.thread_id, params.item_id, context=context)
            if isinstance(item, ck.StructuredInputItem) and not server.own_words:
                _only_options(item.inputs, params.input)
        case ck.ItemsFeedbackReq(params=params):
            if len(set(params.item_ids)) > MAX_PAGE:
                raise ApiError(400, "invalid_request", f"At most {MAX_PAGE} items at once.")
            await store.load_thread(params.thread_id, context=context)
            for item_id in set(params.item_ids):
                await store.load_item(params.thread_id, item_id, context=context)
        case ck.ThreadsCustomActionReq():
            _require(server, "action", "widget actions")
        case ck.ThreadsSyncCustomActionReq(params=params):
            _require(server, "sync_action", "synchronous widget actions")
            if reason := closed(await store.load_thread(params.thread_id, context=context)):
                raise ApiError(400, "action_refused", reason)
        case ck.InputTranscribeReq():
            _require(server, "transcribe", "dictation")
        case ck.AttachmentsCreateReq() | ck.AttachmentsDeleteReq() if not server.attachment_store:
            raise not_supported("attachments")
        case ck.AttachmentsDeleteReq():
            await store.load_attachment(request.params.attachment_id, context=context)


def closed(thread: ck.ThreadMetadata) -> str | None:
    """Why nothing may be added to the thread, or None: ChatKit itself only draws the status."""
    if thread.status.type == "active":
        return None
    return thread.status.reason or f"This conversation is {thread.status.type}."


def _only_options(
    questions: Sequence[ck.StructuredInput], given: ck.StructuredInputSubmission
) -> None:
    """Refuse a choice that its question does not offer. The SDK takes any text for one."""
    for question in questions:
        if isinstance(question, ck.StructuredInputMultipleChoice) and question.id in given.answers:
            options = {option.value for option in question.options}
            if not options.issuperset(given.answers[question.id].values):
                raise ApiError(400, "not_an_option", "Please choose one of the options.")


def _page_size(limit: int | None) -> int | None:
    if limit is not None and limit < 1:
        raise ApiError(400, "bad_limit", "limit must be at least 1.")
    return limit and min(limit, MAX_PAGE)


def _require(server: "BaseServer", method: str, what: str) -> None:
    if getattr(type(server), method) is getattr(ChatKitServer, method):
        raise not_supported(what)
