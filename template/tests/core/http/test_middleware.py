"""Every control of the edge is attached in this very project: each is met here over HTTP."""

import asyncio
import json
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from chatkit.server import NonStreamingResult
from starlette.types import Message, Receive, Scope, Send

from app.core.auth import USES_COOKIES
from app.core.http.middleware import BodyLimitMiddleware, RequestLogMiddleware

from .. import auth_styles as people
from .. import stores
from ..chat import Person, request, user_input
from ..fixtures import RunningServer, serve, wait_until

FRONT_END = "https://www.example.com"
MISSING = "thr_0190000000007000800000000000beef"
LISTING = request("threads.list")


@pytest.fixture(scope="module")
def edge(_clean_environment: None) -> Iterator[RunningServer]:
    """A server that is soon impatient, with a front end on another origin."""
    limits: dict[str, Any] = {"max_body_bytes": 2000, "body_timeout": 0.3, "rate_limit": "20/hour"}
    with serve(allowed_origins=(FRONT_END,), **limits) as running:
        yield running


def refused(server: RunningServer) -> httpx.Response:
    assert people.nobody is not None
    nobody = Person(server.url, origin=FRONT_END, **people.nobody())
    return nobody.post("threads.list")


def foreign(server: RunningServer) -> httpx.Response:
    return server.person(origin="https://elsewhere.example").post("threads.list")


def missing(server: RunningServer) -> httpx.Response:
    return server.person(origin=FRONT_END).post("threads.get_by_id", thread_id=MISSING)


def nowhere(server: RunningServer) -> httpx.Response:
    return server.person(origin=FRONT_END).http.get("/chatkit/sesame")


def misspelt(server: RunningServer) -> httpx.Response:
    """Not sent on to /chatkit: behind a proxy that would lead to plain http."""
    return server.person(origin=FRONT_END).http.post("/chatkit/", json=LISTING)


def mistaken(server: RunningServer) -> httpx.Response:
    return server.person(origin=FRONT_END).http.delete("/chatkit")


def slow(server: RunningServer) -> httpx.Response:
    headers = server.person(origin=FRONT_END, **{"content-type": "application/json"}).http.headers
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if name != "host")
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        start = f"POST /chatkit HTTP/1.1\r\nhost: x\r\n{head}content-length: 99\r\n\r\n{{"
        client.sendall(start.encode())
        answer = b"".join(iter(lambda: client.recv(65_536), b""))
    first, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = first.decode().split("\r\n")
    pairs = [tuple(line.split(": ", 1)) for line in lines]
    return httpx.Response(int(status.split()[1]), headers=pairs, content=body)  # type: ignore[arg-type]


def large(server: RunningServer) -> httpx.Response:
    return server.person(origin=FRONT_END).post("threads.create", input=user_input("x" * 2000))


def not_json(server: RunningServer) -> httpx.Response:
    http = server.person(origin=FRONT_END).http
    headers = {"content-type": "text/plain"}
    return http.post("/chatkit", content=json.dumps(LISTING), headers=headers)


def many(server: RunningServer) -> httpx.Response:
    person = server.person(origin=FRONT_END)
    if given := person.post("threads.list").headers.get("set-cookie"):
        person.http.headers["cookie"] = given.partition(";")[0]  # it is for https alone
    return [person.post("threads.list") for _ in range(21)][-1]


def long_headers(server: RunningServer) -> httpx.Response:
    return server.person(origin=FRONT_END, filler="x" * 40_000).post("threads.list")


def unforeseen(server: RunningServer) -> httpx.Response:
    """From the endpoint, or from any layer around it."""

    async def fail(_: Any) -> None:
        raise RuntimeError("sesame")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server.app.state.rate_limit, "count", fail)
        return server.person(origin=FRONT_END).post("threads.list")


def broken_probe(server: RunningServer) -> httpx.Response:
    async def fail() -> None:
        raise RuntimeError("sesame")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server.store, "ready", fail)
        return server.person(origin=FRONT_END).http.get("/ready")


CONTROLS: list[tuple[int, str, Callable[[RunningServer], httpx.Response]]] = [
    *[(401, "unauthorized", refused)][: people.nobody is not None],
    (403, "origin_not_allowed", foreign),
    (404, "not_found", missing),
    (404, "not_found", nowhere),
    (404, "not_found", misspelt),
    (405, "method_not_allowed", mistaken),
    (408, "too_slow", slow),
    (413, "too_large", large),
    (415, "not_json", not_json),
    (429, "too_many_requests", many),
    (431, "headers_too_large", long_headers),
    (500, "internal_error", unforeseen),
    (500, "internal_error", broken_probe),
]


@pytest.mark.parametrize(
    ("status", "code", "provoke"), CONTROLS, ids=[f"{c[0]}-{c[2].__name__}" for c in CONTROLS]
)
def test_a_refusal_has_its_status_its_code_and_what_a_browser_needs_to_read_it(
    edge: RunningServer,
    status: int,
    code: str,
    provoke: Callable[[RunningServer], httpx.Response],
) -> None:
    answer = provoke(edge)
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message"}
    assert (body["error"]["code"] == code) or status == 401
    assert "sesame" not in answer.text
    headers = answer.headers
    if provoke is not foreign:
        assert headers["access-control-allow-origin"] == FRONT_END
        assert headers.get("access-control-allow-credentials") == ("true" if USES_COOKIES else None)
        assert "x-request-id" in headers["access-control-expose-headers"].lower()
    else:
        assert "access-control-allow-origin" not in headers
    assert len(headers["x-request-id"]) == 32
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    if status == 401:
        assert headers["www-authenticate"]
    if status == 429:
        assert int(headers["retry-after"]) >= 1
    if status == 500:
        assert headers["x-request-id"] in body["error"]["message"]


@pytest.fixture(scope="module", params=["development", "production"])
def either(_clean_environment: None, request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    live = {"app_env": "production", "model": "offline"} | people.LIVE | stores.LIVE
    with serve(**live if request.param == "production" else {}) as running:
        yield running


@pytest.mark.parametrize("path", ["/chatkit", "/health", "/docs", "/elsewhere", "/chatkit/"])
def test_every_answer_tells_a_browser_what_it_must_not_do(either: RunningServer, path: str) -> None:
    is_production = either.app.state.settings.is_production
    headers = either.person().http.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert ("default-src 'none'" in headers["content-security-policy"]) is is_production
    assert ("strict-transport-security" in headers) is is_production


def test_a_stream_carries_them_too(either: RunningServer) -> None:
    answer = either.person().post("threads.create", input=user_input())
    assert answer.headers["cache-control"] == "no-cache, no-transform"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert len(answer.headers.get_list("x-request-id")) == 1


def test_the_address_counts_with_the_headers(edge: RunningServer) -> None:
    answer = edge.person().http.get("/health?" + "x" * 40_000)
    assert answer.status_code == 431


def test_a_preflight_is_answered_to_listed_origins_alone(edge: RunningServer) -> None:
    asked = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,authorization",
    }
    http = edge.person().http
    good = http.options("/chatkit", headers=asked | {"origin": FRONT_END})
    bad = http.options("/chatkit", headers=asked | {"origin": FRONT_END + ".evil.example"})
    assert good.status_code == 200
    assert good.headers["access-control-allow-origin"] == FRONT_END
    assert "authorization" in good.headers["access-control-allow-headers"]
    assert bad.status_code == 400
    assert "access-control-allow-origin" not in bad.headers


def test_nothing_is_let_in_where_no_origin_is_listed() -> None:
    with serve(allowed_origins=()) as server:
        answer = httpx.get(f"{server.url}/health", headers={"origin": FRONT_END})
    assert "access-control-allow-origin" not in answer.headers


def test_a_request_that_is_refused_before_its_body_is_read_leaves_the_next_one_alone(
    edge: RunningServer,
) -> None:
    http = edge.person().http
    body = json.dumps(LISTING)
    for content_type, status in (("text/plain", 415), ("application/json", 200)) * 3:
        answer = http.post("/chatkit", content=body, headers={"content-type": content_type})
        assert answer.status_code == status


def test_an_answer_that_has_begun_is_not_followed_by_another() -> None:
    sent: list[Message] = []

    async def breaks_off(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("sesame")

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    app = RequestLogMiddleware(
        BodyLimitMiddleware(breaks_off, max_bytes=1, seconds=1), is_production=True
    )
    scope = {"type": "http", "method": "GET", "raw_path": b"/", "query_string": b"", "headers": []}
    with pytest.raises(RuntimeError):
        asyncio.run(app(scope, receive, send))
    assert [message["status"] for message in sent] == [200]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limit")
def test_a_reader_who_neither_reads_nor_leaves_is_cut_also_after_the_answers_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server has written all of it and is done: only the system knows that nobody took it."""
    monkeypatch.setattr("app.core.http.middleware.MAX_SILENCE", 0.3)

    async def long(*_: Any) -> NonStreamingResult:
        return NonStreamingResult(b"x" * 20_000_000)

    with serve() as server, socket.socket() as reader:
        server.app.state.server.process = long
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(("127.0.0.1", server.port))
        reader.sendall(server.head(2) + b"{}")
        assert reader.recv(1)
        wait_until(lambda: server.connections() == 0)
