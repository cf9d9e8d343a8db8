"""Ids of our own for the tool calls of a model."""

import hashlib
import secrets
import string
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from agents.items import TResponseStreamEvent
from agents.models.fake_id import FAKE_RESPONSES_ID
from openai.types.responses import (
    ResponseCompletedEvent,
    ResponseOutputItemAddedEvent,
    ResponseOutputItemDoneEvent,
)

# Mistral refuses every id but those of nine letters and digits; all others take these too.
LETTERS, LENGTH = string.ascii_letters + string.digits, 9
CALLS = ("function_call", "custom_tool_call")


def call_id_of(item_id: str) -> str:
    """The id of the one tool call that is stored under `item_id`, in every later turn the same."""
    number = int.from_bytes(hashlib.blake2b(item_id.encode(), digest_size=8).digest())
    return "".join(LETTERS[number // 62**place % 62] for place in range(LENGTH))


class CallIds:
    """Gives the calls of one response ids that no other call in the thread has.

    Kimi and vLLM count calls anew in each turn (`weather:0`), and some servers leave the id out.
    The Agents SDK merges calls with one id, also of different turns: an older call gets the
    arguments of the newer one, and providers refuse the thread from then on.

    `promised` keeps a provider's ids unless one is missing or in use: OpenAI's are unique.
    """

    def __init__(self, given: Any, promised: bool) -> None:
        self._promised = promised
        items = given if isinstance(given, list) else []
        self._used = {item.get("call_id") for item in items if isinstance(item, dict)}
        self._by_place: dict[int, str] = {}
        self._by_id: defaultdict[str, list[str]] = defaultdict(list)

    def __call__(self, event: TResponseStreamEvent) -> Iterator[TResponseStreamEvent]:
        match event:
            case ResponseOutputItemAddedEvent() | ResponseOutputItemDoneEvent():
                if event.item.type in CALLS:
                    own = self._at(event.output_index, event.item)
                    event = event.model_copy(update={"item": own})
            case ResponseCompletedEvent():
                output = self.of_output(event.response.output)
                response = event.response.model_copy(update={"output": output})
                event = event.model_copy(update={"response": response})
        yield event

    def of_output(self, output: list[Any]) -> list[Any]:
        """The items of a whole response, whose calls have the ids that its events gave them."""
        left = {theirs: [*ours] for theirs, ours in self._by_id.items()}
        found = []
        for item in output:
            if item.type in CALLS:
                ours = left.get(item.call_id or "")
                item = _with_id(item, ours.pop(0) if ours else self._new(item))
            found.append(item)
        return found

    def _at(self, place: int, item: Any) -> Any:
        if place not in self._by_place:
            self._by_place[place] = self._new(item)
            self._by_id[item.call_id or ""].append(self._by_place[place])
        return _with_id(item, self._by_place[place])

    def _new(self, item: Any) -> str:
        keeps = self._promised and item.call_id and item.call_id not in self._used
        call_id: str = item.call_id if keeps else "".join(map(secrets.choice, [LETTERS] * LENGTH))
        self._used.add(call_id)
        return call_id


def _with_id(item: Any, call_id: str) -> Any:
    # ChatKit refuses a call without an item id; the Agents SDK sends this one to no provider.
    return item.model_copy(update={"call_id": call_id, "id": item.id or FAKE_RESPONSES_ID})
