"""The server that `app/server.py` inherits: it keeps conversations whole and private."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from datetime import datetime
from typing import Any

import anyio
from chatkit import types as ck
from chatkit.errors import CustomStreamError, StreamError
from chatkit.server import ChatKitServer, NonStreamingResult, StreamingResult
from chatkit.store import NotFoundError

from .config import AppSettings
from .context import RequestContext
from .errors import StoreUnavailable, error_event, logger, report
from .http.rate_limit import ConcurrencyLimit
from .lease import TurnLease
from .log_context import log_context
from .store.base import BaseStore, Lease, TurnLost, begin_request, is_thread_id, new_id
from .validation import check, parse

PERSIST_LIMIT = 5.0  # seconds to store a partial answer after a Stop
TOO_MANY = "Other answers are still being written to you. Please try again after one of them."
PAGES = ("items.list", "threads.get_by_id")  # requests that send the client a page of items
Events = AsyncIterator[ck.ThreadStreamEvent]


class BaseServer(ChatKitServer[RequestContext]):
    """A ChatKit server: implement `respond`, and what else of ChatKit the project offers."""

    store: BaseStore
    own_words = False  # whether a question with options may be answered with any other text

    def __init__(self, store: BaseStore, settings: AppSettings) -> None:
        super().__init__(store)
        self.settings, self.answering = settings, ConcurrencyLimit(settings.answers_at_once)

    async def process(
        self, request: str | bytes | bytearray, context: RequestContext
    ) -> StreamingResult | NonStreamingResult:
        """Answer one ChatKit request.

        Raises ApiError, NotFoundError or CursorError for what is wrong with it; of a stream,
        part of that comes in place of its first event.
        """
        parsed = parse(request)
        thread_id = str(getattr(parsed.params, "thread_id", ""))
        log_context().update(operation=parsed.type)
        if is_thread_id(thread_id):  # another one is a text of the client's
            log_context().update(thread_id=thread_id)
        lease = Lease(self.settings.turn_lease)
        begin_request(
            lease if ck.is_streaming_req(parsed) else None, for_client=parsed.type in PAGES
        )
        await check(self, parsed, context)
        # As super().process() goes on; it would build its validator on every request (3.4 ms).
        if not ck.is_streaming_req(parsed):
            return NonStreamingResult(await self._process_non_streaming(parsed, context))
        return StreamingResult(self._turn(parsed, lease, context))

    async def _turn(
        self, parsed: ck.StreamingReq, lease: Lease, context: RequestContext
    ) -> AsyncGenerator[bytes, None]:
        """One turn: counted among its owner's, and alone in its thread."""
        turn, refusal = TurnLease(self.store, lease, context), None
        with self.answering.one_more(context.owner) as may:
            if not may:
                refusal = ck.ErrorEvent(message=TOO_MANY, allow_retry=True)
            elif thread_id := getattr(parsed.params, "thread_id", None):
                refusal = await turn.take(thread_id, self.settings.turn_wait)
            events = turn.hold(self._process_streaming(parsed, context))
            async for event in self._refused(refusal) if refusal else events:
                yield event

    async def _refused(self, event: ck.ErrorEvent) -> AsyncGenerator[bytes, None]:
        log_context().setdefault("ended", "refused")
        yield b"data: " + self._serialize(event) + b"\n\n"

    async def _process_events(
        self, thread: ck.ThreadMetadata, context: RequestContext, stream: Callable[[], Events]
    ) -> Events:
        """The one place where the SDK runs respond and action: both are guarded here."""
        log_context().update(thread_id=thread.id)
        async for event in super()._process_events(thread, context, lambda: self._guarded(stream)):
            if isinstance(event, ck.ErrorEvent):
                log_context().setdefault("ended", "failed")
            yield event

    async def _guarded(self, stream: Callable[[], Events]) -> Events:
        try:
            async for event in stream():
                yield event
        except (StreamError, CustomStreamError):
            raise
        except Exception as error:
            event = self.explain(error)
            raise CustomStreamError(event.message or "", allow_retry=event.allow_retry) from None

    def new_message(self, thread: ck.ThreadMetadata) -> ck.AssistantMessageItem:
        """An assistant message without content yet, with an id of its own."""
        place: Any = {"thread_id": thread.id, "created_at": datetime.now()}
        return ck.AssistantMessageItem(id=new_id("message"), content=[], **place)

    async def ready(self) -> str | None:
        """Why nobody can be answered now, or None."""
        return await self.store.ready()

    async def close(self) -> None:
        """The last turn has ended; the store is open still."""

    def explain(self, error: Exception) -> ck.ErrorEvent:
        """What the person reads when an answer fails; the log has the rest."""
        return error_event(error)

    async def handle_stream_cancelled(
        self, thread: ck.ThreadMetadata, pending_items: list[ck.ThreadItem], context: RequestContext
    ) -> None:
        """Store what was said before a Stop, whatever else is being cancelled meanwhile."""
        try:
            with anyio.fail_after(PERSIST_LIMIT, shield=True):
                await super().handle_stream_cancelled(thread, pending_items, context)
        except (NotFoundError, TurnLost):
            logger.info("a stopped thread was deleted, or went on elsewhere")
        except StoreUnavailable:
            logger.warning("a stopped answer could not be stored")
        except Exception as error:
            report(error)

    async def add_feedback(
        self,
        thread_id: str,
        item_ids: list[str],
        feedback: ck.FeedbackKind,
        context: RequestContext,
    ) -> None:
        """Keep it; the items are the asker's own."""
        await self.store.save_feedback(thread_id, item_ids, feedback, context)
