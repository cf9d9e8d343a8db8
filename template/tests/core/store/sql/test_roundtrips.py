"""What a turn asks of the database: what the SDK asks of its store, and the lease."""

import json
from collections.abc import Awaitable, Callable, Iterator
from importlib.util import find_spec
from typing import Any

import pytest
from chatkit import types as ck
from chatkit.server import ChatKitServer, StreamingResult
from chatkit.store import Store

from app.core.store.base import BaseStore, begin_request

from ...cases import cases
from ...chat import Json
from ...fixtures import RunningServer, serve
from ...stores import counted
from ..test_store import ME, a_thread, message, with_store

# Round trips beside the SDK's own: a lease taken and given back. A new thread's is taken as it is
# saved. (A renewal is one more, for turns that outlast a third of TURN_LEASE.)
LEASE = {"threads.create": 1, "threads.add_user_message": 2, "threads.retry_after_item": 2}
USAGE = (
    find_spec("app.core.production") is not None
)  # one more where it is counted, which production does


class Watched:
    """A server, and what its store and its database were asked for."""

    def __init__(self, server: RunningServer, sent: list[str]) -> None:
        self.server, self.sent, self.calls = server, sent, list[str]()
        for name in Store.__abstractmethods__:
            setattr(server.store, name, self._noting(name, getattr(server.store, name)))
        self.person = server.person()
        self.context = server.context_of(self.person)

    def _noting(self, name: str, method: Any) -> Any:
        async def noting(*args: Any, **named: Any) -> Any:
            self.calls.append(name)
            return await method(*args, **named)

        return noting

    def forget(self) -> None:
        self.calls.clear()
        self.sent.clear()

    def bare_turn(self, body: Json) -> list[bytes]:
        """A turn's events where nothing acts but the SDK and `respond`."""

        async def turn() -> list[bytes]:
            begin_request()
            server = self.server.app.state.server
            result = await ChatKitServer.process(server, json.dumps(body).encode(), self.context)
            assert isinstance(result, StreamingResult)
            return [event async for event in result]

        self.forget()
        events: list[bytes] = self.server.run(turn())
        return events

    def turn(self, body: Json) -> list[Json]:
        """The same over HTTP."""
        self.forget()
        return self.person.stream(body["type"], **body["params"])


@pytest.fixture(scope="module")
def watched(_clean_environment: None) -> Iterator[Watched]:
    with counted() as sent, serve() as server:
        yield Watched(server, sent)


def message_in_a_thread(watched: Watched) -> tuple[str, str]:
    thread_id = watched.person.new_thread()
    return thread_id, watched.person.items(thread_id)[0]["id"]


@pytest.mark.parametrize("kind", LEASE)
def test_a_turn_makes_the_sdks_round_trips_and_those_of_its_lease(
    watched: Watched, kind: str
) -> None:
    bare = cases(*message_in_a_thread(watched))[kind]
    guarded = cases(*message_in_a_thread(watched))[kind]

    assert len(watched.bare_turn(bare)) > 3
    asked = list(watched.calls)
    assert asked.count("add_thread_item") >= 1
    assert len(watched.sent) == len(asked), "\n".join(watched.sent)

    assert len(watched.turn(guarded)) > 3
    assert sorted(watched.calls) == sorted(asked)
    assert len(watched.sent) == len(asked) + LEASE[kind] + USAGE, "\n".join(watched.sent)


def test_what_is_no_turn_takes_no_lease(watched: Watched) -> None:
    thread_id, _ = message_in_a_thread(watched)
    watched.forget()
    watched.person.ask("threads.get_by_id", thread_id=thread_id)
    watched.person.ask("threads.list")
    assert watched.calls == ["load_thread", "load_thread_items", "load_threads"]
    assert len(watched.sent) == 3, "\n".join(watched.sent)


def test_every_method_of_a_store_is_one_round_trip() -> None:
    async def check(store: BaseStore) -> None:
        thread, file = a_thread(), ck.FileAttachment(id="f", name="n", mime_type="m")
        item, after = message(thread), message(thread)
        calls: dict[str, Callable[[], Awaitable[Any]]] = {
            "save_thread": lambda: store.save_thread(thread, ME),
            "load_thread": lambda: store.load_thread(thread.id, ME),
            "add_thread_item": lambda: store.add_thread_item(thread.id, item, ME),
            "save_item": lambda: store.save_item(thread.id, after, ME),
            "load_item": lambda: store.load_item(thread.id, item.id, ME),
            "load_threads": lambda: store.load_threads(1, thread.id, "desc", ME),
            "load_thread_items": lambda: store.load_thread_items(thread.id, item.id, 1, "asc", ME),
            "take_lease": lambda: store.take_lease(thread.id, 9, ME),
            "renew_lease": lambda: store.renew_lease(thread.id, 1, 9, ME),
            "release_lease": lambda: store.release_lease(thread.id, 1, ME),
            "save_attachment": lambda: store.save_attachment(file, ME),
            "load_attachment": lambda: store.load_attachment("f", ME),
            "delete_attachment": lambda: store.delete_attachment("f", ME),
            "delete_thread_item": lambda: store.delete_thread_item(thread.id, item.id, ME),
            "delete_thread": lambda: store.delete_thread(thread.id, ME),
        }
        assert set(calls) >= Store.__abstractmethods__
        for name, call in calls.items():
            with counted() as sent:
                await call()
            assert len(sent) == 1, name

    with_store(check)
