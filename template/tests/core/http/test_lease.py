"""One running turn per thread: what a second one meets, and what a turn that lost its thread
does.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from chatkit.types import ThreadMetadata

from app.core.context import RequestContext
from app.core.lease import TurnLease
from app.core.store import open_store
from app.core.store.base import BaseStore, Lease, begin_request

from ..chat import Json, Person, events_of, request, thread_id_of, user_input
from ..fixtures import RunningServer, serve, settings, wait_until
from .test_stop import Talker

BUSY = "Another answer in this conversation is still being written. Please try again after it."
LOST = "This conversation went on elsewhere. Reload it to see how."


class Listener:
    """Somebody who reads the stream of one request in a thread of their own."""

    def __init__(self, person: Person, kind: str, /, **params: Any) -> None:
        self.person, self.body = person, request(kind, **params)
        self.events: list[Json] = []
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self.person.http.stream("POST", "/chatkit", json=self.body) as response:
            for event in events_of(response):
                self.events.append(event)
                if self._leave.is_set():
                    return

    @property
    def thread_id(self) -> str:
        wait_until(lambda: self.events)
        return thread_id_of(self.events)

    def stop(self) -> None:
        self._leave.set()
        self.wait()

    def wait(self) -> list[Json]:
        self._thread.join(20)
        assert not self._thread.is_alive(), "the stream did not end"
        return self.events


def talking(**values: Any) -> Iterator[tuple[RunningServer, Talker]]:
    with serve(**values) as server:
        state = server.app.state
        talker = state.server = Talker(state.server.store, state.settings)
        yield server, talker


@pytest.fixture
def brief() -> Iterator[tuple[RunningServer, Talker]]:
    """A server where a lease is short and a second turn waits only for a moment."""
    yield from talking(turn_wait=0.3, turn_lease=0.6)


@pytest.fixture
def patient() -> Iterator[tuple[RunningServer, Talker]]:
    yield from talking(turn_wait=10, turn_lease=5)


def is_speaking(listener: Listener) -> bool:
    return any(event["type"] == "thread.item.updated" for event in listener.events)


@pytest.mark.parametrize("kind", ["threads.create", "threads.add_user_message"])
def test_a_second_turn_ends_with_words_that_the_person_can_read(
    brief: tuple[RunningServer, Talker], kind: str
) -> None:
    server, talker = brief
    person, params = server.person(), {}
    if kind == "threads.add_user_message":
        first = Listener(person, "threads.create", input=user_input())
        wait_until(lambda: is_speaking(first))
        first.stop()
        params = {"thread_id": first.thread_id}
        talker.produced = 0
    first = Listener(person, kind, input=user_input(), **params)
    wait_until(lambda: is_speaking(first))
    thread_id = talker.thread_id

    events = person.say("Me too", thread_id)
    assert events == [{"type": "error", "code": "custom", "message": BUSY, "allow_retry": True}]
    assert is_speaking(first)
    items = server.stored(person, thread_id)
    assert "Me too" not in str(items)
    first.stop()


def test_a_turn_that_outlasts_its_lease_keeps_it(brief: tuple[RunningServer, Talker]) -> None:
    server, talker = brief
    talker.pause = 0.05
    first = Listener(server.person(), "threads.create", input=user_input())
    wait_until(lambda: talker.produced > 25)  # twice as long as a lease
    assert first.person.say("Me too", first.thread_id)[0]["message"] == BUSY
    first.stop()


def test_what_follows_a_stop_waits_for_it_and_then_just_works(
    patient: tuple[RunningServer, Talker],
) -> None:
    server, _ = patient
    person = server.person()
    first = Listener(person, "threads.create", input=user_input())
    wait_until(lambda: is_speaking(first))
    second = Listener(
        person, "threads.add_user_message", thread_id=first.thread_id, input=user_input("Second")
    )
    first.stop()
    wait_until(lambda: is_speaking(second))
    second.stop()
    kinds = [item.type for item in server.stored(person, first.thread_id)]
    assert kinds[:4] == ["user_message", "assistant_message", "sdk_hidden_context", "user_message"]


def test_reading_listing_and_renaming_are_never_blocked(
    brief: tuple[RunningServer, Talker],
) -> None:
    server, _ = brief
    person = server.person()
    first = Listener(person, "threads.create", input=user_input())
    wait_until(lambda: is_speaking(first))
    thread_id = first.thread_id

    person.ask("threads.update", thread_id=thread_id, title="Renamed")
    assert person.ask("threads.get_by_id", thread_id=thread_id)["title"] == "Renamed"
    assert person.ask("threads.list")["data"][0]["title"] == "Renamed"
    assert person.items(thread_id)[0]["type"] == "user_message"
    first.stop()
    wait_until(lambda: len(server.stored(person, thread_id)) == 3)
    assert person.ask("threads.get_by_id", thread_id=thread_id)["title"] == "Renamed"


def test_deleting_a_thread_ends_the_turn_that_writes_it(
    brief: tuple[RunningServer, Talker], errors: Callable[[], list[str]]
) -> None:
    server, talker = brief
    talker.pause = 0.05
    person = server.person()
    first = Listener(person, "threads.create", input=user_input())
    wait_until(lambda: is_speaking(first))
    person.ask("threads.delete", thread_id=first.thread_id)
    assert first.wait()[-1]["type"] == "error"
    assert talker.produced < 100
    assert person.ask("threads.list")["data"] == []
    assert errors() == []


@pytest.mark.parametrize("fault", ["taken over", "out of reach"])
def test_a_turn_that_cannot_renew_its_lease_stops(
    brief: tuple[RunningServer, Talker],
    errors: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    server, talker = brief
    person = server.person()

    async def renew_lease(*_: Any) -> bool:
        if fault == "out of reach":
            raise OSError
        return False

    monkeypatch.setattr(server.store, "renew_lease", renew_lease)
    talker.pause = 0.02
    first = Listener(person, "threads.create", input=user_input())
    last = first.wait()[-1]
    assert last == {"type": "error", "code": "custom", "message": LOST, "allow_retry": False}
    produced = talker.produced
    assert produced < 200
    monkeypatch.undo()
    server.run(server.store.load_threads(1, None, "desc", talker.asker))
    assert talker.produced == produced
    assert errors() == []


def test_a_renewal_that_is_on_its_way_does_not_outlive_the_turn(
    brief: tuple[RunningServer, Talker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancelled statement may have reached the database all the same."""
    server, _ = brief
    renew, on_its_way = server.store.renew_lease, threading.Event()

    async def renew_lease(*asked: Any) -> bool:
        on_its_way.set()
        try:
            await asyncio.sleep(60)
        finally:
            on_its_way.clear()
            await renew(*asked)
        return True

    monkeypatch.setattr(server.store, "renew_lease", renew_lease)
    person = server.person()
    first = Listener(person, "threads.create", input=user_input())
    on_its_way.wait(10)
    first.stop()
    monkeypatch.undo()
    wait_until(lambda: not server.app.state.turns)
    second = Listener(
        person, "threads.add_user_message", thread_id=first.thread_id, input=user_input("Next")
    )
    wait_until(lambda: second.events)
    assert not second.events[0].get("message", "").startswith(BUSY)
    second.stop()


def test_a_turn_that_another_overtook_adds_nothing(
    patient: tuple[RunningServer, Talker], errors: Callable[[], list[str]]
) -> None:
    """As after a process was stopped for so long that its lease expired."""
    server, _ = patient
    person = server.person()
    first = Listener(person, "threads.create", input=user_input())
    wait_until(lambda: is_speaking(first))
    thread_id, context = first.thread_id, server.context_of(person)

    server.run(server.store.renew_lease(thread_id, 1, -1, context))  # it has expired
    _, generation = server.run(server.store.take_lease(thread_id, 9, context))
    assert generation == 2
    first.stop()  # what it would store of its answer is refused
    server.run(server.store.release_lease(thread_id, generation, context))
    second = Listener(
        person, "threads.add_user_message", thread_id=thread_id, input=user_input("Next")
    )
    wait_until(lambda: is_speaking(second))
    kinds = [item.type for item in server.stored(person, thread_id)]
    assert kinds == ["user_message", "user_message"]
    second.stop()
    assert errors() == []


def test_a_turn_that_is_stopped_at_any_moment_gives_its_lease_back() -> None:
    """Also in its last one, when the answer is whole and the lease is on its way back."""
    context = RequestContext(user_id="ada")

    async def words() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"word"
            await asyncio.sleep(0)

    async def cancelled_after(resumed: int, store: BaseStore, thread_id: str) -> bool:
        turn = TurnLease(store, Lease(30.0), context)
        assert await turn.take(thread_id, 0) is None, f"the one stopped before has it: {resumed}"

        async def answer() -> None:
            async for _ in turn.hold(words()):
                pass

        task = asyncio.create_task(answer())
        for _ in range(resumed):
            await asyncio.sleep(0)
        ended = task.done()
        task.cancel()
        await asyncio.wait({task})
        return ended

    async def every_moment() -> None:
        async with open_store(settings()) as store:
            begin_request()
            thread_id = store.generate_thread_id(context)
            new = ThreadMetadata(id=thread_id, created_at=datetime.now())
            await store.save_thread(new, context)
            resumed = 1
            while not await cancelled_after(resumed, store, thread_id):
                resumed += 1
            assert resumed > 3

    asyncio.run(every_moment())
