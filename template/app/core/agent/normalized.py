"""A model whose events are made regular before the Agents SDK and ChatKit read them."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing
from typing import Any

from agents import Model, ModelResponse, OpenAIResponsesModel
from agents.items import TResponseStreamEvent

from .call_ids import CallIds
from .citations import Citations

# One correction: takes an event of a response and yields what goes on in its place.
Stage = Callable[[TResponseStreamEvent], Iterable[TResponseStreamEvent]]


class NormalizedModel(Model):
    """`model`, whose odd parts cost themselves and never the answer."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)  # attributes that the runner reads of some models only

    async def get_response(
        self, system_instructions: Any, input: Any, *args: Any, **rest: Any
    ) -> ModelResponse:
        response = await self.model.get_response(system_instructions, input, *args, **rest)
        response.output = self._call_ids(input).of_output(response.output)
        return response

    async def stream_response(
        self, system_instructions: Any, input: Any, *args: Any, **rest: Any
    ) -> AsyncIterator[TResponseStreamEvent]:
        stages: tuple[Stage, ...] = (Citations(), self._call_ids(input))
        events: Any = self.model.stream_response(system_instructions, input, *args, **rest)
        async with aclosing(events):
            async for event in events:
                for normal in _through(stages, event):
                    yield normal

    def _call_ids(self, given: Any) -> CallIds:
        return CallIds(given, promised=isinstance(self.model, OpenAIResponsesModel))

    def get_retry_advice(self, request: Any) -> Any:
        return self.model.get_retry_advice(request)


def _through(
    stages: tuple[Stage, ...], event: TResponseStreamEvent
) -> Iterable[TResponseStreamEvent]:
    found: Iterable[TResponseStreamEvent] = (event,)
    for stage in stages:
        found = [normal for given in found for normal in stage(given)]
    return found


def normalized(model: Model) -> Model:
    """The model with regular events; a model that is normalized already stays as it is."""
    return model if isinstance(model, NormalizedModel) else NormalizedModel(model)
