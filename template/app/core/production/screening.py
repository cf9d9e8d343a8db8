"""Screening by sequential input guardrails, which read each text of a person before a model
does.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agents import Agent, InputGuardrail, RunContextWrapper, trace
from chatkit import types as ck
from chatkit.errors import CustomStreamError
from chatkit.store import NotFoundError

from ..agent.run import AgentServer, Context, Message
from ..chat_server import Events
from ..context import RequestContext
from ..errors import CursorError
from ..log_context import log_context
from ..store.base import new_id
from .input_text import text_of_data, text_of_message

STOPPED = "The assistant cannot help with this."
WITHHELD = "A guardrail withheld what the browser answered."  # in place of a client tool's output
# The content of a hidden item. `item` names the message that stays out of the model's input. Marks
# of parallel guardrails stand after what they stopped: see `without_stopped`.
MARK = {"type": "stopped"}

# Guardrails get an agent as an argument; the text is read before the server has chosen one.
_READER = Agent[Context](name="Input")


class InputStopped(CustomStreamError):
    """A sequential input guardrail tripped; `message` is what the person reads."""


@dataclass
class Refusal:
    """The end of a turn whose input was stopped, or could not be read."""

    error: Exception
    events: Sequence[ck.ThreadStreamEvent] = ()  # before the error


_refusal: ContextVar[Refusal | None] = ContextVar("refusal", default=None)
_passed: ContextVar[str] = ContextVar("passed", default="")  # the id of this turn's message


def mark(thread_id: str, **about: str) -> ck.HiddenContextItem:
    """A hidden item that keeps what it names out of the model's input."""
    new: Any = {"id": new_id("message"), "created_at": datetime.now()}
    return ck.HiddenContextItem(thread_id=thread_id, content=MARK | about, **new)


class ScreeningServer(AgentServer):
    """Runs guardrails with `run_in_parallel=False` on a text before it is stored or used.

    The SDK runs input guardrails on the first model call of a run alone. It never runs them for an
    action, a resumed run or the titler, so core runs the sequential ones for every kind of request.
    """

    input_guardrails: Sequence[InputGuardrail[Context]] = ()

    @property
    def _sequential(self) -> list[InputGuardrail[Context]]:
        return [one for one in self.input_guardrails if not one.run_in_parallel]

    async def screen(self, text: str, thread: ck.ThreadMetadata, context: RequestContext) -> None:
        """Read a person's text. Raises InputStopped, and whatever a guardrail raises."""
        guardrails = self._sequential if text.strip() else []
        if not guardrails:
            return
        about = Context(thread=thread, store=self.store, request_context=context)
        # A guardrail may run an agent of its own. Outside of a run, the SDK would trace that agent
        # and send the text to OpenAI: open the trace here, with the project's setting.
        with trace("Input guardrails", disabled=not self.settings.openai_tracing):
            async with asyncio.timeout(self.settings.model_timeout):
                for guardrail in guardrails:
                    result = await guardrail.run(_READER, text, RunContextWrapper(about))
                    if result.output.tripwire_triggered:
                        log_context().update(guardrail=guardrail.get_name())
                        told = result.output.output_info
                        raise InputStopped(told if isinstance(told, str) else STOPPED)

    async def _process_streaming_impl(
        self, request: ck.StreamingReq, context: RequestContext
    ) -> AsyncGenerator[ck.ThreadStreamEvent, None]:
        if self._sequential:
            match request:
                case ck.ThreadsAddClientToolOutputReq():
                    await self._screen_output(request.params, context)
                case ck.ThreadsAddStructuredInputReq():
                    await self._screen_answers(request.params, context)
        async for event in super()._process_streaming_impl(request, context):
            yield event

    async def _screen_output(
        self, params: ck.ThreadAddClientToolOutputParams, context: RequestContext
    ) -> None:
        thread = await self.store.load_thread(params.thread_id, context=context)
        try:
            await self.screen(text_of_data(params.result), thread, context)
        except Exception as error:
            params.result = WITHHELD  # the call still gets an output: a later turn needs one
            _refusal.set(Refusal(error))

    async def _screen_answers(
        self, params: ck.ThreadAddStructuredInputParams, context: RequestContext
    ) -> None:
        thread = await self.store.load_thread(params.thread_id, context=context)
        item = await self.store.load_item(params.thread_id, params.item_id, context=context)
        given = {name: one.values for name, one in params.input.answers.items()}
        try:
            await self.screen(text_of_data(given), thread, context)
        except Exception as error:  # the question stays open, and nothing of the answer is stored
            _refusal.set(Refusal(error, [ck.ThreadItemReplacedEvent(item=item)]))

    async def _process_new_thread_item_respond(
        self, thread: ck.ThreadMetadata, item: ck.UserMessageItem, context: RequestContext
    ) -> Events:
        """Read a new message before it is stored.

        A message that is stored unread would be in the next turn's history if this turn is stopped,
        or its process ends, while a guardrail is reading. The mark is stored before the message for
        the same reason, and again after it, as a page of the history may begin with the message.
        """
        try:
            await self.screen(text_of_message(item), thread, context)
            _passed.set(item.id)
        except Exception as error:
            await self.store.add_thread_item(thread.id, mark(thread.id, item=item.id), context)
            after = ck.ThreadItemDoneEvent(item=mark(thread.id, item=item.id))
            _refusal.set(Refusal(error, [after]))
        async for event in super()._process_new_thread_item_respond(thread, item, context):
            yield event

    async def _guarded(self, stream: Callable[[], Events]) -> Events:
        async for event in super()._guarded(lambda: self._unless_refused(stream)):
            yield event

    async def _unless_refused(self, stream: Callable[[], Events]) -> Events:
        try:
            if refusal := _refusal.get():
                for event in refusal.events:
                    yield event
                raise refusal.error
            async for event in stream():
                yield event
        except InputStopped as stopped:
            yield ck.NoticeEvent(level="warning", message=stopped.message)

    async def answer(self, agent: Agent[Context], message: Message, about: Context) -> Events:
        if message and message.id != _passed.get():  # a retry, or made by the owner's code
            thread, context = about.thread, about.request_context
            held = mark(thread.id, item=message.id)
            if self._sequential:
                # It counts as stopped until it has passed, so that a Stop while a guardrail reads
                # does not put it into the next turn's history.
                yield ck.ThreadItemDoneEvent(item=held)
                await self.screen(text_of_message(message), thread, context)
                await self.store.delete_thread_item(thread.id, held.id, context)
            await self._release(message, held.content, about)
            _passed.set(message.id)
        async for event in super().answer(agent, message, about):
            yield event

    async def _release(self, message: ck.UserMessageItem, content: Any, about: Context) -> None:
        """Delete the mark of an earlier turn, before a message that has passed this time."""
        where, context = about.thread.id, about.request_context
        with suppress(NotFoundError, CursorError):  # not every message is stored
            page = await self.store.load_thread_items(where, message.id, 1, "desc", context)
            for item in page.data:
                if isinstance(item, ck.HiddenContextItem) and item.content == content:
                    await self.store.delete_thread_item(where, item.id, context)
