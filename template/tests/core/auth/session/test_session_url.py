"""A person is who the application's session endpoint says, asked with the cookie and nothing
else.
"""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from ...auth_styles.session import COOKIE, FRONT_END
from ...chat import request
from ...fixtures import RunningServer, serve

PATH = "/api/auth/get-session?disableRefresh=true"
URL: dict[str, Any] = {"session_database_url": None, "session_secret": None}
BODY = request("threads.list")
ADA: dict[str, Any] = {
    "session": {"id": "s1", "token": "t", "userId": "ada", "activeOrganizationId": None},
    "user": {"id": "ada", "name": "Ada", "email": "ada@example.com"},
}


class NextDoor:
    """An application with a session endpoint: a real server that gives what a test wants."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.status, self.headers, self.pause = 200, dict[str, str](), 0.0
        self.answer: Any = ADA
        self.drip = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.asked.append((self.command, self.path, headers))
                time.sleep(outer.pause)
                with suppress(OSError):
                    outer.give(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}{PATH}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def give(self, handler: BaseHTTPRequestHandler) -> None:
        body = self.answer if isinstance(self.answer, bytes) else json.dumps(self.answer).encode()
        handler.send_response(self.status)
        for name, value in self.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        if self.drip:
            for _ in range(100):
                handler.wfile.write(b" ")
                handler.wfile.flush()
                time.sleep(0.1)
        handler.wfile.write(body)


@contextmanager
def both(**values: Any) -> Iterator[tuple[NextDoor, RunningServer]]:
    door = NextDoor()
    with serve(**{**URL, "session_url": door.url, "session_timeout": 2, **values}) as server:
        yield door, server
    door.http.shutdown()
    door.http.server_close()


@pytest.fixture
def door_and_server() -> Iterator[tuple[NextDoor, RunningServer]]:
    with both() as pair:
        yield pair


Pair = tuple[NextDoor, RunningServer]


def post(server: RunningServer, cookie: str) -> httpx.Response:
    headers = {"origin": FRONT_END, "cookie": cookie}
    url = server.url + "/chatkit"
    return httpx.post(url, json=BODY, headers=headers, timeout=20, trust_env=False)


def user_of(server: RunningServer, cookie: str = f"{COOKIE}=x") -> tuple[str | None, str]:
    context = server.context_of(server.person(cookie=cookie))
    return context.org_id, context.user_id


def test_the_endpoint_gets_that_one_cookie_and_nothing_else_of_the_request(
    door_and_server: Pair,
) -> None:
    door, server = door_and_server
    server.person(cookie=f"a=1; {COOKIE}=opaque%2Fvalue; b=2", **{"x-secret": "y"}).new_thread()
    [(method, path, headers)] = door.asked
    assert (method, path) == ("GET", PATH)
    assert headers.pop("cookie") == f"{COOKIE}=opaque%2Fvalue"
    assert headers.pop("user-agent").startswith("python-httpx/")
    assert set(headers) == {"host", "accept", "accept-encoding", "connection"}


def test_a_cookie_that_the_endpoint_sets_reaches_nobody(door_and_server: Pair) -> None:
    door, server = door_and_server
    door.headers = {"set-cookie": f"{COOKIE}=of-ada; Path=/"}
    assert "set-cookie" not in post(server, f"{COOKIE}=of-ada").headers
    assert post(server, f"{COOKIE}=of-eve").status_code == 200
    sent = [headers["cookie"] for _, _, headers in door.asked]
    assert sent == [f"{COOKIE}=of-ada", f"{COOKIE}=of-eve"]


def test_the_organisation_is_the_active_one(door_and_server: Pair) -> None:
    door, server = door_and_server
    assert user_of(server) == (None, "ada")
    door.answer = {"session": {"activeOrganizationId": "acme"}, "user": {"id": "ada"}}
    assert user_of(server, f"{COOKIE}=y") == ("acme", "ada")


def test_other_frameworks_say_it_elsewhere() -> None:
    fields = {"session_user_field": "data.account.uid", "session_org_field": "data.team"}
    with both(session_cookie="laravel_session", **fields) as (door, server):
        door.answer = {"data": {"account": {"uid": 7}, "team": 12}, "user": {"id": "x"}}
        assert user_of(server, "laravel_session=abc") == ("12", "7")


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, None),
        (200, {}),
        (200, []),
        (200, "ada"),
        (200, {"session": None, "user": None}),
        (200, {"user": "ada"}),
        (200, {"user": {"id": None}}),
        (200, {"user": {"id": ""}}),
        (200, {"user": {"id": " "}}),
        (200, {"user": {"id": True}}),
        (200, {"user": {"id": 1.5}}),
        (200, {"user": {"id": {"id": "ada"}}}),
        (200, {"user": {"id": "a\0b"}}),
        (200, {"user": {"id": "a\nb"}}),
        (200, {"user": {"id": "\ud800"}}),
        (200, {"user": {"id": "ada"}, "session": {"activeOrganizationId": ["acme"]}}),
        (401, ADA),
        (403, ADA),
    ],
)
def test_an_answer_without_a_person_is_401(door_and_server: Pair, status: int, answer: Any) -> None:
    door, server = door_and_server
    door.status, door.answer = status, answer
    response = post(server, f"{COOKIE}=x")
    assert (response.status_code, response.json()["error"]["code"]) == (401, "unauthorized")


@pytest.mark.parametrize(
    "breaks",
    [
        {"status": 500},
        {"status": 404},
        {"status": 204, "answer": b""},
        {"status": 302, "headers": {"location": "/api/auth/elsewhere"}},
        {"answer": b"<html>Sign in</html>"},
        {"answer": b""},
        {"answer": b"\xff"},
        {"answer": b"[" * 90_000},
        {"answer": b" " * 200_000 + json.dumps(ADA).encode()},
        {"pause": 3.0},
        {"drip": True},
    ],
    ids=str,
)
def test_an_endpoint_that_is_broken_is_503_in_time_and_not_401(
    door_and_server: Pair, breaks: dict[str, Any]
) -> None:
    door, server = door_and_server
    vars(door).update(breaks)
    begun = time.monotonic()
    response = post(server, f"{COOKIE}=x")
    assert time.monotonic() - begun < 4
    assert (response.status_code, response.json()["error"]["code"]) == (503, "unavailable")
    assert len(door.asked) == 1
    vars(door).update(status=200, headers={}, answer=ADA, pause=0.0, drip=False)
    assert post(server, f"{COOKIE}=x").status_code == 200


def test_readiness_waits_for_the_endpoint_once(door_and_server: Pair) -> None:
    door, server = door_and_server
    door.status = 500
    assert httpx.get(server.url + "/ready").status_code == 503
    door.status = 401
    assert httpx.get(server.url + "/ready").status_code == 200
    assert "cookie" not in door.asked[-1][2]
    door.http.shutdown()
    door.http.server_close()
    assert httpx.get(server.url + "/ready").status_code == 200
    assert post(server, f"{COOKIE}=x").status_code == 503


def test_a_sign_out_counts_within_the_seconds_of_the_cache() -> None:
    with both(session_cache_seconds=1) as (door, server):
        assert post(server, f"{COOKIE}=x").status_code == 200
        begun = time.monotonic()  # the answer was cached before this
        door.answer = None
        assert post(server, f"{COOKIE}=x").status_code == 200
        time.sleep(max(0.0, begun + 1.1 - time.monotonic()))
        assert post(server, f"{COOKIE}=x").status_code == 401
        door.answer = ADA
        assert post(server, f"{COOKIE}=x").status_code == 200


def test_many_requests_of_a_person_ask_once(door_and_server: Pair) -> None:
    door, server = door_and_server
    door.pause = 0.5
    with ThreadPoolExecutor(20) as pool:
        codes = [r.status_code for r in pool.map(lambda _: post(server, f"{COOKIE}=x"), range(20))]
    assert codes == [200] * 20
    assert len(door.asked) == 1


@pytest.mark.parametrize(
    "cookie",
    [
        f"{COOKIE}=x; {COOKIE}=x",
        f"{COOKIE}=x; {COOKIE}=y",
        f"__Secure-{COOKIE}=x; __Secure-{COOKIE}=y; {COOKIE}=x",
        f"{COOKIE}=",
        f'{COOKIE}="x"',
        f"{COOKIE}=x y",
        f"{COOKIE}=x,y",
        f"{COOKIE}=x\\y",
        f"{COOKIE}={'x' * 5000}",
        "other=x",
    ],
)
def test_what_is_no_cookie_of_a_browser_is_not_asked_about(
    door_and_server: Pair, cookie: str
) -> None:
    door, server = door_and_server
    assert post(server, cookie).status_code == 401
    assert door.asked == []


def test_the_cookie_of_https_is_asked_about_by_its_own_name(door_and_server: Pair) -> None:
    door, server = door_and_server
    assert post(server, f"{COOKIE}=evil; __Secure-{COOKIE}=x").status_code == 200
    assert door.asked[0][2]["cookie"] == f"__Secure-{COOKIE}=x"


def test_a_proxy_of_the_environment_does_not_see_the_cookie(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with both() as (_, server):
        assert post(server, f"{COOKIE}=x").status_code == 200
