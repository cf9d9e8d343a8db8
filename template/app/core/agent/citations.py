"""The citations in an answer: each that ChatKit can show, once."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from agents.items import TResponseStreamEvent
from openai.types.responses import (
    ResponseCompletedEvent,
    ResponseContentPartAddedEvent,
    ResponseContentPartDoneEvent,
    ResponseOutputItemAddedEvent,
    ResponseOutputItemDoneEvent,
    ResponseOutputTextAnnotationAddedEvent,
)
from openai.types.responses.response_output_text import Annotation
from pydantic import BaseModel, TypeAdapter, ValidationError

ANNOTATION: TypeAdapter[Any] = TypeAdapter(Annotation)


class Citations:
    """Keeps ChatKit's converter from the citations of one response that would end the answer."""

    def __init__(self) -> None:
        self._added: defaultdict[tuple[int, int], list[Any]] = defaultdict(list)

    def __call__(self, event: TResponseStreamEvent) -> Iterator[TResponseStreamEvent]:
        match event:
            case ResponseOutputTextAnnotationAddedEvent():
                # Since openai 3.1 this event has classes of its own for citations, which ChatKit's
                # converter refuses: the whole answer would fail. A dict passes.
                known = self._added[event.output_index, event.content_index]
                if (plain := readable(event.annotation)) is None or plain in known:
                    return
                known.append(plain)
                event = event.model_copy(update={"annotation": plain})
            case ResponseContentPartAddedEvent() | ResponseContentPartDoneEvent():
                tidy(event.part)
            case ResponseOutputItemAddedEvent() | ResponseOutputItemDoneEvent():
                tidy(event.item)
            case ResponseCompletedEvent():
                for item in event.response.output:
                    tidy(item)
        yield event


def readable(annotation: Any) -> dict[str, Any] | None:
    """The citation as a dict, or None where a field is missing or nobody knows the type."""
    if isinstance(annotation, BaseModel):
        annotation = annotation.model_dump(warnings=False)
    try:
        ANNOTATION.validate_python(annotation)
    except ValidationError:
        return None
    plain: dict[str, Any] = annotation
    return plain


def tidy(item: Any) -> None:
    """Leave a message, or a part of one, with the citations that can be read, each once."""
    if getattr(item, "type", None) == "message":
        for part in item.content:
            tidy(part)
    if getattr(item, "type", None) != "output_text":
        return
    found: list[Any] = []
    for annotation in item.annotations or ():
        plain = readable(annotation)
        if plain is not None and plain not in found:
            found.append(plain)
    item.annotations = [ANNOTATION.validate_python(plain) for plain in found]
