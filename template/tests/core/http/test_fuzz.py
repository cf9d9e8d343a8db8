"""Whatever is sent: no 5xx, no traceback, and a refused request has written nothing.

The template's file: improvements arrive through `copier update`. FUZZ_REQUESTS says how many.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from chatkit import types as ck
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from starlette.types import Message

from app.core.application import create_app
from app.core.context import RequestContext
from app.server import Server

from .. import auth_styles as people
from .. import fixtures as conftest
from ..cases import cases
from ..chat import Json, request

REQUESTS, AT_ONCE = int(os.environ.get("FUZZ_REQUESTS", "500")), 20
WRITES = ["save_thread", "save_item", "add_thread_item", "save_attachment"]
WRITES += ["delete_thread", "delete_thread_item", "delete_attachment"]
ODD: list[Any] = [None, True, 0, -1, 2**63, 10**400, 1e308, float("nan"), float("-inf"), "", [], {}]
ODD += ["\0", "\ud800", "\U0010ffff", "‮", "' OR 1=1 --", "x" * 5000, "../../etc", {"type": {}}]
ODD += [{"": []}, [[[[]]]], "thr_" + "0" * 32, {"a": {"\0": "\udfff"}}, {"n": float("inf")}]
NAMES = [b"content-type", b"cookie", b"authorization", b"origin", b"host", b"x-request-id"]
NAMES += [b"accept-language", b"sec-fetch-site", b"content-length", b"x-forwarded-for", b"\xff"]
TEXTS = [b"", b"\xff\xfe", b"application/json; charset=utf-16", b"null", b"a" * 40_000, b'"\\777"']
TEXTS += [b"Bearer ", b"Bearer a.b.c", b"Basic AAAA", b"visitor=", b"=;=;=", b"\xc3\xa9", b"*"]

Sent = tuple[bytes, bytes, list[tuple[bytes, bytes]], list[bytes], bool]


def changed(body: Any, way: list[int], value: Any) -> Any:
    """The body with `value` somewhere in it: at each step down, one of `way` says where."""
    if not way or not isinstance(body, dict | list) or not body:
        return value
    step, *rest = way
    if isinstance(body, list):
        at = step % len(body)
        return [*body[:at], changed(body[at], rest, value), *body[at + 1 :]]
    key = [*body][step % len(body)]
    if step >= 90:  # leave it out, or put something beside it
        return {k: v for k, v in body.items() if k != key} if step % 2 else {**body, "\0": value}
    return {**body, key: changed(body[key], rest, value)}


BYTES: list[Callable[[bytes, int], bytes]] = [
    lambda body, at: body[: at % (len(body) + 1)],
    lambda body, at: body.decode().encode("utf-16"),
    lambda body, at: b"\xef\xbb\xbf" + body,
    lambda body, at: body[: at % len(body)] + b"\xff\x00" + body[at % len(body) :],
    lambda body, at: body * 2,
    lambda body, at: b"[" * (at * 40) + body,
    lambda body, at: b'{"type":"threads.create","params":' * at + body,
    lambda body, at: body.replace(b'"', b"'"),
    lambda body, at: body.replace(b"\\u", b"\\\\u"),
]


@st.composite
def requests(draw: st.DrawFn, valid: dict[str, Json]) -> Sent:
    """A valid request of some type that was changed in up to three places, or raw bytes."""
    body: Any = valid[draw(st.sampled_from(sorted(valid)))]
    for _ in range(draw(st.integers(0, 3))):
        way = draw(st.lists(st.integers(0, 99), min_size=1, max_size=6))
        body = changed(body, way, draw(st.sampled_from(ODD) | st.text(max_size=5) | st.floats()))
    raw = json.dumps(body).encode()
    match draw(st.integers(0, 9)):
        case 0:
            raw = draw(st.binary(max_size=50))
        case 1 | 2:
            raw = draw(st.sampled_from(BYTES))(raw, draw(st.integers(1, 2000))) if raw else raw
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    if draw(st.integers(0, 9)) < 2:
        headers.append((draw(st.sampled_from(NAMES)), draw(st.sampled_from(TEXTS))))
    at = draw(st.integers(0, 5000))
    line = draw(
        st.sampled_from([(b"POST", b"/chatkit")] * 20 + [(b"PUT", b"/"), (b"GET", b"/\xff")])
    )
    return *line, headers, [raw[:at], raw[at:]], draw(st.integers(0, 30)) == 0


class Caller:
    """The application without a socket, and what it writes."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        values: Json = {"rate_limit": "999999999/second", "log_level": "ERROR"}
        self.app = create_app(Server, settings=conftest.settings(**values))
        self.lifespan = self.app.router.lifespan_context(self.app)
        self.runner.run(self.lifespan.__aenter__())
        self.written: list[str] = []
        self.server = self.app.state.server
        self.server.respond = self.respond
        for name in WRITES:
            setattr(self.server.store, name, self.noted(getattr(self.server.store, name)))
        self.identity = [(k.encode(), v.encode()) for k, v in people.newcomer().items()]
        _, headers, _ = self.runner.run(self.ask(self.json(request("threads.list"))))
        given = dict(headers).get(b"set-cookie", b"").partition(b";")[0]
        self.identity += [(b"cookie", given)][: bool(given)]

    def json(self, body: Json) -> Sent:
        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        return b"POST", b"/chatkit", headers, [json.dumps(body).encode()], False

    async def respond(
        self, thread: ck.ThreadMetadata, message: ck.UserMessageItem | None, context: RequestContext
    ) -> AsyncIterator[ck.ThreadStreamEvent]:
        item_id = self.server.store.generate_item_id("message", thread, context)
        item = ck.AssistantMessageItem(
            id=item_id, thread_id=thread.id, created_at=datetime.now(), content=[]
        )
        yield ck.ThreadItemDoneEvent(item=item)

    def noted(self, method: Any) -> Any:
        async def write(*args: Any, **named: Any) -> Any:
            result = await method(*args, **named)
            self.written.append(method.__name__)
            return result

        return write

    async def ask(self, sent: Sent) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        method, path, headers, pieces, breaks_off = sent
        said: list[Message] = []
        coming: list[Message] = [
            {"type": "http.request", "body": piece, "more_body": True} for piece in pieces
        ]
        coming.append({"type": "http.request", "body": b"", "more_body": False})
        if breaks_off:
            coming[-1] = {"type": "http.disconnect"}

        async def receive() -> Message:
            if coming:
                return coming.pop(0)
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Message) -> None:
            said.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method.decode(),
            "scheme": "http",
            "path": path.decode("latin-1"),
            "raw_path": path,
            "root_path": "",
            "query_string": b"",
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "headers": [*self.identity, *headers],
            "state": {},
        }
        await self.app(scope, receive, send)
        body = b"".join(message.get("body", b"") for message in said[1:])
        return said[0]["status"], said[0]["headers"], body


@pytest.fixture
def caller() -> Iterator[Caller]:
    made = Caller()
    yield made
    made.runner.run(made.lifespan.__aexit__(None, None, None))
    made.runner.close()


def test_nothing_that_is_sent_breaks_the_server(caller: Caller) -> None:
    create = caller.json(cases("", "")["threads.create"])
    _, _, events = caller.runner.run(caller.ask(create))
    begun = [json.loads(line[6:]) for line in events.splitlines() if line.startswith(b"data: ")]
    thread_id, item_id = begun[0]["thread"]["id"], begun[1]["item"]["id"]
    valid = cases(thread_id, item_id)
    valid["threads.delete"] = request("threads.delete", thread_id="thr_" + "0" * 32)
    seen: set[int] = set()

    @settings(
        max_examples=REQUESTS // AT_ONCE,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(st.lists(requests(valid), min_size=AT_ONCE, max_size=AT_ONCE))
    def survive(several: list[Sent]) -> None:
        for sent in several:
            caller.written.clear()
            status, _, body = caller.runner.run(caller.ask(sent))
            assert status < 500, (sent, body)
            assert b"Traceback" not in body, (sent, body)
            assert b"Something went wrong" not in body, (sent, body)
            assert status < 400 or not caller.written, (sent, body, caller.written)
            assert status < 400 or set(json.loads(body)) == {"error"}, (sent, body)
            seen.add(status)

    survive()
    assert seen >= {200, 400, 404}, "the requests are all of one kind"
