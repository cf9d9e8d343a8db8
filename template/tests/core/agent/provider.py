"""A stand-in for a model provider: the Responses API and Chat Completions over real HTTP.

What it does is what the last message asks for: "status 429", "status 500 once", "status 429 after
50" (Retry-After), "no title", "cut", "hang" (in mid-answer), "never", "endless", "refuse", "think",
"roll dice", "call TOOL {arguments}"; anything else it repeats. Each word is a token.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from agents import Agent, ModelSettings, ModelTracing, Usage, function_tool
from agents.testing import ScriptedModel, assistant_message, function_call
from fastapi import FastAPI, Request
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import (
    ResponseOutputMessage,
    ResponseOutputRefusal,
    ResponseReasoningItem,
    ResponseStreamEvent,
)
from openai.types.responses.response_reasoning_item import Summary
from pydantic import TypeAdapter
from starlette.responses import JSONResponse, Response, StreamingResponse

THOUGHT, REFUSAL = "Let me think.", "I cannot help with that."
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


@function_tool
def roll_dice() -> str:
    """Roll a die."""
    return "4"


# Who has the tool that is called here: what app/agent.py has, its owner decides.
DICE = Agent[Any](name="Dice", instructions="Roll dice.", tools=[roll_dice])


@dataclass
class Asked:
    """One request as it came, and when its connection was done with."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    closed: float | None = None
    sent: int = 0
    messages: list[dict[str, Any]] = field(default_factory=list)

    @property
    def said(self) -> str:
        """The person's last message."""
        return next(text_of(m) for m in reversed(self.messages) if m.get("role") == "user")

    @property
    def limit(self) -> int:
        """How many tokens the answer may have."""
        names = ("max_output_tokens", "max_completion_tokens", "max_tokens")
        return next((self.body[name] for name in names if self.body.get(name)), 1_000_000)

    @property
    def call(self) -> tuple[str, str] | None:
        """The tool that is to be called, and its arguments; None once it has returned."""
        if self.output is not None:
            return None
        if self.said.startswith("roll dice"):
            return "roll_dice", "{}"
        found = re.match(r"call (\w+) (\{.*\})", self.said)
        return (found[1], found[2]) if found else None

    @property
    def output(self) -> str | None:
        """What a tool returned, if that came last."""
        last = self.messages[-1]
        is_output = last.get("role") == "tool" or last.get("type") == "function_call_output"
        return str(last.get("output") or last.get("content")) if is_output else None


def text_of(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def provider() -> FastAPI:
    """The application; `state.log` has every request in order."""
    app = FastAPI()
    app.state.log = []

    @app.post("/{path:path}")
    async def answer(request: Request, path: str) -> Response:
        asked = Asked(path, dict(request.headers), await request.json())
        asked.messages = asked.body.get("messages") or asked.body["input"]
        before = [entry for entry in app.state.log if entry.said == asked.said]
        app.state.log.append(asked)
        found = re.match(r"status (\d+)( once)?(?: after (\d+))?", asked.said)
        if found and not (found[2] and before):
            return failure(int(found[1]), found[3] or "0")
        if asked.said == "no title" and not asked.body.get("stream"):
            return failure(503)
        stream = chat(asked) if "messages" in asked.body else responses(asked)
        if not asked.body.get("stream"):
            return JSONResponse(whole([json.loads(e.partition("data: ")[2]) async for e in stream]))
        return StreamingResponse(watched(asked, stream), media_type="text/event-stream")

    return app


def whole(events: list[dict[str, Any]]) -> dict[str, Any]:
    """A streamed answer as one, as a titler asks for it."""
    if response := events[-1].get("response"):
        return dict(response)
    words = [choice["delta"].get("content") or "" for e in events for choice in e["choices"]]
    message = {"role": "assistant", "content": "".join(words)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return events[0] | {"object": "chat.completion", "choices": [choice]}


def failure(status: int, after: str = "0") -> JSONResponse:
    error = {"message": "sk-secret of somebody", "type": "x", "param": None, "code": "x"}
    return JSONResponse({"error": error}, status, {"retry-after": after} if status == 429 else None)


async def watched(asked: Asked, stream: AsyncIterator[str]) -> AsyncIterator[str]:
    try:
        if asked.said == "never":
            await asyncio.sleep(3600)
        async for event in stream:
            asked.sent += 1
            if asked.said == "cut" and asked.sent > 8:
                raise ConnectionAbortedError
            if asked.said == "hang" and asked.sent > 8:
                await asyncio.sleep(3600)
            yield event
    finally:
        asked.closed = time.monotonic()


def words_of(asked: Asked) -> list[str]:
    if asked.said == "endless":
        return ["word "] * 10_000
    text = f"It rolled {asked.output}" if asked.output else f"You said {asked.said} again and again"
    return re.findall(r"\S+\s*", text)[: asked.limit]


async def responses(asked: Asked) -> AsyncIterator[str]:
    """The Responses API's events, as the SDK's own scripted model makes them."""
    key = uuid4().hex
    items: list[Any] = [assistant_message("".join(words_of(asked)[:20]), item_id=f"msg_{key}")]
    if call := asked.call:
        items = [function_call(*call, call_id=f"call_{key}", item_id=f"fc_{key}")]
    if asked.said == "refuse":
        refusal = ResponseOutputRefusal(type="refusal", refusal=REFUSAL)
        items[0] = ResponseOutputMessage(
            id=f"msg_{key}", type="message", role="assistant", status="completed", content=[refusal]
        )
    if asked.said == "think":
        summary = [Summary(type="summary_text", text=THOUGHT)]
        items.insert(0, ResponseReasoningItem(id=f"rs_{key}", type="reasoning", summary=summary))
    used = len(words_of(asked))
    usage = Usage(requests=1, input_tokens=7, output_tokens=used, total_tokens=7 + used)
    script = ScriptedModel([items], default_usage=usage)
    rest: Any = {"previous_response_id": None, "conversation_id": None, "prompt": None}
    nothing: Any = (None, "", ModelSettings(), [], None, [], ModelTracing.DISABLED)
    async for event in script.stream_response(*nothing, **rest):
        parts = words_of(asked) if event.type == "response.output_text.delta" else [None]
        for word in parts:
            sent = event.model_copy(update={"delta": word}) if word else event
            if event.type == "response.completed" and used == asked.limit:
                sent = event.model_copy(update={"type": "response.incomplete"})
            yield f"event: {sent.type}\ndata: {checked(EVENT, sent.to_json(indent=None))}\n\n"
            await asyncio.sleep(0.005 if word else 0)


async def chat(asked: Asked) -> AsyncIterator[str]:
    """Chat Completions' chunks."""
    key = uuid4().hex
    deltas: list[dict[str, Any]] = [{"content": word} for word in words_of(asked)]
    if call := asked.call:
        function = dict(zip(("name", "arguments"), call, strict=True))
        tool = {"index": 0, "id": f"call_{key}", "type": "function", "function": function}
        deltas = [{"tool_calls": [tool]}]
    if asked.said == "refuse":
        deltas = [{"refusal": REFUSAL}]
    if asked.said == "think":
        deltas.insert(0, {"reasoning_content": THOUGHT})
    reason = "tool_calls" if "tool_calls" in deltas[-1] else "stop"
    used = len(words_of(asked))
    reason = "length" if used == asked.limit else reason
    for delta in [{"role": "assistant", "content": ""}, *deltas, {}]:
        choice = {"index": 0, "delta": delta, "finish_reason": None if delta else reason}
        chunk = {"id": key, "object": "chat.completion.chunk", "created": 1, "model": "m"}
        text = json.dumps(chunk | {"choices": [choice]})
        yield f"data: {checked(TypeAdapter(ChatCompletionChunk), text)}\n\n"
        await asyncio.sleep(0.005)
    if asked.body.get("stream_options", {}).get("include_usage"):
        usage = {"prompt_tokens": 7, "completion_tokens": used, "total_tokens": 7 + used}
        text = json.dumps(chunk | {"choices": [], "usage": usage})
        yield f"data: {checked(TypeAdapter(ChatCompletionChunk), text)}\n\n"
    if asked.body.get("stream"):
        yield "data: [DONE]\n\n"


def checked(kind: TypeAdapter[Any], text: str) -> str:
    """The text, once the openai package's own types have read it."""
    kind.validate_json(text)
    return text
