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
from agents.testing import ModelCall, ModelStep, ScriptedModel, assistant_message, function_call
from openai.types.responses import (
    ResponseFunctionCallArgumentsDeltaEvent,
    ResponseStreamEvent,
    ResponseTextDeltaEvent,
)

from .arguments import FLAGS, Words, mention

Delta = ResponseTextDeltaEvent | ResponseFunctionCallArgumentsDeltaEvent
CONTEXT = re.compile(  # how ChatKit's converter begins what it adds in the user's role
    "Hidden context for the agent|The user is referring to this|# User-provided context|"
    "A message was displayed|A structured input request was|The following (graphical UI|image was)"
)


class OfflineModel(Model):
    """Knows only its tools' JSON schemas, and calls the tool that the message mentions.

    `delay` is the time between two words, in seconds. The SDK's scripted model writes the events.
    """

    def __init__(self, delay: float = 0.0) -> None:
        self.delay = delay

    async def get_response(self, *args: Any, **rest: Any) -> ModelResponse:
        return await ScriptedModel([ModelStep.respond(_answer)]).get_response(*args, **rest)

    async def stream_response(self, *args: Any, **rest: Any) -> AsyncIterator[ResponseStreamEvent]:
        script, number = ScriptedModel([ModelStep.respond(_answer)]), count()
        for event in [event async for event in script.stream_response(*args, **rest)]:
            if isinstance(event, Delta):
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
    key = uuid4().hex
    if name:
        text = Words(schemas[name], said, name).values()
        item = function_call(name, text, call_id=f"call_{key}", item_id=f"fc_{key}")
    else:
        text = outputs or _introduce(said, [*schemas])
        if call.output_schema and not call.output_schema.is_plain_text():
            text = Words(call.output_schema.json_schema(), outputs or said).values()
        item = assistant_message(text, item_id=f"msg_{key}")
    asked, told = len(said.split()), len(text.split())
    usage = Usage(requests=1, input_tokens=asked, output_tokens=told, total_tokens=asked + told)
    return ModelStep([item], usage, f"resp_{key}")


def _read(items: Any) -> tuple[str, str]:
    """What the person said last, and in words what the tools have answered since."""
    said, names, outputs = "", dict[Any, str](), list[str]()
    for item in [{"role": "user", "content": items}] if isinstance(items, str) else items:
        content = item.get("content") or item.get("output")
        parts = content if isinstance(content, list) else [{"text": content or ""}]
        text = "\n".join(part["text"] for part in parts if part.get("text")).strip()
        if item.get("type") == "function_call":
            names[item["call_id"]] = item["name"]
        elif item.get("type") == "function_call_output":
            text = f"{names.get(item.get('call_id'), 'A tool')} answered: {text or 'nothing'}"
            outputs.append(text if text.endswith((".", "!", "?")) else f"{text}.")
        elif item.get("role") == "assistant":
            said, outputs = "", []  # what follows an answer does not ask for it once more
        elif item.get("role") == "user" and not CONTEXT.match(text):
            said, outputs = text, []
    return said, " ".join(outputs)


def _choose(names: list[str], said: str, choice: object) -> str | None:
    """The tool that the settings or the message ask for; the longer where two names overlap."""
    if choice == "none" or choice in names:
        return None if choice == "none" else str(choice)
    hits = [(m.start(), -m.end(), n) for n in names if (m := re.search(mention(n), said, FLAGS))]
    if hits:
        return min(hits)[2]
    return names[0] if choice == "required" and names else None


def _introduce(said: str, names: list[str]) -> str:
    text = "I am the offline model: set a model's credentials in .env for real answers."
    if said:
        text = f'You said: "{said[:200]}{"…" * (len(said) > 200)}". {text}'
    return f"{text} Mention one of my tools to see it run: {', '.join(names)}." if names else text
