"""The model of each agent in a run: its own, the one that the person picked, or the project's."""

from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from inspect import isawaitable
from typing import Any

from agents import Agent, Model, ModelResponse
from agents.items import TResponseStreamEvent
from agents.run_config import CallModelData, CallModelInputFilter, ModelInputData

from .contained_tools import contain
from .tool_names import warn_of_collisions, with_valid_name

# The agent that is about to ask its model, in the task of its own run: an agent that is a tool
# runs in another task.
_asking: ContextVar[Agent[Any] | None] = ContextVar("asking", default=None)


class AgentModels(Model):
    """A run's model, which passes each call on to the model of the agent that makes it.

    The Agents SDK lets `RunConfig.model` override each agent's `model`, and gives an agent's own
    Model object to nobody else, so wrappers (joining, metering) would miss it. One model for the
    whole run keeps the wrappers; `RunConfig.call_model_input_filter` tells which agent asks.
    """

    def __init__(self, model_of: Callable[[Agent[Any] | None], Model]) -> None:
        self.model_of = model_of

    def __getattr__(self, name: str) -> Any:
        return getattr(self.now, name)  # the runner reads attributes that only some models have

    @property
    def now(self) -> Model:
        return self.model_of(_asking.get())

    def note(self, data: CallModelData[Any]) -> ModelInputData:
        """The `call_model_input_filter` of a run that has this model."""
        _asking.set(data.agent)
        warn_of_collisions(data.agent)
        data.model_data.input = [with_valid_name(item) for item in data.model_data.input]
        return data.model_data

    def noting(self, own: CallModelInputFilter | None) -> CallModelInputFilter:
        """The filter `own` of a run's owner, which also notes the agent."""
        if own is None or own == self.note:
            return self.note

        async def both(data: CallModelData[Any]) -> ModelInputData:
            filtered = own(data)
            data.model_data = await filtered if isawaitable(filtered) else filtered
            return self.note(data)

        return both

    async def get_response(self, *args: Any, **rest: Any) -> ModelResponse:
        contain(rest["tools"] if "tools" in rest else args[3])
        return await self.now.get_response(*args, **rest)

    def stream_response(self, *args: Any, **rest: Any) -> AsyncIterator[TResponseStreamEvent]:
        contain(rest["tools"] if "tools" in rest else args[3])
        return self.now.stream_response(*args, **rest)

    def get_retry_advice(self, request: Any) -> Any:
        return self.now.get_retry_advice(request)
