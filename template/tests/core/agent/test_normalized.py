"""What providers send out of the ordinary: an odd part costs that part, never the answer."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from chatkit.agents import ResponseStreamConverter, _convert_annotation
from openai.types.responses.response_output_text_annotation_added_event import AnnotationURLCitation
from pydantic import ValidationError

from ..chat import (
    Json,
    Person,
    text_of,
    thread_id_of,
)
from ..fixtures import RunningServer
from .odd_provider import (
    CHAT,
    OddProvider,
    Say,
    serving,
)
from .provider import DICE

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
    monkeypatch.setattr("app.server.assistant", DICE)
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


def test_chatkits_converter_refuses_the_class_of_an_added_citation() -> None:
    """Remove the conversion to a dict from `app/core/agent/citations.py` when this fails."""
    added = AnnotationURLCitation.model_validate(URL)
    with pytest.raises(ValidationError):
        asyncio.run(_convert_annotation(added, ResponseStreamConverter()))
