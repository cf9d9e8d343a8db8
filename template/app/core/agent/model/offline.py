"""A model that answers without a network and without a key, word by word."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

from agents import FunctionTool, Model, ModelResponse
from agents.testing import ModelCall, ModelStep, ScriptedModel, assistant_message, function_call
from openai.types.responses import ResponseFunctionCallArgumentsDeltaEvent as ArgumentsDelta
from openai.types.responses import ResponseStreamEvent, ResponseTextDeltaEvent

from .arguments import FLAGS, Words, mention

# How ChatKit's converter begins what it adds in the user's role.
CONTEXT = re.compile(
    "Hidden context |The user is referring to |# User-provided context|The following graphical UI|"
    "A message was displayed"
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
        script = ScriptedModel([ModelStep.respond(_answer)])
        for event in [event async for event in script.stream_response(*args, **rest)]:
            if isinstance(event, ResponseTextDeltaEvent | ArgumentsDelta):
                for word in re.findall(r"\s*\S+\s*", event.delta):
                    yield event.model_copy(update={"delta": word})
                    await asyncio.sleep(self.delay)  # also for 0: others get their turn
            else:
                yield event


def _answer(call: ModelCall) -> ModelStep:
    said, told, outputs = _read(call.input)
    tools = {t.name: t.params_json_schema for t in call.tools if isinstance(t, FunctionTool)}
    tools |= {other.tool_name: other.input_json_schema for other in call.handoffs}
    name = None if outputs else _choose([*tools], said, call.model_settings.tool_choice)
    key = uuid4().hex
    if name:
        arguments = Words(tools[name], said, name).values()
        item = function_call(name, arguments, call_id=f"call_{key}", item_id=f"fc_{key}")
    else:
        item = assistant_message(outputs or _introduce(said, told, [*tools]), item_id=f"msg_{key}")
    return ModelStep([item], response_id=f"resp_{key}")


def _read(items: Any) -> tuple[str, str, str]:
    """What the person said last, what was added to it, and in words what tools answered since."""
    said, told, names, outputs = "", list[str](), dict[Any, str](), list[str]()
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
            said, told, outputs = "", [], []  # what follows an answer does not ask for it once more
        elif item.get("role") == "user" and CONTEXT.match(text):
            told.append(" ".join(text.split()))
        elif item.get("role") == "user":
            said, outputs = re.sub("(?s).*<StructuredInput>|</Structured.*", "", text).strip(), []
    return said, " ".join(told), " ".join(outputs)


def _choose(names: list[str], said: str, choice: object) -> str | None:
    """The tool that the settings or the message ask for; the longer where two names overlap."""
    if choice == "none" or choice in names:
        return None if choice == "none" else str(choice)
    hits = [(m.start(), -m.end(), n) for n in names if (m := re.search(mention(n), said, FLAGS))]
    if hits:
        return min(hits)[2]
    return names[0] if choice == "required" and names else None


def _introduce(said: str, told: str, names: list[str]) -> str:
    text = f'You said: "{said[:200]}{"…" * (len(said) > 200)}". '
    text += f'I was also told: "{told[:500]}". ' if told else ""
    text += "I am the offline model: set a model's credentials in .env for real answers."
    return f"{text} Mention one of my tools to see it run: {', '.join(names)}." if names else text
