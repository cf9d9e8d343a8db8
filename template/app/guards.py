"""Guardrails: what one stops is taken back, and the person reads why.

The template's file: improvements arrive through `copier update`.
"""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from datetime import datetime
from typing import Any

from agents import Agent, InputGuardrail, ItemHelpers, OutputGuardrail, RunConfig
from agents import InputGuardrailTripwireTriggered as InputTripwire
from agents import OutputGuardrailTripwireTriggered as OutputTripwire
from chatkit import types as ck

from .base import Events
from .run import AgentServer, Context, Message
from .store.base import new_id

STOPPED = "The assistant cannot help with this."
# The content of a hidden item, after what an input guardrail stopped; for an answer to a question
# also which it is, and after which item its turn began.
MARK = {"type": "stopped"}

# What the person has written in this turn: a message, or an answer to a question.
_said: ContextVar[Message | ck.StructuredInputItem] = ContextVar("said", default=None)


def new_text(given: Any) -> str:
    """What an input guardrail has to look at, of all that it is given.

    The person's message with what they quote, or their answer to a question; where there is none,
    the last that is given.
    """
    match _said.get():
        case ck.UserMessageItem(content=parts, quoted_text=quoted):
            return "\n".join(["".join(part.text for part in parts), quoted or ""])
        case ck.StructuredInputItem(inputs=questions):
            return "\n".join(text for one in questions if one.answer for text in one.answer.values)
    last: Any = ItemHelpers.input_to_new_input_list(given)[-1]
    content = last.get("content", "")
    texts = [{"text": content}] if isinstance(content, str) else content
    return "\n".join(part.get("text", "") for part in texts)


def without_stopped(items: Sequence[ck.ThreadItem]) -> list[ck.ThreadItem]:
    """Without the messages and answers that an input guardrail stopped, and what came of them."""
    kept: list[ck.ThreadItem] = []
    for item in items:
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


class GuardServer(AgentServer):
    """Runs its guardrails around every agent; a guardrail's `output_info` may be a text to read."""

    input_guardrails: Sequence[InputGuardrail[Context]] = ()
    output_guardrails: Sequence[OutputGuardrail[Context]] = ()

    def run_config(self, asked: ck.InferenceOptions) -> RunConfig:
        config = super().run_config(asked)
        config.input_guardrails = [*self.input_guardrails]
        config.output_guardrails = [*self.output_guardrails]
        return config

    async def _guarded(self, stream: Callable[[], Events]) -> Events:
        async for event in super()._guarded(stream):
            # So the SDK keeps an answer, where the question stands.
            if event.type == "thread.item.replaced" and event.item.type == "structured_input":
                _said.set(event.item)
            yield event

    async def answer(self, agent: Agent[Context], message: Message, about: Context) -> Events:
        thread, context, content = about.thread, about.request_context, MARK
        if message:
            _said.set(message)
        elif answered := _said.get():
            page = await self.store.load_thread_items(thread.id, None, 1, "desc", context)
            content = MARK | {"answer": answered.id, "after": page.data[0].id}
        try:
            async for event in super().answer(agent, message, about):
                yield event
        except (InputTripwire, OutputTripwire) as stopped:
            if isinstance(stopped, InputTripwire):  # in later turns it is not to be read either
                new: Any = {"id": new_id("message"), "created_at": datetime.now()}
                mark = ck.HiddenContextItem(thread_id=thread.id, content=content, **new)
                yield ck.ThreadItemDoneEvent(item=mark)
            told = stopped.guardrail_result.output.output_info
            text = told if isinstance(told, str) else STOPPED
            yield ck.NoticeEvent(level="warning", message=text)
