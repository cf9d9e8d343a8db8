"""Guardrails: what one stops is taken back, and the person reads why.

The template's file: improvements arrive through `copier update`.
"""

from collections.abc import Sequence

from agents import Agent, InputGuardrail, OutputGuardrail, RunConfig
from agents import InputGuardrailTripwireTriggered as InputTripwire
from agents import OutputGuardrailTripwireTriggered as OutputTripwire
from chatkit import types as ck

from .base import Events
from .run import AgentServer, Context, Message

STOPPED = "The assistant cannot help with this."


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
        try:
            async for event in super().answer(agent, message, about):
                yield event
        except (InputTripwire, OutputTripwire) as stopped:
            told = stopped.guardrail_result.output.output_info
            text = told if isinstance(told, str) else STOPPED
            yield ck.NoticeEvent(level="warning", message=text)
