"""A Stop, a lost connection, a reader that stops reading and a silent model: nothing is lost."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import pytest
from chatkit import types as ck

from app.core.chat_server import BaseServer
from app.core.context import RequestContext
from app.core.http.streaming import ResponseTask
from app.core.store import open_store

from ..cases import a_thread_of, cases
from ..chat import Person, events_of, request, user_input
from ..fixtures import RunningServer, serve, wait_until

ADDING = {
    "threads.add_user_message",
    "threads.retry_after_item",
    "threads.add_client_tool_output",
    "threads.add_structured_input",
}


class Talker(BaseServer):
    """Says `word` again and again, and counts how often it was made to."""

    produced, pause, word = 0, 0.01, "word "
    asker: RequestContext
    thread_id = ""

    async def respond(
        self, thread: ck.ThreadMetadata, message: ck.UserMessageItem | None, context: RequestContext
    ) -> AsyncIterator[ck.ThreadStreamEvent]:
        self.asker, self.thread_id = context, thread.id
        item_id = self.store.generate_item_id("message", thread, context)
        now = datetime.now()
        item = ck.AssistantMessageItem(id=item_id, thread_id=thread.id, created_at=now, content=[])
        yield ck.ThreadItemAddedEvent(item=item)
        for _ in range(1000):
            await asyncio.sleep(self.pause)
            self.produced += 1
            delta = ck.AssistantMessageContentPartTextDelta(content_index=0, delta=self.word)
            yield ck.ThreadItemUpdatedEvent(item_id=item_id, update=delta)


@pytest.fixture
def talking() -> Iterator[tuple[RunningServer, Talker]]:
    """A server that talks, over a store that waits 50 ms in each call."""
    with serve(stream_heartbeat=0.1) as server:
        state = server.app.state
        talker = state.server = Talker(state.server.store, state.settings)
        for name in ("add_thread_item", "save_thread", "load_thread", "load_thread_items"):
            setattr(talker.store, name, slow(getattr(talker.store, name)))
        yield server, talker


def slow(method: Any, seconds: float = 0.05) -> Any:
    async def waiting(*args: Any, **named: Any) -> Any:
        await asyncio.sleep(seconds)
        return await method(*args, **named)

    return waiting


def leave_after(person: Person, wanted: Callable[[dict[str, Any]], bool]) -> str:
    """Open a stream, read until an event is `wanted`, close the connection. The thread's id."""
    body = request("threads.create", input=user_input())
    with person.http.stream("POST", "/chatkit", json=body) as response:
        thread_id = ""
        for event in events_of(response):
            thread_id = thread_id or event["thread"]["id"]
            if wanted(event):
                break
    return thread_id


def marker_is_stored(server: RunningServer, context: RequestContext, thread_id: str) -> bool:
    """Whether the thread ends with the SDK's hidden note that the person stopped the answer."""
    page = server.store.load_thread_items(thread_id, None, 1, "desc", context)
    return bool([item for item in server.run(page).data if item.type == "sdk_hidden_context"])


def test_a_stop_keeps_what_was_said_and_ends_the_model(
    talking: tuple[RunningServer, Talker], errors: Callable[[], list[str]]
) -> None:
    server, talker = talking
    person = server.person()
    context, before = server.context_of(person), server.tasks()

    thread_id = leave_after(person, lambda _: talker.produced >= 5)
    wait_until(lambda: marker_is_stored(server, context, thread_id))
    produced = talker.produced

    user, said = person.items(thread_id)
    assert user["type"] == "user_message"
    assert said["content"][0]["text"] == talker.word * produced
    assert produced < 100
    wait_until(lambda: server.tasks() == before)
    assert talker.produced == produced
    assert errors() == []


def test_a_stop_before_the_answer_begins_keeps_the_persons_message(
    talking: tuple[RunningServer, Talker],
) -> None:
    server, _ = talking
    person = server.person()
    context = server.context_of(person)

    thread_id = leave_after(person, lambda event: event["type"] == "thread.created")
    wait_until(lambda: marker_is_stored(server, context, thread_id))
    assert person.items(thread_id)[0]["type"] == "user_message"


def test_a_stop_while_the_first_event_waits_lands_inside_the_turn() -> None:
    """Else the SDK's generator would be closed outside of what persists a stopped answer."""
    seen: list[str] = []

    async def events() -> AsyncIterator[bytes]:
        try:
            yield b'data: {"type":"stream_options"}\n\n'
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def run() -> None:
        turn = ResponseTask(events())
        assert await turn.first()
        turn.stop()
        await asyncio.wait({turn.task}, timeout=1)

    asyncio.run(run())
    assert seen == ["cancelled"]


def test_a_thread_goes_on_after_a_stop(talking: tuple[RunningServer, Talker]) -> None:
    server, _ = talking
    person = server.person()
    context = server.context_of(person)
    thread_id = leave_after(person, lambda event: event["type"] == "thread.item.updated")
    wait_until(lambda: marker_is_stored(server, context, thread_id))

    body = request("threads.add_user_message", thread_id=thread_id, input=user_input("Again"))
    with person.http.stream("POST", "/chatkit", json=body) as response:
        kinds = [event["type"] for event, _ in zip(events_of(response), range(3), strict=False)]
    assert kinds == ["thread.item.done", "stream_options", "thread.item.added"]


@pytest.mark.parametrize(("limit", "other"), [("MAX_LAG", "MAX_STALL"), ("MAX_STALL", "MAX_LAG")])
def test_a_client_that_stops_reading_is_stopped_like_one_that_left(
    talking: tuple[RunningServer, Talker],
    errors: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    other: str,
) -> None:
    """Either limit is enough: what waits to be sent, and the time that one send takes."""
    monkeypatch.setattr(f"app.core.http.streaming.{limit}", 0.3)
    monkeypatch.setattr(f"app.core.http.streaming.{other}", 3600)
    server, talker = talking
    talker.word, talker.pause = "x" * 100_000, 0.0
    before = server.tasks()
    body = json.dumps(request("threads.create", input=user_input())).encode()
    with socket.create_connection(("127.0.0.1", server.port)) as reader:
        reader.sendall(server.head(len(body)) + body)
        wait_until(lambda: talker.produced)
        wait_until(lambda: marker_is_stored(server, talker.asker, talker.thread_id), 30)
        assert talker.produced < 1000
        # Though the reader still holds its end, nothing is left of it here.
        wait_until(lambda: server.tasks() == before)
        wait_until(lambda: server.connections() == 0)
    assert errors() == []


def test_a_silent_model_is_bridged_by_comments(talking: tuple[RunningServer, Talker]) -> None:
    server, talker = talking
    talker.pause = 0.4
    body = request("threads.create", input=user_input())
    comments, begun = 0, time.monotonic()
    with server.person().http.stream("POST", "/chatkit", json=body) as response:
        for line in response.iter_lines():
            comments += line.startswith(":")
            if "text_delta" in line:
                break
    # One for each tenth of a second, of which a busy machine takes more than the model's four.
    assert 2 <= comments <= 1 + (time.monotonic() - begun) / 0.1


def test_what_is_ready_together_leaves_together_and_in_order() -> None:
    with serve() as server:
        state = server.app.state
        talker = state.server = Talker(state.server.store, state.settings)
        talker.pause = 0.0
        body = request("threads.create", input=user_input())
        with server.person().http.stream("POST", "/chatkit", json=body) as response:
            chunks = [chunk for chunk in response.iter_raw() if chunk]
    first, rest = chunks[0], b"".join(chunks[1:])
    assert first.count(b"data: ") == 1  # nothing waits for company at the start
    assert rest.count(b"text_delta") == 1000
    assert len(chunks) < 500


def test_a_running_turn_is_stored_before_a_shutdown_closes_the_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_the_end: list[str] = []

    @asynccontextmanager
    async def watched(given: Any) -> AsyncIterator[Any]:
        async with open_store(given) as store:
            yield store
            page = await store.load_thread_items(talker.thread_id, None, 10, "asc", talker.asker)
            at_the_end.extend(item.type for item in page.data)

    monkeypatch.setattr("app.core.application.open_store", watched)
    with serve() as server:
        state = server.app.state
        talker = state.server = Talker(state.server.store, state.settings)
        state.server.store.add_thread_item = slow(state.server.store.add_thread_item, 0.2)
        server._uvicorn.config.timeout_graceful_shutdown = 0  # the turn does not end by itself
        body = request("threads.create", input=user_input())
        with server.person().http.stream("POST", "/chatkit", json=body) as response:
            for event in events_of(response):
                if event["type"] == "thread.item.updated":
                    break
            server.stop()
    assert at_the_end == ["user_message", "assistant_message", "sdk_hidden_context"]


@pytest.mark.parametrize("status", [ck.LockedStatus(reason="Since May."), ck.ClosedStatus()])
@pytest.mark.parametrize("kind", sorted(ADDING))
def test_a_thread_that_is_not_active_takes_nothing_and_loses_nothing(
    server: RunningServer, person: Person, kind: str, status: ck.ThreadStatus
) -> None:
    thread_id, message_id = a_thread_of(person)
    context = server.context_of(person)
    thread = server.run(server.store.load_thread(thread_id, context))
    thread.status = status
    server.run(server.store.save_thread(thread, context))
    before = person.items(thread_id)

    response = person.http.post("/chatkit", json=cases(thread_id, message_id)[kind])
    [error] = list(events_of(response))
    told = getattr(status, "reason", None) or "This conversation is closed."
    assert error == {"type": "error", "code": "custom", "message": told, "allow_retry": False}
    assert person.items(thread_id) == before
    person.ask("threads.update", thread_id=thread_id, title="Still mine to name")


def test_a_burst_does_not_cut_a_reader_who_reads() -> None:
    with serve() as server:
        state = server.app.state
        talker = state.server = Talker(state.server.store, state.settings)
        talker.pause, talker.word = 0.0, "x" * 6_000
        body = request("threads.create", input=user_input())
        with server.person().http.stream("POST", "/chatkit", json=body) as response:
            received = sum(event["type"] == "thread.item.updated" for event in events_of(response))
    assert received == 1000


def test_a_cancellation_that_nobody_asked_for_is_told(
    server: RunningServer, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cancelled(*_: Any, **__: Any) -> AsyncIterator[ck.ThreadStreamEvent]:
        yield ck.ProgressUpdateEvent(text="so far")
        raise asyncio.CancelledError

    monkeypatch.setattr(type(server.app.state.server), "respond", cancelled)
    events = person.say("Hello")
    assert events[-1]["type"] == "error"
    assert events[-1]["allow_retry"]
