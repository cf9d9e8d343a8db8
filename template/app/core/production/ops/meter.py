"""What a turn uses, as its model's provider tells it, and where it reaches a limit."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

from agents import MaxTurnsExceeded, Model, ModelResponse, ModelSettings
from agents.items import TResponseStreamEvent
from openai.types.responses import (
    ResponseCompletedEvent,
    ResponseFailedEvent,
    ResponseIncompleteEvent,
    ResponseOutputItemDoneEvent,
)

CALLS = "The assistant stopped here: it may not use more tools for one answer."
LENGTH = "The assistant stopped here: an answer may not be longer."
LEAST = 16  # tokens of output; OpenAI refuses a limit below


class LimitReached(MaxTurnsExceeded):
    """A turn is at a limit. (Before an error of this kind the SDK passes on what was made.)"""


@dataclass
class Meter:
    """Of one turn: what it has used so far, and a sentence on the limit that it has reached."""

    max_tool_calls: int = 0  # 0 is no limit
    max_output_tokens: int = 0
    left: int = 0  # of them, when the model was asked last
    used: Counter[str] = field(default_factory=Counter)
    tool_calls: int = 0
    reached: str = ""
    shortened: bool = False  # whether the model does not see all of the history

    def asked(self, settings: ModelSettings) -> ModelSettings:
        """The model is asked once more: with these settings. Raises LimitReached."""
        if self.reached:
            raise LimitReached(self.reached)
        self.used["requests"] += 1
        if not self.max_output_tokens:
            return settings
        if (left := self.max_output_tokens - self.used["output_tokens"]) <= 0:
            self.reached = LENGTH
            raise LimitReached(self.reached)
        self.left = left = max(LEAST, left)
        return replace(settings, max_tokens=min(settings.max_tokens or left, left))

    def answered(self, usage: Any, *, whole: bool = True) -> None:
        """What the provider tells of the answer, which may be nothing. Raises LimitReached.

        An answer that is not whole is cut at its limit; the tools of one too many are not run.
        """
        told = {
            "input_tokens": usage,
            "output_tokens": usage,
            "cached_tokens": getattr(usage, "input_tokens_details", None),
            "reasoning_tokens": getattr(usage, "output_tokens_details", None),
        }
        self.used.update({name: getattr(where, name, 0) or 0 for name, where in told.items()})
        now = getattr(usage, "output_tokens", 0) or 0
        if 0 < self.max_output_tokens <= self.used["output_tokens"]:
            # An answer that is whole may end where it was to be cut.
            self.reached = "" if whole and now < self.left else LENGTH
        if 0 < self.max_tool_calls < self.tool_calls:
            self.reached, whole = CALLS, False
        if self.reached and not whole:
            raise LimitReached(self.reached)


_meter: ContextVar[Meter | None] = ContextVar("meter", default=None)


def new_meter() -> Meter:
    """Count anew: for a turn, and for what goes on beside it."""
    _meter.set(begun := Meter())
    return begun


def meter() -> Meter:
    """What counts the turn that is running."""
    return _meter.get() or new_meter()


class MeteredModel(Model):
    """`model`, counted."""

    def __init__(self, model: Model, count: Meter) -> None:
        self.model, self.count = model, count

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)  # what the runner asks of some models only

    async def get_response(
        self, system_instructions: Any, input: Any, model_settings: Any, *args: Any, **rest: Any
    ) -> ModelResponse:
        given = system_instructions, input, self.count.asked(model_settings)
        response = await self.model.get_response(*given, *args, **rest)
        self.count.tool_calls += sum(item.type == "function_call" for item in response.output)
        self.count.answered(response.usage)
        return response

    async def stream_response(
        self, system_instructions: Any, input: Any, model_settings: Any, *args: Any, **rest: Any
    ) -> AsyncIterator[TResponseStreamEvent]:
        given = system_instructions, input, self.count.asked(model_settings)
        events: Any = self.model.stream_response(*given, *args, **rest)
        async with aclosing(events):
            async for event in events:
                match event:
                    case ResponseOutputItemDoneEvent():
                        self.count.tool_calls += event.item.type == "function_call"
                    case ResponseCompletedEvent():
                        self.count.answered(event.response.usage)
                    case ResponseIncompleteEvent() | ResponseFailedEvent():
                        self.count.answered(event.response.usage, whole=False)
                yield event

    def get_retry_advice(self, request: Any) -> Any:
        return self.model.get_retry_advice(request)
