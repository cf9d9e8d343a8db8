"""Nobody reaches what is another's: for every request type, foreign and missing look the same.

The template's file: improvements arrive through `copier update`.
"""

import re

import pytest

from .cases import a_thread_of, cases, request_types
from .chat import Person
from .conftest import RunningServer

# What makes or lists one's own things has no id of another's to try.
OWN = {"threads.create", "threads.list", "attachments.create", "input.transcribe"}


def ask(person: Person, kind: str, thread_id: str, item_id: str) -> tuple[int, str]:
    response = person.http.post("/chatkit", json=cases(thread_id, item_id)[kind])
    return response.status_code, re.sub("[0-9a-f]{32}", "ID", response.text)


@pytest.mark.parametrize("kind", sorted(request_types() - OWN))
def test_a_foreign_thread_is_answered_like_a_missing_one_and_is_not_changed(
    person: Person, stranger: Person, kind: str
) -> None:
    thread_id, item_id = a_thread_of(person)
    before = person.ask("threads.get_by_id", thread_id=thread_id)

    foreign = ask(stranger, kind, thread_id, item_id)
    missing = ask(stranger, kind, "thr_" + "0" * 32, "msg_" + "0" * 32)
    assert foreign == missing
    assert foreign[0] in (400, 404)
    assert person.ask("threads.get_by_id", thread_id=thread_id) == before
    assert stranger.ask("threads.list")["data"] == []


@pytest.mark.parametrize("kind", ["threads.retry_after_item", "items.feedback"])
def test_a_foreign_item_is_not_reached_through_ones_own_thread(
    person: Person, stranger: Person, kind: str
) -> None:
    thread_id, item_id = a_thread_of(person)
    own_thread, _ = a_thread_of(stranger)

    foreign = ask(stranger, kind, own_thread, item_id)
    assert foreign == ask(stranger, kind, own_thread, "msg_" + "0" * 32)
    assert foreign[0] == 404
    assert len(person.items(thread_id)) == 2


def test_a_foreign_cursor_gives_nothing_away(person: Person, stranger: Person) -> None:
    thread_id, item_id = a_thread_of(person)
    own_thread, _ = a_thread_of(stranger)

    page = stranger.ask("threads.list", after=thread_id, order="asc")
    assert [thread["id"] for thread in page["data"]] == [own_thread]
    response = stranger.post("items.list", thread_id=own_thread, after=item_id)
    assert response.json()["error"]["code"] == "bad_cursor"


def test_each_sees_only_their_own_threads(server: RunningServer) -> None:
    people = [server.person() for _ in range(3)]
    made = [[person.new_thread() for _ in range(2)] for person in people]

    for person, threads in zip(people, made, strict=True):
        listed = [thread["id"] for thread in person.ask("threads.list", limit=100)["data"]]
        assert listed == threads[::-1]
