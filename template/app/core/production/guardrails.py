"""Guardrails around every agent: they keep texts from the model, and take answers back."""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

from agents import Agent, ItemHelpers, OutputGuardrail, RunConfig
from agents import InputGuardrailTripwireTriggered as InputTripwire
from agents import OutputGuardrailTripwireTriggered as OutputTripwire
from chatkit import types as ck

from ..agent.run import Context, Message
from ..chat_server import Events
from .input_text import text_of_message
from .screening import MARK, STOPPED, ScreeningServer, mark

# What the person has written in this turn: a message, or an answer to a question.
_said: ContextVar[Message | ck.StructuredInputItem] = ContextVar("said", default=None)


def new_text(given: Any) -> str:
    """The person's own text, of all that an input guardrail is given.

    A sequential guardrail is given it alone. A parallel one is given the whole history: then this
    is the message with its quote, tags and names of files, or the answer to a question.
    """
    if isinstance(given, str):
        return given
    match _said.get():
        case ck.UserMessageItem() as message:
            return text_of_message(message)
        case ck.StructuredInputItem(inputs=questions):
            return "\n".join(text for one in questions if one.answer for text in one.answer.values)
    last: Any = ItemHelpers.input_to_new_input_list(given)[-1]
    content = last.get("content", "")
    texts = [{"text": content}] if isinstance(content, str) else content
    return "\n".join(part.get("text", "") for part in texts)


def without_stopped(items: Sequence[ck.ThreadItem]) -> list[ck.ThreadItem]:
    """Without the messages and answers that an input guardrail stopped, and what came of them."""
    kept: list[ck.ThreadItem] = []
    named = {_named(item) for item in items} - {None}
    for item in items:
        if _named(item) or item.id in named:
            continue
        match item:
            case ck.HiddenContextItem(content={"answer": answer, "after": last, **rest}) if (
                rest == MARK
            ):
                while kept and kept[-1].id != last:
                    kept.pop()
                kept = [one for one in kept if one.id != answer]
            case ck.HiddenContextItem(content=content) if content == MARK:
                while kept and not isinstance(kept.pop(), ck.UserMessageItem):
                    pass
            case _:
                kept.append(item)
    return kept


def _named(item: ck.ThreadItem) -> str | None:
    """The id of the message that this item marks as stopped."""
    match item:
        case ck.HiddenContextItem(content={"item": str() as named, **rest}) if rest == MARK:
            return named
    return None


class GuardServer(ScreeningServer):
    """Runs its guardrails around every agent; a guardrail's `output_info` may be a text to read."""

    output_guardrails: Sequence[OutputGuardrail[Context]] = ()

    def run_config(self, asked: ck.InferenceOptions) -> RunConfig:
        config = super().run_config(asked)
        # A parallel guardrail runs beside the first model call: the text has gone to the provider
        # when it trips. The SDK gets these alone; `screen` runs the sequential ones.
        config.input_guardrails = [one for one in self.input_guardrails if one.run_in_parallel]
        config.output_guardrails = [*self.output_guardrails]
        return config

    async def _guarded(self, stream: Callable[[], Events]) -> Events:
        async for event in super()._guarded(stream):
            # So the SDK keeps an answer, where the question stands.
            if event.type == "thread.item.replaced" and event.item.type == "structured_input":
                _said.set(event.item)
            yield event

    async def answer(self, agent: Agent[Context], message: Message, about: Context) -> Events:
        thread, context, where = about.thread, about.request_context, dict[str, str]()
        if message:
            _said.set(message)
        elif answered := _said.get():
            page = await self.store.load_thread_items(thread.id, None, 1, "desc", context)
            where = {"answer": answered.id, "after": page.data[0].id}
        try:
            async for event in super().answer(agent, message, about):
                yield event
        except (InputTripwire, OutputTripwire) as stopped:
            if isinstance(stopped, InputTripwire):  # keep it out of later turns too
                yield ck.ThreadItemDoneEvent(item=mark(thread.id, **where))
            told = stopped.guardrail_result.output.output_info
            text = told if isinstance(told, str) else STOPPED
            yield ck.NoticeEvent(level="warning", message=text)
