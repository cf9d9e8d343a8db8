"""Threads get a title beside their first answer, once the model has begun to write it."""

import asyncio
from contextlib import suppress

from agents import Agent, Runner
from chatkit import types as ck
from chatkit.store import NotFoundError

from ..agent.retries import without_retries
from ..agent.run import Context, Message, RunSettings
from ..chat_server import Events
from ..errors import report
from ..store.base import BaseStore, begin_request, remember, remembered
from .ops.telemetry import TelemetryServer

PATIENCE = 2.0  # seconds at the end of an answer; a later title is there at the next reload
LONGEST = 80  # characters


def _is_text(event: ck.ThreadStreamEvent) -> bool:
    return isinstance(event, ck.ThreadItemUpdatedEvent) and isinstance(
        event.update, ck.AssistantMessageContentPartTextDelta
    )


class TitleServer(TelemetryServer):
    titles: Agent[Context] | None = None  # who thinks of them

    def __init__(self, store: BaseStore, settings: RunSettings) -> None:
        super().__init__(store, settings)
        self._naming: set[asyncio.Task[str]] = set()  # asyncio itself keeps no task alive

    async def answer(self, agent: Agent[Context], message: Message, about: Context) -> Events:
        titler = self.titles if about.thread.title is None else None
        naming, answered = None, asyncio.Event()
        try:
            async for event in super().answer(agent, message, about):
                # Not before: a guardrail may stop the message, and its provider may fail.
                if titler and message and naming is None and _is_text(event):
                    naming = self._begin(titler, message, about, answered)
                yield event
        except Exception:
            if naming:
                naming.cancel()
            raise
        finally:
            answered.set()
        if titler and message and naming is None:  # an answer without text: a widget, a question
            naming = self._begin(titler, message, about, answered)
        with suppress(asyncio.CancelledError):  # the answer is whole: nothing is left to be stopped
            if naming and (await asyncio.wait({naming}, timeout=PATIENCE))[0] and naming.result():
                about.thread.title = naming.result()  # which makes the SDK tell the browser
                if known := remembered(about.thread.id):  # but not store it over a person's
                    known.title = about.thread.title
                    remember(known, saved=True)

    def _begin(
        self,
        titler: Agent[Context],
        message: ck.UserMessageItem,
        about: Context,
        answered: asyncio.Event,
    ) -> asyncio.Task[str]:
        own = Context(thread=about.thread, store=self.store, request_context=about.request_context)
        naming = asyncio.create_task(self._name(titler, message, own, answered))
        self._naming.add(naming)
        naming.add_done_callback(self._naming.discard)
        return naming

    async def _name(
        self,
        titler: Agent[Context],
        message: ck.UserMessageItem,
        about: Context,
        answered: asyncio.Event,
    ) -> str:
        """Give the answered thread a title, unless it has one by now; empty when it got none."""
        begin_request()  # not a part of the turn, which may end before
        context = about.request_context
        text = " ".join(part.text for part in message.content)
        try:
            title = " ".join(text.split()[:6])
            if not self.settings.is_offline:
                title = await self._ask(titler, text, about)
            await answered.wait()
            thread = await self.store.load_thread(message.thread_id, context=context)
            if thread.title is not None:
                return ""
            thread.title = title.strip(' "\n.')[:LONGEST] or None
            await self.store.save_thread(thread, context=context)
            return thread.title or ""
        except NotFoundError:  # it was deleted meanwhile
            return ""
        except Exception as error:
            report(error, "a thread got no title. ")
            return ""

    async def _ask(self, titler: Agent[Context], text: str, about: Context) -> str:
        """Ask for a title, once. Raises what a model raises, and TimeoutError."""
        config = self.run_config(ck.InferenceOptions())
        config.call_model_input_filter = self.agent_models.noting(config.call_model_input_filter)
        config.input_guardrails = config.output_guardrails = None  # these are the answer's
        without_retries(config)
        async with asyncio.timeout(self.settings.model_timeout):
            run = await Runner.run(titler, text, context=about, run_config=config)
        return str(run.final_output)

    async def close(self) -> None:
        await super().close()
        if self._naming:
            late = (await asyncio.wait(self._naming, timeout=PATIENCE))[1]
            for naming in late:
                naming.cancel()
            await asyncio.gather(*late, return_exceptions=True)
