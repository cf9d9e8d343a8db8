"""Nobody reaches what is another's: for every request type, foreign and missing look the same."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from chatkit import types as ck
from chatkit.store import AttachmentStore

from app.core.context import RequestContext
from app.core.store.base import BaseStore

from ..auth_styles import newcomer, nobody
from ..cases import a_thread_of, cases, request_types
from ..chat import Json, Person, request, user_input
from ..fixtures import RunningServer

# What makes or lists one's own things has no id of another's to try.
OWN = {"threads.create", "threads.list", "attachments.create", "input.transcribe"}

STRANGER, SAME_USER, COLLEAGUE = (
    "a stranger",
    "the same user in another organisation",
    "a colleague",
)
# Visitors have neither names nor organisations: all of them are strangers.
APART = [STRANGER, SAME_USER, COLLEAGUE] if nobody else [STRANGER]


def two_people(server: RunningServer, apart: str) -> tuple[Person, Person]:
    """Two callers who have nothing in common that the server may go by."""
    user, org = uuid4().hex, uuid4().hex
    others = {SAME_USER: newcomer(user, "another"), COLLEAGUE: newcomer("another", org)}
    other = others.get(apart) or newcomer()
    return Person(server.url, **newcomer(user, org)), Person(server.url, **other)


@pytest.fixture(params=APART)
def two(server: RunningServer, request: pytest.FixtureRequest) -> tuple[Person, Person]:
    return two_people(server, request.param)


@dataclass
class TwoWithThreads:
    """Such two who have a thread each, and what each has."""

    person: Person
    ids: tuple[str, str]  # of the person's thread, and of a message in it
    stranger: Person
    server: RunningServer

    def __post_init__(self) -> None:
        self.owners = [self.server.context_of(each) for each in (self.person, self.stranger)]
        self.things = self.all_things()

    def all_things(self) -> list[Any]:
        """The thread of each and its items as the store has them, hidden ones too."""

        async def read() -> list[Any]:
            found, store = list[Any](), self.server.store
            for owner in self.owners:
                [thread] = (await store.load_threads(100, None, "asc", owner)).data
                items = await store.load_thread_items(thread.id, None, 100, "asc", owner)
                found.append((thread, items.data))
            return found

        things: list[Any] = self.server.run(read())
        return things


@pytest.fixture(scope="module", params=APART)
def two_with_threads(server: RunningServer, request: pytest.FixtureRequest) -> TwoWithThreads:
    person, stranger = two_people(server, request.param)
    stranger.new_thread()
    return TwoWithThreads(person, a_thread_of(person), stranger, server)


@pytest.fixture
def person(two: tuple[Person, Person]) -> Person:
    return two[0]


@pytest.fixture
def stranger(two: tuple[Person, Person]) -> Person:
    return two[1]


NAMES_OF_ONE_REQUEST = {"date", "x-request-id", "set-cookie"}
Answer = tuple[int, list[tuple[str, str]], bytes]


class Attachments(AttachmentStore[RequestContext]):
    """Keeps only what the project's store keeps: whose an attachment is, and its metadata."""

    def __init__(self, store: BaseStore) -> None:
        self.store, self.deleted = store, list[str]()

    async def create_attachment(
        self, input: ck.AttachmentCreateParams, context: RequestContext
    ) -> ck.Attachment:
        made = ck.FileAttachment(
            id=self.generate_attachment_id(input.mime_type, context),
            name=input.name,
            mime_type=input.mime_type,
        )
        await self.store.save_attachment(made, context=context)
        return made

    async def delete_attachment(self, attachment_id: str, context: RequestContext) -> None:
        self.deleted.append(attachment_id)


@pytest.fixture
def attachments(server: RunningServer) -> Iterator[Attachments]:
    """A server that takes attachments, and where they lie."""
    server.app.state.server.attachment_store = kept = Attachments(server.store)
    yield kept
    server.app.state.server.attachment_store = None


def ask(person: Person, body: Json) -> Answer:
    """Everything that the person is told, but for the names that a single request has."""
    response = person.http.post("/chatkit", json=body)
    headers = [pair for pair in response.headers.items() if pair[0] not in NAMES_OF_ONE_REQUEST]
    return response.status_code, sorted(headers), response.content


def everything_of(person: Person) -> list[Json]:
    threads = person.ask("threads.list", limit=100, order="asc")["data"]
    return [{**thread, "items": person.items(thread["id"])} for thread in threads]


@pytest.mark.parametrize("kind", sorted(request_types() - OWN))
def test_what_is_foreign_is_answered_byte_for_byte_like_what_is_missing_and_is_not_changed(
    two_with_threads: TwoWithThreads, attachments: Attachments, kind: str
) -> None:
    person, stranger = two_with_threads.person, two_with_threads.stranger
    about = {"name": "a.txt", "size": 1, "mime_type": "text/plain"}
    attachment = person.ask("attachments.create", **about)["id"]

    foreign = ask(stranger, cases(*two_with_threads.ids, attachment)[kind])
    nothing = ("thr_" + "0" * 32, "msg_" + "0" * 32, "atc_" + "0" * 32)
    missing = ask(stranger, cases(*nothing)[kind])
    assert foreign == missing
    assert foreign[0] in (400, 404)
    assert two_with_threads.all_things() == two_with_threads.things
    assert attachments.deleted == []
    person.ask("attachments.delete", attachment_id=attachment)
    assert attachments.deleted == [attachment]  # it was still there


@pytest.mark.parametrize("kind", ["threads.create", "threads.add_user_message"])
def test_a_foreign_attachment_is_not_sent_along(
    person: Person, stranger: Person, attachments: Attachments, kind: str
) -> None:
    about = {"name": "a.txt", "size": 1, "mime_type": "text/plain"}
    attachment = person.ask("attachments.create", **about)["id"]
    own_thread = {} if kind == "threads.create" else {"thread_id": stranger.new_thread()}
    before = everything_of(stranger)

    def sending(attachment: str) -> Answer:
        given = user_input(attachments=[attachment])
        return ask(stranger, request(kind, **own_thread, input=given))

    assert sending(attachment) == sending("atc_" + "0" * 32)
    assert sending(attachment)[0] == 404
    assert everything_of(stranger) == before


@pytest.mark.parametrize("kind", ["threads.retry_after_item", "items.feedback"])
def test_a_foreign_item_is_not_reached_through_ones_own_thread(
    person: Person, stranger: Person, kind: str
) -> None:
    thread_id, item_id = a_thread_of(person)
    own_thread, _ = a_thread_of(stranger)

    foreign = ask(stranger, cases(own_thread, item_id)[kind])
    assert foreign == ask(stranger, cases(own_thread, "msg_" + "0" * 32)[kind])
    assert foreign[0] == 404
    assert len(person.items(thread_id)) == 2


def test_a_foreign_cursor_gives_nothing_away(person: Person, stranger: Person) -> None:
    thread_id, item_id = a_thread_of(person)
    own_thread, _ = a_thread_of(stranger)

    page = stranger.ask("threads.list", after=thread_id, order="asc")
    assert [thread["id"] for thread in page["data"]] == [own_thread]
    made_up = item_id[:-4] + ("0000" if item_id[-4:] != "0000" else "0001")
    pages = [
        stranger.ask("items.list", thread_id=own_thread, after=after)
        for after in (item_id, made_up)
    ]
    assert pages[0] == pages[1]  # as an id that nothing ever had


def test_each_sees_only_their_own_threads(server: RunningServer) -> None:
    people = [server.person() for _ in range(3)]
    made = [[person.new_thread() for _ in range(2)] for person in people]

    for person, threads in zip(people, made, strict=True):
        listed = [thread["id"] for thread in person.ask("threads.list", limit=100)["data"]]
        assert listed == threads[::-1]
