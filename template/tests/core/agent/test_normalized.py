"""What providers send out of the ordinary: an odd part costs that part, never the answer."""

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from agents import Agent, function_tool
from chatkit.agents import ResponseStreamConverter, _convert_annotation
from openai.types.responses.response_output_text_annotation_added_event import AnnotationURLCitation
from pydantic import ValidationError

from ..chat import Json, Person, text_of, thread_id_of
from ..fixtures import RunningServer
from .odd_provider import CHAT, Call, OddProvider, Say, serving

ODD = OddProvider()
PLACE = {"start_index": 0, "end_index": 5}
URL = {"type": "url_citation", "title": "Doors", "url": "https://example.com/doors"} | PLACE
FILE = {"type": "file_citation", "file_id": "file_1", "filename": "doors.pdf", "index": 5}
BOX = {"type": "container_file_citation", "container_id": "c", "file_id": "f", "filename": "a.csv"}
PATH = {"type": "file_path", "file_id": "file_2", "index": 5}
UNKNOWN = {"type": "moon_citation", "crater": "Tycho"}


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with serving(ODD) as running:
        yield running


@pytest.fixture(autouse=True)
def _an_agent_of_these_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.server.assistant", Agent[Any](name="Test", tools=[weather]))
    monkeypatch.setattr("app.server.Server.titles", None, raising=False)


def sources(item: Json) -> list[Any]:
    """The sources of a stored answer, each with its place in the text."""
    notes = item["content"][0]["annotations"]
    kept = ("url", "filename", "title")
    return [
        {name: note["source"][name] for name in kept if note["source"].get(name)}
        | {"index": note["index"]}
        for note in notes
    ]


DOORS = {"url": URL["url"], "title": "Doors", "index": 5}


BY_RESPONSES: list[tuple[Json, list[Json]]] = [
    (FILE, [{"filename": "doors.pdf", "title": "doors.pdf", "index": 5}]),
    (BOX | PLACE, [{"filename": "a.csv", "title": "a.csv", "index": 5}]),
    (PATH, []),
    (FILE | {"filename": None}, []),
    (UNKNOWN, []),
]


@pytest.mark.parametrize(
    ("citation", "found"),
    [(URL, [DOORS]), (URL | {"title": None}, []), *(BY_RESPONSES * (not CHAT))],
)
def test_a_citation_is_stored_with_the_answer_or_left_out_alone(
    person: Person, citation: Json, found: list[Json]
) -> None:
    ODD.play(Say(["See ", "doors."], annotations=[citation, URL | {"title": "Second"}]))
    events = person.say("Where?")
    assert text_of(events) == "See doors."
    assert events[-1]["type"] == "thread.item.done"
    [_, answer] = person.items(thread_id_of(events))
    assert answer["content"][0]["text"] == "See doors."
    assert sources(answer) == [*found, DOORS | {"title": "Second"}]


def test_a_citation_that_is_repeated_is_stored_once(person: Person) -> None:
    ODD.play(Say(["See doors."], annotations=[URL, URL]))
    events = person.say("Where?")
    [_, answer] = person.items(thread_id_of(events))
    assert sources(answer) == [DOORS]
    added = [event for event in events if "annotation_added" in str(event.get("update"))]
    assert len(added) <= 1  # Chat Completions: only with the whole answer


def asked(body: Json) -> list[tuple[str, str, str]]:
    """The calls of tools in a request, each with its output: `(arguments, output, id)`.

    Fails as a provider does where an id repeats, or a call and its output do not belong together.
    """
    calls: dict[str, str] = {}
    found: list[tuple[str, str, str]] = []
    for item in body.get("messages") or body["input"]:
        made = [(one["id"], one["function"]["arguments"]) for one in item.get("tool_calls") or ()]
        if item.get("type") == "function_call":
            made = [(item["call_id"], item["arguments"])]
        for call_id, arguments in made:
            assert call_id not in calls
            assert call_id not in [known for *_, known in found]
            calls[call_id] = arguments
        if call_id := item.get("tool_call_id") or ("output" in item and item["call_id"]):
            output = item.get("content") or item.get("output")
            found.append((calls.pop(call_id), output, call_id))
    assert calls == {}
    return found


@function_tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def call(city: str, call_id: str | None) -> Call:
    return ("weather", json.dumps({"city": city}), call_id)


def of(*cities: str) -> list[tuple[str, str]]:
    return [(json.dumps({"city": city}), f"sunny in {city}") for city in cities]


@pytest.mark.parametrize("call_id", ["weather:0", "", None])
def test_calls_whose_ids_repeat_or_are_missing_stay_apart(
    server: RunningServer, person: Person, call_id: str | None
) -> None:
    two = [call("Rome", call_id), call("Bern", call_id)]
    first = [Say(calls=[call("Oslo", call_id)]), Say(calls=two), Say(["Sunny."])]
    ODD.play(*first, Say(calls=[call("Lima", call_id)]), Say(["Too."]), Say(["Yes."]))
    thread_id = thread_id_of(person.say("Weather?"))
    assert text_of(person.say("And Lima?", thread_id)) == "Too."
    assert text_of(person.say("Really?", thread_id)) == "Yes."
    assert len(ODD.log) == 6
    found = [[(given, output) for given, output, _ in asked(body)] for body in ODD.log]
    assert found[2] == of("Oslo", "Rome", "Bern")
    assert found[-2:] == [of("Oslo", "Rome", "Bern", "Lima")] * 2
    kept = [item for item in server.stored(person, thread_id) if "hidden" in item.type]
    contents: list[Any] = [getattr(item, "content", None) for item in kept]
    ids = [[part["call_id"] for part in content["items"]] for content in contents]
    assert all(one == other for one, other in ids)
    assert len({one for one, _ in ids}) == 4


def test_every_provider_takes_the_ids_of_calls(person: Person) -> None:
    """Mistral refuses ids but those of nine letters and digits; OpenAI's stay within a turn."""
    ODD.play(Say(calls=[call("Oslo", "call_with_a_long_id")]), Say(["Sunny."]), Say(["Yes."]))
    person.say("Really?", thread_id_of(person.say("Weather?")))
    ids = [call_id for body in ODD.log for *_, call_id in asked(body)]
    assert len(ids) == 2
    ours = [bool(re.fullmatch("[a-zA-Z0-9]{9}", call_id)) for call_id in ids]
    assert ours == [CHAT, True]


def test_chatkits_converter_refuses_the_class_of_an_added_citation() -> None:
    """Remove the conversion to a dict from `app/core/agent/citations.py` when this fails."""
    added = AnnotationURLCitation.model_validate(URL)
    with pytest.raises(ValidationError):
        asyncio.run(_convert_annotation(added, ResponseStreamConverter()))
