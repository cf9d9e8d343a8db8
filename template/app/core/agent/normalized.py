"""A model whose events are made regular before the Agents SDK and ChatKit read them."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing
from typing import Any

from agents import Model, ModelResponse
from agents.items import TResponseStreamEvent

from .citations import Citations

# One correction: takes an event of a response and yields what goes on in its place.
Stage = Callable[[TResponseStreamEvent], Iterable[TResponseStreamEvent]]


class NormalizedModel(Model):
    """`model`, whose odd parts cost themselves and never the answer."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)  # attributes that the runner reads of some models only

    async def get_response(self, *args: Any, **rest: Any) -> ModelResponse:
        return await self.model.get_response(*args, **rest)

    async def stream_response(self, *args: Any, **rest: Any) -> AsyncIterator[TResponseStreamEvent]:
        stages: tuple[Stage, ...] = (Citations(),)
        events: Any = self.model.stream_response(*args, **rest)
        async with aclosing(events):
            async for event in events:
                for normal in _through(stages, event):
                    yield normal

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
