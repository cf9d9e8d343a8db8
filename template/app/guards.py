"""Guardrails: what one stops is taken back, and the person reads why.

The template's file: improvements arrive through `copier update`.
"""

from collections.abc import Sequence
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
MARK = {"type": "stopped"}  # the content of a hidden item, after what an input guardrail stopped


# The message whose turn it is; none where the person has answered a question.
_asked: ContextVar[Message] = ContextVar("asked", default=None)


def new_text(given: Any) -> str:
    """What an input guardrail has to look at, of all that it is given.

    The person's message with what they quote; where there is none, the last that is given.
    """
    if message := _asked.get():
        return "\n".join(
            ["".join(part.text for part in message.content), message.quoted_text or ""]
        )
    last: Any = ItemHelpers.input_to_new_input_list(given)[-1]
    content = last.get("content", "")
    parts = [{"text": content}] if isinstance(content, str) else content
    return "\n".join(part.get("text", "") for part in parts)


def without_stopped(items: Sequence[ck.ThreadItem]) -> list[ck.ThreadItem]:
    """Without the messages that an input guardrail stopped, and what came of them by then."""
    kept: list[ck.ThreadItem] = []
    for item in items:
        if isinstance(item, ck.HiddenContextItem) and item.content == MARK:
            while kept and not isinstance(kept.pop(), ck.UserMessageItem):
                pass
        else:
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

    async def answer(self, agent: Agent[Context], message: Message, about: Context) -> Events:
        _asked.set(message)
        try:
            async for event in super().answer(agent, message, about):
                yield event
        except (InputTripwire, OutputTripwire) as stopped:
            if isinstance(stopped, InputTripwire):  # in later turns it is not to be read either
                new: Any = {"id": new_id("message"), "created_at": datetime.now()}
                mark = ck.HiddenContextItem(thread_id=about.thread.id, content=MARK, **new)
                yield ck.ThreadItemDoneEvent(item=mark)
            told = stopped.guardrail_result.output.output_info
            text = told if isinstance(told, str) else STOPPED
            yield ck.NoticeEvent(level="warning", message=text)
