"""The log tells of each request in one line, and of nobody's words."""

import asyncio
import gc
import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import structlog

from app.core.errors import StoreUnavailable
from app.core.logs import configure_logging

from .. import auth_styles as people
from .. import stores
from ..cases import a_thread_of, cases
from ..chat import Json, Person, events_of, request, user_input
from ..fixtures import RunningServer, serve, wait_until

SECRET = "hunter2-sesame"
LIVE: Json = {"app_env": "production", "model": "offline"} | people.LIVE | stores.LIVE


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a process writes to stderr, as people read it: pytest has a log of its own."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr(sys, "stderr", written := io.StringIO())
    configure_logging("DEBUG", as_json=False)
    return written


def lines_of(log: io.StringIO) -> list[Json]:
    """The lines of requests, as production writes them."""
    every = [json.loads(line) for line in log.getvalue().splitlines() if line[:1] == "{"]
    return [line for line in every if line["event"] == "request"]


@pytest.fixture
def live(log: io.StringIO) -> Iterator[RunningServer]:
    with serve(log_level="INFO", **LIVE) as server:
        yield server


def test_a_request_is_one_line_that_says_whose_and_what_and_how(
    live: RunningServer, log: io.StringIO
) -> None:
    answer = live.person().post("threads.list")
    asked = answer.headers["x-request-id"]
    wait_until(lambda: asked in log.getvalue())
    [line] = [one for one in lines_of(log) if one["request_id"] == asked]  # others may be ending
    assert line.pop("timestamp")
    assert 0 < line.pop("seconds") < 20
    assert line.pop("owner")
    assert line == {
        "event": "request",
        "level": "info",
        "logger": "app",
        "request_id": asked,
        "operation": "threads.list",
        "status": 200,
    }


def test_a_streams_line_comes_at_its_end_with_its_thread(
    live: RunningServer, log: io.StringIO
) -> None:
    events = live.person().say("Hello")
    wait_until(lambda: lines_of(log))
    [line] = lines_of(log)
    assert (line["operation"], line["ended"]) == ("threads.create", "done")
    assert line["thread_id"] == events[0]["thread"]["id"]


def test_how_a_stream_ended_is_told(
    live: RunningServer, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering = live.app.state.server

    async def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError(SECRET)
        yield

    async def wait(*_: Any, **__: Any) -> Any:
        await asyncio.sleep(60)
        yield

    monkeypatch.setattr(answering, "respond", fail)
    live.person().say("Hello")
    monkeypatch.setattr(answering, "respond", wait)
    body = request("threads.create", input=user_input())
    with live.person().http.stream("POST", "/chatkit", json=body) as response:
        next(events_of(response))
    wait_until(lambda: len(lines_of(log)) == 2)
    assert [line["ended"] for line in lines_of(log)] == ["failed", "stopped"]
    failed = json.loads(
        next(line for line in log.getvalue().splitlines() if "RuntimeError" in line)
    )
    assert failed["request_id"] == lines_of(log)[0]["request_id"]
    assert failed["request_id"] in failed["event"]


def test_an_answer_that_cannot_be_stored_has_failed(
    live: RunningServer, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = live.app.state.server.store
    add = store.add_thread_item

    async def fail(thread_id: str, item: Any, context: Any) -> None:
        if item.type == "assistant_message":
            raise StoreUnavailable
        await add(thread_id, item, context)

    monkeypatch.setattr(store, "add_thread_item", fail)
    assert live.person().say("Hello")[-1]["type"] == "error"
    wait_until(lambda: lines_of(log))
    assert lines_of(log)[0]["ended"] == "failed"


def test_a_turn_that_lost_its_thread_has_failed(
    live: RunningServer, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_: Any) -> bool:
        return False

    async def wait(*_: Any, **__: Any) -> Any:
        await asyncio.sleep(60)
        yield

    answering = live.app.state.server
    monkeypatch.setattr(answering.settings, "turn_lease", 0.3)
    monkeypatch.setattr(answering.store, "renew_lease", lost)
    monkeypatch.setattr(answering, "respond", wait)
    assert live.person().say("Hello")[-1]["type"] == "error"
    wait_until(lambda: lines_of(log))
    assert lines_of(log)[0]["ended"] == "failed"


@pytest.mark.parametrize(
    ("method", "path", "operation", "status"),
    [
        ("GET", f"/{SECRET}?{SECRET}", "unknown", 404),
        ("PUT", f"/chatkit?{SECRET}", "/chatkit", 405),
        ("POST", f"/chatkit?{SECRET}", "/chatkit", 415),
    ],
)
def test_what_is_refused_has_its_line_too(
    live: RunningServer, log: io.StringIO, method: str, path: str, operation: str, status: int
) -> None:
    live.person().http.request(method, path)
    wait_until(lambda: lines_of(log))
    [line] = lines_of(log)
    assert (line["operation"], line["status"]) == (operation, status)
    assert SECRET not in log.getvalue()


def test_a_probe_that_goes_well_is_not_worth_a_line(live: RunningServer, log: io.StringIO) -> None:
    http = live.person().http
    assert http.get("/health").status_code == http.get("/ready").status_code == 200
    http.put("/health")
    wait_until(lambda: lines_of(log))
    assert [line["status"] for line in lines_of(log)] == [405]


UUID = "0190aaaa-0000-7000-8000-00000000beef"


@pytest.mark.parametrize("asked", [UUID, UUID.upper(), UUID.replace("-", "")])
def test_an_id_of_the_client_is_kept_if_it_looks_like_one(person: Person, asked: str) -> None:
    body = request("threads.list")
    answer = person.http.post("/chatkit", json=body, headers={"x-request-id": asked})
    assert answer.headers["x-request-id"] == asked


@pytest.mark.parametrize("asked", ["", SECRET, UUID + "0", UUID[:-1], "4111111111111111", "x" * 99])
def test_another_id_is_made_where_it_does_not(person: Person, asked: str) -> None:
    body = request("threads.list")
    seen = set()
    for _ in range(2):
        answer = person.http.post("/chatkit", json=body, headers={"x-request-id": asked})
        seen.add(answer.headers["x-request-id"])
    assert len(seen) == 2
    assert asked not in seen


def filled(value: Any) -> Any:
    """The value with the secret in place of, or in addition to, every text that it has."""
    if isinstance(value, dict):
        return {key: filled(part) for key, part in value.items()} | {SECRET: SECRET}
    if isinstance(value, list):
        return [filled(part) for part in value] or [SECRET]
    return SECRET if isinstance(value, str) else value


def plantings(body: Any) -> Iterator[Any]:
    """Requests like `body` that have the secret in one text each, wherever one can be."""
    for key, value in body.items() if isinstance(body, dict) else enumerate(body):
        changed = body.copy()
        if isinstance(value, str):
            changed[key] = SECRET
            yield changed
        elif isinstance(value, dict | list):
            for part in plantings(value):
                yield {**body, key: part} if isinstance(body, dict) else [part]


def test_what_a_client_writes_is_nowhere_in_the_log(log: io.StringIO) -> None:
    """At the most talkative level, and as people read it: the words would be the same in JSON."""
    with serve(log_level="DEBUG") as server:
        person = Person(server.url, **(identity := people.newcomer()))
        thread_id, item_id = a_thread_of(person)
        for kind, body in cases(thread_id, item_id).items():
            asked = [*plantings(body), request(kind, **filled(body["params"])), filled(body)]
            for part in asked[: None if kind != "threads.delete" else 0]:
                person.http.post("/chatkit", json=part)
        person.http.post("/chatkit", content=f"{{{SECRET}", headers={"content-type": SECRET})
        for name in ("x-request-id", "user-agent", "referer", "origin", "host", "authorization"):
            person.http.post("/chatkit", json=request("threads.list"), headers={name: SECRET})
        for name in ("cookie", "content-type", "accept-language", "x-forwarded-for", SECRET):
            person.http.post("/chatkit", content=b"{", headers={name: SECRET})
        upgrade = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
        key = {"sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}
        httpx.get(f"{server.url}/{SECRET}?{SECRET}", headers=upgrade | key, trust_env=False)
        owner = server.context_of(person).user_id
    said = log.getvalue()
    # What makes the person known: tokens and signatures; an id is for the log to have.
    proofs = " ".join([*person.http.cookies.values(), *identity.values()])
    pieces = [piece for piece in re.findall(r"[\w-]{16,}", proofs) if piece not in owner]
    assert said.count("request ") > 50
    assert SECRET not in said
    assert pieces
    assert [piece for piece in pieces if piece in said] == []


def test_what_goes_wrong_is_told_by_its_frames_without_its_values(log: io.StringIO) -> None:
    async def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError(SECRET)

    with serve(log_level="DEBUG") as server:
        person = server.person()
        thread_id = person.new_thread()
        with pytest.MonkeyPatch.context() as patch:
            for name in ("load_threads", "add_thread_item"):
                patch.setattr(server.store, name, fail)
            assert person.post("threads.list").status_code == 500
            assert person.say("Hello")[-1]["type"] == "error"

        async def lost() -> None:
            asyncio.create_task(fail())  # noqa: RUF006
            await asyncio.sleep(0.01)
            gc.collect()

        server.run(lost())
        for name in ("chatkit.server", "openai.agents", "uvicorn.error", "somebody's"):
            try:
                raise RuntimeError(SECRET)
            except RuntimeError:
                logging.getLogger(name.removesuffix(".server")).exception("failed")
                structlog.get_logger(name).exception("failed")
        wait_until(lambda: "never retrieved" in log.getvalue())
        assert person.items(thread_id)
    said = log.getvalue()
    assert said.count("RuntimeError") >= 9
    assert said.count(__file__) >= 9
    assert SECRET not in said


def test_what_an_sdk_says_is_reduced_to_the_place(log: io.StringIO) -> None:
    logging.getLogger("chatkit").warning(f"unknown question id(s), ignoring: {SECRET}")
    assert "test_what_an_sdk_says_is_reduced_to_the_place, line" in log.getvalue()
    assert SECRET not in log.getvalue()


def test_a_log_that_is_set_up_already_stays_as_it_is() -> None:
    before = list(logging.getLogger().handlers)
    configure_logging("INFO", as_json=True)
    assert logging.getLogger().handlers == before
