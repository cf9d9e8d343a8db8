"""Threads get a title beside their first answer.

The template's file: improvements arrive through `copier update`.
"""

import asyncio
from contextlib import suppress

from agents import Agent, Runner
from agents import InputGuardrailTripwireTriggered as InputTripwire
from agents import OutputGuardrailTripwireTriggered as OutputTripwire
from chatkit import types as ck
from chatkit.store import NotFoundError

from .base import Events
from .context import RequestContext
from .errors import report
from .ops.telemetry import TelemetryServer
from .run import Context, Message, RunSettings
from .store.base import BaseStore, begin_request, remember, remembered

PATIENCE = 2.0  # seconds at the end of an answer; a later title is there at the next reload
LONGEST = 80  # characters


class TitleServer(TelemetryServer):
    titles: Agent[Context] | None = None  # who thinks of them

    def __init__(self, store: BaseStore, settings: RunSettings) -> None:
        super().__init__(store, settings)
        self._naming: set[asyncio.Task[str]] = set()  # asyncio itself keeps no task alive

    async def answer(self, agent: Agent[Context], message: Message, about: Context) -> Events:
        thread, naming, answered = about.thread, None, asyncio.Event()
        if self.titles and message and thread.title is None:
            title = self._name(self.titles, message, about.request_context, answered)
            naming = asyncio.create_task(title)
            self._naming.add(naming)
            naming.add_done_callback(self._naming.discard)
        try:
            async for event in super().answer(agent, message, about):
                yield event
        except (InputTripwire, OutputTripwire):
            if naming:  # what a guardrail stops is not to be read in the history either
                naming.cancel()
            raise
        finally:
            answered.set()
        with suppress(asyncio.CancelledError):  # the answer is whole: nothing is left to be stopped
            if naming and (await asyncio.wait({naming}, timeout=PATIENCE))[0] and naming.result():
                thread.title = naming.result()  # which makes the SDK tell the browser
                if known := remembered(thread.id):  # but not store it over a person's of meanwhile
                    known.title = thread.title
                    remember(known, saved=True)

    async def _name(
        self,
        titler: Agent[Context],
        message: ck.UserMessageItem,
        context: RequestContext,
        answered: asyncio.Event,
    ) -> str:
        """Give the answered thread a title, unless it has one by now; empty when it got none."""
        begin_request()  # not a part of the turn, which may end before
        text = " ".join(part.text for part in message.content)
        try:
            title = " ".join(text.split()[:6])
            if not self.settings.is_offline:
                config = self.run_config(ck.InferenceOptions())
                config.input_guardrails = config.output_guardrails = None  # these are the answer's
                title = str((await Runner.run(titler, text, run_config=config)).final_output)
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

    async def close(self) -> None:
        await super().close()
        if self._naming:
            late = (await asyncio.wait(self._naming, timeout=PATIENCE))[1]
            for naming in late:
                naming.cancel()
            await asyncio.gather(*late, return_exceptions=True)
