"""A stand-in for providers with ways of their own: it plays the answers that a test gives it.

An answer is written once and sent by the API that is asked, the Responses API or Chat Completions.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from app.core.agent.model import build_model
from app.core.settings import Settings

from ..chat import Json
from ..fixtures import RunningServer, serve

Call = tuple[str, str, str | None]  # a tool's name, its arguments as JSON, the call's id if any
Edit = Callable[[list[Json]], Iterable[Json]]
Check = Callable[[Json], str | None]  # reads a request; why the service refuses it, or None


@dataclass
class Say:
    """One answer: thoughts, text in pieces, citations, calls; `edit` changes its events."""

    pieces: list[str] = field(default_factory=list)
    annotations: list[Json] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    edit: Edit = list

    def events(self, chat: bool) -> list[Json]:
        return list(self.edit(list(self._chunks() if chat else self._responses())))

    def _chunks(self) -> Iterator[Json]:
        deltas: list[Json] = [{"role": "assistant", "content": ""}]
        deltas += [{"content": piece} for piece in self.pieces]
        cited = [{"type": "url_citation", "url_citation": one} for one in self.annotations]
        deltas += [{"content": "", "annotations": cited}] * (2 if cited else 0)
        for index, (name, arguments, call_id) in enumerate(self.calls):
            function = {"name": name, "arguments": arguments}
            call = {"index": index, "type": "function", "function": function}
            call |= {} if call_id is None else {"id": call_id}
            deltas.append({"tool_calls": [call]})
        reason = "tool_calls" if self.calls else "stop"
        for delta in [*deltas, {}]:
            choice = {"index": 0, "delta": delta, "finish_reason": None if delta else reason}
            chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1}
            yield chunk | {"model": "m", "choices": [choice]}

    def _responses(self) -> Iterator[Json]:
        output: list[Json] = []
        yield {"type": "response.created", "response": response([])}
        if self.pieces:
            yield from self._message(output)
        for name, arguments, call_id in self.calls:
            place, item_id = len(output), f"fc_{len(output)}"
            item: Json = {"id": item_id, "type": "function_call", "status": "in_progress"}
            item |= {"name": name, "arguments": ""}
            item |= {} if call_id is None else {"call_id": call_id}
            yield {"type": "response.output_item.added", "output_index": place, "item": item}
            where = {"output_index": place, "item_id": item_id}
            delta = {"type": "response.function_call_arguments.delta", "delta": arguments}
            yield delta | where
            item = item | {"arguments": arguments, "status": "completed"}
            yield {"type": "response.output_item.done", "output_index": place, "item": item}
            output.append(item)
        yield {"type": "response.completed", "response": response(output)}

    def _message(self, output: list[Json]) -> Iterator[Json]:
        item: Json = {"id": "msg_1", "type": "message", "role": "assistant"}
        place = {"output_index": len(output)}
        where = place | {"item_id": "msg_1", "content_index": 0}
        part: Json = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        yield {"type": "response.output_item.added", "item": item | {"content": []}} | place
        yield {"type": "response.content_part.added", "part": part} | where
        for piece in self.pieces:
            delta = {"type": "response.output_text.delta", "delta": piece, "logprobs": []}
            yield delta | where
        for number, one in enumerate(self.annotations):
            added = {"type": "response.output_text.annotation.added", "annotation": one}
            yield added | where | {"annotation_index": number}
        text = "".join(self.pieces)
        yield {"type": "response.output_text.done", "text": text, "logprobs": []} | where
        part = part | {"text": text, "annotations": self.annotations}
        yield {"type": "response.content_part.done", "part": part} | where
        item = item | {"status": "completed", "content": [part]}
        yield {"type": "response.output_item.done", "item": item} | place
        output.append(item)


def response(output: list[Json]) -> Json:
    rest = {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True}
    status = "completed" if output else "in_progress"
    place = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m"}
    return place | rest | {"status": status, "output": output}


@dataclass
class OddProvider:
    """Plays its answers in order; `log` has the requests' bodies."""

    answers: list[Say] = field(default_factory=list)
    log: list[Json] = field(default_factory=list)
    check: Check | None = None

    def play(self, *answers: Say, check: Check | None = None) -> None:
        self.answers, self.check = [*answers], check
        self.log.clear()

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.post("/{path:path}")
        async def answer(request: Request) -> Response:
            body = await request.json()
            self.log.append(body)
            if reason := self.check and self.check(body):
                error = {"message": reason, "type": "invalid_request_error"}
                return JSONResponse({"error": error}, 400)
            chat = "messages" in body
            lines = [_line(event) for event in self.answers.pop(0).events(chat)]
            end = ["data: [DONE]\n\n"] if chat else []
            return StreamingResponse(iter(lines + end), media_type="text/event-stream")

        return app


def _line(event: Json) -> str:
    named = f"event: {event['type']}\n" if "type" in event else ""
    return f"{named}data: {json.dumps({'sequence_number': 0} | event)}\n\n"


def credentials(url: str) -> dict[str, Any]:
    """The settings that lead to the stand-in, for the variant that this project has."""
    if "azure_openai_endpoint" in Settings.model_fields:
        return {"azure_openai_endpoint": url, "azure_openai_api_key": "sk-test"}
    if "litellm_base_url" in Settings.model_fields:
        return {"litellm_base_url": f"{url}/v1", "litellm_api_key": "sk-test"}
    return {"openai_base_url": f"{url}/v1", "openai_api_key": "sk-test"}


# Whether this project asks by Chat Completions.
CHAT = build_model.__module__.endswith(("compatible", "litellm"))
# LiteLLM finds the provider by the prefix of the name.
NAME = "openai/a-model" if "litellm_base_url" in Settings.model_fields else "a-model"


@contextmanager
def serving(odd: OddProvider, **values: Any) -> Iterator[RunningServer]:
    """A server whose model is the stand-in's."""
    standin = RunningServer(odd.app())
    standin.start()
    try:
        with serve(**credentials(standin.url) | {"model": NAME} | values) as running:
            yield running
    finally:
        standin.stop(0)
