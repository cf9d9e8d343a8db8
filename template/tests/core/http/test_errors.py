"""What is wrong with a request is an HTTP status with a code and a sentence, never a trace."""

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
from chatkit.server import ChatKitServer

from app.server import Server

from ..cases import a_thread_of, cases
from ..chat import Person, request, thread_id_of, user_input
from ..fixtures import RunningServer, serve

UNKNOWN = "thr_0190000000007000800000000000beef"


def error_of(response: Any) -> tuple[int, str]:
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message"}
    return response.status_code, body["error"]["code"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"type": "threads.fly", "params": {}}',
        b'{"type": "threads.list"}',
        b'{"type": "threads.create", "params": {"input": {"content": 1}}}',
        b'{"type": "threads.get_by_id", "params": {"thread_id": 7}}',
        b'{"action": "say", "content": "hi"}',
        b'{"type": "threads.get_by_id", "params": {"thread_id": "\xff"}}',
        b'{"type": "threads.get_by_id", "params": {"thread_id": "\\u0000"}}',
        b'{"type": "threads.get_by_id", "params": {"thread_id": "\\\\\\u0000"}}',
    ],
)
def test_a_body_that_is_not_the_protocol_is_400(person: Person, body: bytes) -> None:
    response = person.http.post(
        "/chatkit", content=body, headers={"content-type": "application/json"}
    )
    assert error_of(response) == (400, "invalid_request")


def test_what_only_looks_like_a_nul_is_a_text_like_any_other(person: Person) -> None:
    thread_id = thread_id_of(person.say(text := r"not a \u0000 \\u0000 at all"))
    assert person.items(thread_id)[0]["content"][0]["text"] == text


@pytest.mark.parametrize("limit", [0, -1, -(10**9)])
@pytest.mark.parametrize("kind", ["threads.list", "items.list"])
def test_a_limit_below_one_is_400(person: Person, kind: str, limit: int) -> None:
    thread_id = person.new_thread()
    params = {"thread_id": thread_id} if kind == "items.list" else {}
    assert error_of(person.post(kind, limit=limit, **params)) == (400, "bad_limit")


def test_a_limit_above_100_is_served_as_100(server: RunningServer, person: Person) -> None:
    asked: list[int] = []
    store = server.app.state.server.store
    load_threads = store.load_threads

    async def recorded(limit: int, *rest: Any, **named: Any) -> Any:
        asked.append(limit)
        return await load_threads(limit, *rest, **named)

    store.load_threads = recorded
    try:
        person.ask("threads.list", limit=10**9)
    finally:
        del store.load_threads
    assert asked == [100]


@pytest.mark.parametrize("cursor", ["nonsense", "msg_1", "", UNKNOWN[:-1], "thr_' OR 1=1"])
def test_a_malformed_cursor_is_400(person: Person, cursor: str) -> None:
    thread_id = person.new_thread()
    assert error_of(person.post("threads.list", after=cursor)) == (400, "bad_cursor")
    response = person.post("items.list", thread_id=thread_id, after=cursor)
    assert error_of(response) == (400, "bad_cursor")


def test_a_missing_thread_is_404_before_its_cursor_is_looked_at(person: Person) -> None:
    response = person.post("items.list", thread_id=UNKNOWN, after="nonsense")
    assert error_of(response) == (404, "not_found")


# By the method of the server that answers them; what a level implements has tests of its own.
OPTIONAL = {
    "attachments.create": "attachments",
    "attachments.delete": "attachments",
    "input.transcribe": "transcribe",
    "threads.custom_action": "action",
    "threads.sync_custom_action": "sync_action",
}
MISSING = [
    kind
    for kind, method in OPTIONAL.items()
    if getattr(Server, method, None) is getattr(ChatKitServer, method, None)
]


@pytest.mark.parametrize("kind", MISSING)
def test_what_is_not_implemented_is_400_not_supported(person: Person, kind: str) -> None:
    response = person.http.post("/chatkit", json=cases(*a_thread_of(person))[kind])
    assert error_of(response) == (400, "not_supported")


@pytest.mark.parametrize("kind", ["threads.add_client_tool_output", "threads.add_structured_input"])
def test_an_answer_to_nothing_is_400_and_no_fault_of_the_server(
    person: Person, errors: Callable[[], list[str]], kind: str
) -> None:
    response = person.http.post("/chatkit", json=cases(*a_thread_of(person))[kind])
    assert error_of(response) == (400, "invalid_request")
    assert errors() == []


@pytest.mark.parametrize("kind", ["threads.create", "threads.add_user_message"])
def test_a_missing_attachment_is_404_and_leaves_nothing_behind(person: Person, kind: str) -> None:
    thread_id = person.new_thread()
    params = {} if kind == "threads.create" else {"thread_id": thread_id}
    response = person.post(kind, input=user_input(attachments=["atc_1"]), **params)

    assert error_of(response) == (404, "not_found")
    assert [thread["id"] for thread in person.ask("threads.list")["data"]] == [thread_id]
    assert len(person.items(thread_id)) == 2


def test_a_retry_of_an_unknown_message_is_404(person: Person) -> None:
    thread_id = person.new_thread()
    response = person.post("threads.retry_after_item", thread_id=thread_id, item_id="msg_1")
    assert error_of(response) == (404, "not_found")
    assert len(person.items(thread_id)) == 2


def test_a_foreign_origin_is_403(person: Person) -> None:
    body = request("threads.list")
    for origin in ("https://elsewhere.example", "null", "http://[", "ftp://127.0.0.1", ""):
        response = person.http.post("/chatkit", json=body, headers={"origin": origin})
        assert error_of(response) == (403, "origin_not_allowed"), origin
    own = {"origin": str(person.http.base_url).rstrip("/")}
    assert person.http.post("/chatkit", json=body, headers=own).status_code == 200
    across = own | {"sec-fetch-site": "cross-site"}
    assert person.http.post("/chatkit", json=body, headers=across).status_code == 403


@pytest.mark.parametrize("content_type", ["text/plain", "", "application/x-www-form-urlencoded"])
def test_a_body_that_is_not_json_is_415(person: Person, content_type: str) -> None:
    body = json.dumps(request("threads.list")).encode()
    response = person.http.post("/chatkit", content=body, headers={"content-type": content_type})
    assert error_of(response) == (415, "not_json")


def test_a_body_over_the_limit_is_413_also_in_pieces_of_unknown_number() -> None:
    with serve(max_body_bytes=1000) as server:
        person = server.person()
        assert error_of(person.post("threads.create", input=user_input("x" * 1000)))[0] == 413
        pieces = (b"x" * 100 for _ in range(100))
        headers = {"content-type": "application/json"}
        response = person.http.post("/chatkit", content=pieces, headers=headers)
        assert error_of(response) == (413, "too_large")
        person.new_thread("small enough")


def test_a_body_that_takes_too_long_is_408() -> None:
    with (
        serve(body_timeout=0.2) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=5) as slow,
    ):
        slow.sendall(server.head(100) + b"{")
        answer = slow.recv(10_000)
    assert b" 408 " in answer.splitlines()[0]


SECRET = "postgres://admin:hunter2@db"


@pytest.fixture
def broken(server: RunningServer) -> Any:
    """A store whose every method fails with something that nobody should read."""

    class Broken:
        def __getattr__(self, name: str) -> Any:
            async def fail(*_: Any, **__: Any) -> Any:
                raise RuntimeError(SECRET)

            fails = name.startswith(("load", "save", "add", "delete", "take"))
            return fail if fails else getattr(real, name)

    real, server.app.state.server.store = server.app.state.server.store, Broken()
    yield
    server.app.state.server.store = real


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("kind", ["threads.list", "threads.create", "threads.add_user_message"])
def test_the_unforeseen_is_500_with_a_request_id_that_the_log_has(
    person: Person, errors: Callable[[], list[str]], kind: str
) -> None:
    response = person.http.post("/chatkit", json=cases(UNKNOWN, "msg_1")[kind])

    assert error_of(response) == (500, "internal_error")
    reference = response.json()["error"]["message"].rpartition(" ")[2]
    assert [line for line in errors() if reference in line]
    assert SECRET not in response.text + "".join(errors())


def test_a_failure_after_the_first_event_is_an_event_and_a_clean_end(
    server: RunningServer, person: Person, errors: Callable[[], list[str]]
) -> None:
    store = server.app.state.server.store

    async def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError(SECRET)

    store.add_thread_item = fail
    try:
        events = person.say("Hello")
    finally:
        del store.add_thread_item
    assert events[-1]["type"] == "error"
    assert events[-1]["allow_retry"]
    assert SECRET not in json.dumps(events) + "".join(errors())
