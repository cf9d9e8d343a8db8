"""A visitor is a signed cookie, and nothing else is one."""

from http.cookies import SimpleCookie
from typing import Any

import pytest

from app.core.config import stop_on_problems

from ...chat import Person, request
from ...fixtures import RunningServer, serve, settings
from ...stores import LIVE

FRONT_END = "https://www.example.com"


def cookie_of(person: Person, **headers: str) -> SimpleCookie:
    body = request("threads.list")
    response = person.http.post("/chatkit", json=body, headers=headers)
    # Before Python 3.14 the parser does not know the attribute Partitioned.
    return SimpleCookie(response.headers.get("set-cookie", "").removesuffix("; Partitioned"))


def test_a_visitor_gets_one_http_only_cookie_and_keeps_it(person: Person) -> None:
    [morsel] = cookie_of(person).values()
    assert morsel["httponly"]
    assert morsel["samesite"] == "lax"
    assert morsel["path"] == "/"
    [again] = cookie_of(person).values()
    assert again.value == morsel.value


@pytest.mark.parametrize(
    "forge",
    [
        lambda value: value[:40] + ("A" if value[40] != "A" else "B") + value[41:],
        lambda value: "0" * 32 + value[32:],
        lambda value: value[:32],
        lambda value: value + ".x",
        lambda value: "",
        lambda value: "\\377\\000",
    ],
)
def test_a_forged_cookie_is_a_new_visitor(server: RunningServer, forge: object) -> None:
    victim, forger = server.person(), server.person()
    victim.new_thread()
    [(name, value)] = victim.http.cookies.items()

    forger.http.cookies.set(name, forge(value))  # type: ignore[operator]
    response = forger.post("threads.list")
    assert response.json()["data"] == []
    assert "set-cookie" in response.headers


def test_the_secret_is_what_makes_a_cookie_valid_across_restarts() -> None:
    with serve(visitor_secret="the-first-secret-of-two") as server:
        person = server.person()
        person.ask("threads.list")
        cookies = dict(person.http.cookies)
    for secret, known in (("the-first-secret-of-two", True), ("another-secret-entirely", False)):
        with serve(visitor_secret=secret) as server:
            again = server.person()
            again.http.cookies.update(cookies)
            [(name, value)] = cookies.items()
            given = again.post("threads.list").headers["set-cookie"]
            assert given.startswith(f"{name}={value};") is known
            assert "Max-Age=34560000;" in given  # from the last visit on


def test_production_needs_the_secret_and_sends_cookies_over_https_only() -> None:
    live: Any = {"app_env": "production", "model": "offline"} | LIVE
    with pytest.raises(SystemExit, match="VISITOR_SECRET is not set"):
        stop_on_problems(settings(**live))
    with serve(**live, visitor_secret="a-secret-of-some-length") as server:
        [(name, morsel)] = cookie_of(server.person()).items()
    assert (name, morsel["secure"]) == ("__Host-visitor", True)


def test_a_front_end_on_another_origin_can_send_its_cookie() -> None:
    with serve(allowed_origins=(FRONT_END,)) as server:
        person = server.person()
        [(name, morsel)] = cookie_of(person, origin=FRONT_END).items()
        assert (morsel["samesite"], morsel["secure"], morsel["httponly"]) == ("none", True, True)
        assert name.startswith("__Host-")
        fresh = server.person().http.post("/chatkit", json=request("threads.list"))
        assert fresh.headers["set-cookie"].endswith("; Partitioned")
        headers = {"origin": FRONT_END, "cookie": f"{name}={morsel.value}"}
        response = person.http.post("/chatkit", json=request("threads.list"), headers=headers)
        assert response.headers["set-cookie"].startswith(f"{name}={morsel.value};")
        assert response.headers["access-control-allow-origin"] == FRONT_END
        assert response.headers["access-control-allow-credentials"] == "true"
        failed = person.http.post("/chatkit", json={}, headers=headers)
        assert failed.status_code == 400
        assert failed.headers["access-control-allow-origin"] == FRONT_END


def test_the_preflight_lets_only_listed_origins_through() -> None:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "x-a"}
    with serve(allowed_origins=(FRONT_END,)) as server:
        http = server.person().http
        good = http.options("/chatkit", headers={"origin": FRONT_END, **asked})
        bad = http.options("/chatkit", headers={"origin": "https://evil.example", **asked})
    assert good.status_code == 200
    assert good.headers["access-control-allow-origin"] == FRONT_END
    assert bad.status_code == 400
    assert "access-control-allow-origin" not in bad.headers
