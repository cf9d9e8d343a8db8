"""Every ChatKit request type gets the answer that ChatKit expects."""

from datetime import datetime
from typing import Any

import pytest
from chatkit import types as ck

from ..cases import a_thread_of, cases, request_types
from ..chat import Person, events_of, text_of, thread_id_of
from ..fixtures import RunningServer

STREAMS = {"threads.create", "threads.add_user_message", "threads.retry_after_item"}
JSON = {
    "threads.list",
    "threads.get_by_id",
    "threads.update",
    "threads.delete",
    "items.list",
    "items.feedback",
}


def test_every_request_type_of_the_sdk_is_covered() -> None:
    assert set(cases("t", "i")) == request_types()


@pytest.mark.parametrize("kind", sorted(STREAMS))
def test_a_request_that_makes_the_assistant_speak_is_a_stream(person: Person, kind: str) -> None:
    response = person.http.post("/chatkit", json=cases(*a_thread_of(person))[kind])

    events = list(events_of(response))
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache, no-transform"
    assert response.headers["x-accel-buffering"] == "no"
    assert text_of(events)
    assert not [event for event in events if event["type"] == "error"]


@pytest.mark.parametrize("kind", sorted(JSON))
def test_a_request_about_stored_things_is_answered_with_json(person: Person, kind: str) -> None:
    response = person.http.post("/chatkit", json=cases(*a_thread_of(person))[kind])

    assert response.status_code == 200
    assert isinstance(response.json(), dict)


def test_a_message_is_streamed_piece_by_piece_and_then_done(person: Person) -> None:
    events = person.say("Hello")

    kinds = [event["type"] for event in events]
    assert kinds[0] == "thread.created"
    assert kinds.index("thread.item.added") < kinds.index("thread.item.updated")
    assert kinds.index("thread.item.updated") < len(kinds) - 1 - kinds[::-1].index(
        "thread.item.done"
    )
    deltas = [
        event["update"]["delta"]
        for event in events
        if event["type"] == "thread.item.updated" and "delta" in event["update"]
    ]
    assert "".join(deltas) == text_of(events)


def test_a_thread_is_there_again_after_a_reload(person: Person) -> None:
    events = person.say("Remember me")
    thread = person.ask("threads.get_by_id", thread_id=thread_id_of(events))

    said = [item["content"][0]["text"] for item in thread["items"]["data"]]
    assert said == ["Remember me", text_of(events)]
    assert [t["id"] for t in person.ask("threads.list")["data"]] == [thread["id"]]


def test_threads_are_paged_newest_first(person: Person) -> None:
    made = [person.new_thread(str(number)) for number in range(5)]

    first = person.ask("threads.list", limit=2)
    rest = person.ask("threads.list", limit=100, after=first["after"])
    assert [thread["id"] for thread in first["data"] + rest["data"]] == made[::-1]
    assert first["has_more"]
    assert not rest["has_more"]
    assert rest.get("after") is None


def test_pages_of_items_hold_no_hidden_ones_and_are_never_empty(
    server: RunningServer, person: Person
) -> None:
    thread_id, _ = a_thread_of(person)
    shown = [item["id"] for item in person.items(thread_id)]
    context = server.context_of(person)
    about: Any = {"thread_id": thread_id, "content": "hidden"}
    for number in range(30):
        item = ck.HiddenContextItem(id=f"hidden_{number}", created_at=datetime.now(), **about)
        server.run(server.store.add_thread_item(thread_id, item, context))

    page = person.ask("items.list", thread_id=thread_id, limit=20, order="desc")
    assert sorted(item["id"] for item in page["data"]) == sorted(shown)
    assert (page["has_more"], page.get("after")) == (False, None)
    thread = person.ask("threads.get_by_id", thread_id=thread_id)
    assert not thread["items"]["has_more"]


def test_a_rename_and_a_delete_are_kept(person: Person) -> None:
    thread_id = person.new_thread()

    person.ask("threads.update", thread_id=thread_id, title="Holidays")
    assert person.ask("threads.get_by_id", thread_id=thread_id)["title"] == "Holidays"
    person.ask("threads.delete", thread_id=thread_id)
    assert person.ask("threads.list")["data"] == []


def test_a_retry_replaces_what_came_after_the_message(person: Person) -> None:
    thread_id, message_id = a_thread_of(person)
    person.say("And another thing", thread_id)

    person.stream("threads.retry_after_item", thread_id=thread_id, item_id=message_id)
    kinds = [item["type"] for item in person.items(thread_id)]
    assert kinds == ["user_message", "assistant_message"]


def test_the_process_and_the_store_report_their_health(person: Person) -> None:
    assert person.http.get("/health").json() == {"status": "ok"}
    assert person.http.get("/ready").json() == {"status": "ready"}
