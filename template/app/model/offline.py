"""A model that answers without a network and without a key, word by word.

The template's file: improvements arrive through `copier update`.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from itertools import count
from typing import Any
from uuid import uuid4

from agents import FunctionTool, Model, ModelResponse, Usage
from agents.testing import ModelCall, ModelStep, ScriptedModel
from openai.types.responses import (
    ResponseFunctionCallArgumentsDeltaEvent,
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseStreamEvent,
    ResponseTextDeltaEvent,
)

from .arguments import Words, mention, search

CONTEXT = re.compile(  # how ChatKit's converter begins what it adds in the user's role
    "Hidden context for the agent|The user is referring to this|# User-provided context"
    "|A message was displayed|A structured input request was displayed"
    "|The following (graphical UI widget|image was generated)"
)


class OfflineModel(Model):
    """Knows only its tools' JSON schemas, and calls the tool that the message mentions.

    `delay` is the time between two words, in seconds. The SDK's scripted model writes the events.
    """

    def __init__(self, delay: float = 0.0) -> None:
        self.delay = delay

    async def get_response(self, *args: Any, **rest: Any) -> ModelResponse:
        return await ScriptedModel([SCRIPT]).get_response(*args, **rest)

    async def stream_response(self, *args: Any, **rest: Any) -> AsyncIterator[ResponseStreamEvent]:
        number = count()
        async for event in ScriptedModel([SCRIPT]).stream_response(*args, **rest):
            if isinstance(event, ResponseTextDeltaEvent | ResponseFunctionCallArgumentsDeltaEvent):
                for word in re.findall(r"\s*\S+\s*", event.delta):
                    yield event.model_copy(update={"delta": word, "sequence_number": next(number)})
                    await asyncio.sleep(self.delay)  # also for 0: others get their turn
            else:
                event.sequence_number = next(number)
                yield event


def _answer(call: ModelCall) -> ModelStep:
    said, outputs = _read(call.input)
    functions = [tool for tool in call.tools if isinstance(tool, FunctionTool)]
    schemas = {tool.name: tool.params_json_schema for tool in functions}
    schemas |= {handoff.tool_name: handoff.input_json_schema for handoff in call.handoffs}
    name = None if outputs else _choose([*schemas], said, call.model_settings.tool_choice)
    item: ResponseFunctionToolCall | ResponseOutputMessage
    if name:
        text = Words(schemas[name], said, name).values()
        item = ResponseFunctionToolCall(
            id=_id("fc"), call_id=_id("call"), type="function_call", name=name, arguments=text
        )
    else:
        text = outputs or _introduce(said, [*schemas])
        if call.output_schema and not call.output_schema.is_plain_text():
            text = Words(call.output_schema.json_schema(), outputs or said).values()
        part = ResponseOutputText(type="output_text", text=text, annotations=[])
        item = ResponseOutputMessage(
            id=_id("msg"), type="message", role="assistant", status="completed", content=[part]
        )
    asked, told = len(said.split()), len(text.split())
    usage = Usage(requests=1, input_tokens=asked, output_tokens=told, total_tokens=asked + told)
    return ModelStep(output=[item], usage=usage, response_id=_id("resp"))


def _read(items: Any) -> tuple[str, str]:
    """What the person said last, and in words what the tools have answered since."""
    said, names, outputs = "", dict[str, str](), list[str]()
    for item in [{"role": "user", "content": items}] if isinstance(items, str) else items:
        text = _text(item.get("content") or item.get("output")).strip()
        if item.get("type") == "function_call":
            names[item["call_id"]] = item["name"]
        elif item.get("type") == "function_call_output":
            text = f"{names.get(item['call_id'], 'A tool')} answered: {text or 'nothing'}"
            outputs.append(text if text.endswith((".", "!", "?")) else f"{text}.")
        elif item.get("role") == "assistant":
            said, outputs = "", []  # what follows an answer does not ask for it once more
        elif item.get("role") == "user" and not CONTEXT.match(text):
            said, outputs = text, []
    return said, " ".join(outputs)


def _text(content: Any) -> str:
    """The text of what is either a string or a list of parts."""
    parts = content if isinstance(content, list) else [{"text": content}]
    return "\n".join(part["text"] for part in parts if isinstance(part.get("text"), str))


def _choose(names: list[str], said: str, choice: object) -> str | None:
    """The tool that the settings or the message ask for; the longer where two names overlap."""
    if choice == "none":
        return None
    if isinstance(choice, str) and choice in names:
        return choice
    hits = [(hit.start(), -hit.end(), n) for n in names if (hit := search(mention(n), said))]
    if hits:
        return min(hits)[2]
    return names[0] if choice == "required" and names else None


def _introduce(said: str, names: list[str]) -> str:
    short = said if len(said) <= 200 else f"{said[:199]}…"
    return (
        (f'You said: "{short}". ' if said else "")
        + "I am the offline model: set a model's credentials in .env for real answers."
        + (f" Mention one of my tools to see it run: {', '.join(names)}." if names else "")
    )


def _id(prefix: str) -> str:
    return f"{prefix}_{uuid4().hex}"
