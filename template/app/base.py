"""The server that `app/server.py` inherits: it keeps conversations whole and private.

The template's file: improvements arrive through `copier update`.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable

import anyio
from chatkit import types as ck
from chatkit.errors import CustomStreamError, StreamError
from chatkit.server import ChatKitServer, NonStreamingResult, StreamingResult
from chatkit.store import NotFoundError

from .checks import check, parse
from .config import Section
from .context import RequestContext
from .errors import error_event, logger, report
from .store.base import BaseStore, begin_request

PERSIST_LIMIT = 5.0  # seconds to store a partial answer after a Stop
Events = AsyncIterator[ck.ThreadStreamEvent]


class BaseServer(ChatKitServer[RequestContext]):
    """A ChatKit server: implement `respond`, and what else of ChatKit the project offers."""

    store: BaseStore

    def __init__(self, store: BaseStore, settings: Section) -> None:
        super().__init__(store)
        self.settings = settings

    async def process(
        self, request: str | bytes | bytearray, context: RequestContext
    ) -> StreamingResult | NonStreamingResult:
        """Answer one ChatKit request.

        Raises ApiError, NotFoundError or CursorError for what is wrong with it; of a stream,
        part of that comes in place of its first event.
        """
        parsed = parse(request)
        begin_request()
        reason = await check(self, parsed, context)
        if reason is not None:
            return StreamingResult(self._refused(reason))
        # As super().process() goes on; it would build its validator on every request (3.4 ms).
        if ck.is_streaming_req(parsed):
            return StreamingResult(self._process_streaming(parsed, context))
        return NonStreamingResult(await self._process_non_streaming(parsed, context))

    async def _refused(self, reason: str) -> AsyncGenerator[bytes, None]:
        yield b"data: " + self._serialize(ck.ErrorEvent(message=reason)) + b"\n\n"

    async def _process_events(
        self, thread: ck.ThreadMetadata, context: RequestContext, stream: Callable[[], Events]
    ) -> Events:
        """The one place where the SDK runs respond and action: both are guarded here."""
        async for event in super()._process_events(thread, context, lambda: self._guarded(stream)):
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
        except NotFoundError:
            logger.info("a stopped thread was deleted meanwhile")
        except Exception as error:
            report(error)

    async def add_feedback(
        self,
        thread_id: str,
        item_ids: list[str],
        feedback: ck.FeedbackKind,
        context: RequestContext,
    ) -> None:
        """Feedback goes to the log; override to keep it. The items are the asker's own."""
        logger.info("%s feedback in thread %s: items %s", feedback, thread_id, item_ids)
