"""A person is who the session's row says, and only a signed cookie, sent by a page, leads to it."""

import asyncio
import re
import shlex
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import httpx
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from app.core.config import stop_on_problems
from app.core.store.embedded import embedded_server

from ...auth_styles.session import (
    COOKIE,
    DATABASE,
    FRONT_END,
    SECRET,
    TABLE,
    database,
    new_token,
    newcomer,
    sign_in,
    value_of,
)
from ...chat import request
from ...fixtures import RunningServer, serve, settings, wait_until
from ...stores import LIVE

ROOT = Path(__file__).resolve().parents[4]
BODY = request("threads.list")
NOWHERE = "postgresql://me:a-password@127.0.0.1:1/app"


def post(server: RunningServer, *cookies: str, **headers: str) -> httpx.Response:
    """A request of a page, with a header for each of `cookies`."""
    sent = list(({"origin": FRONT_END} | headers).items())
    sent += [("cookie", cookie) for cookie in cookies]
    pairs = [(name.encode(), text.encode("latin-1")) for name, text in sent]
    return httpx.post(server.url + "/chatkit", json=BODY, headers=pairs, timeout=20)


def refused(response: httpx.Response) -> bool:
    """Whether nobody was let in, in the words that every such answer has."""
    assert response.status_code == 401, response.text
    assert response.json() == {"error": {"code": "unauthorized", "message": "Please sign in."}}
    assert response.headers["www-authenticate"] == 'Cookie realm="chat"'
    assert "set-cookie" not in response.headers
    return True


def unavailable(response: httpx.Response) -> bool:
    assert (response.status_code, response.json()["error"]["code"]) == (503, "unavailable")
    return True


def user_of(server: RunningServer, cookie: str) -> tuple[str | None, str]:
    context = server.context_of(server.person(cookie=cookie))
    return context.org_id, context.user_id


def execute(statement: str, conninfo: str = DATABASE) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(statement.encode())


# Cookies


def test_the_person_is_whose_session_it_is(server: RunningServer) -> None:
    token = sign_in("ada")
    assert user_of(server, f"theme=dark; {COOKIE}={value_of(token)}; x=y") == (None, "ada")


@pytest.mark.parametrize("sign", ["+", "/"])
def test_a_signature_is_read_as_it_was_written(server: RunningServer, sign: str) -> None:
    tokens = iter(new_token, None)
    token = next(token for token in tokens if sign in unquote(value_of(token)))
    sign_in("ada", token=token)
    assert user_of(server, f"{COOKIE}={value_of(token)}")[1] == "ada"
    assert user_of(server, f"{COOKIE}={unquote(value_of(token))}")[1] == "ada"


@pytest.mark.parametrize(
    "forge",
    [
        lambda token: value_of(token, "another-secret"),
        lambda token: value_of(token, ""),
        lambda token: value_of(token, "development-only"),
        lambda token: value_of(new_token()),
        lambda token: token + value_of(new_token())[32:],
        lambda token: value_of(token)[:-1],
        lambda token: value_of(token)[:-3],
        lambda token: value_of(token)[:40],
        lambda token: value_of(token)[1:],
        lambda token: value_of(token) + "x",
        lambda token: value_of(token) + ".x",
        lambda token: "x." + value_of(token),
        lambda token: quote(value_of(token), safe=""),
        lambda token: unquote(value_of(token)).replace("+", " ").replace("=", ""),
        lambda token: f'"{value_of(token)}"',
        lambda token: token,
        lambda token: token + ".",
        lambda token: "." + value_of(token)[33:],
        lambda token: value_of(""),
        lambda token: ".",
        lambda token: "",
        lambda token: "%00." + value_of("\0")[3:],
        lambda token: value_of("\0"),
        lambda token: "%ff.%ff",
        lambda token: "\xff\xfe",
        lambda token: "x" * 5000,
        lambda token: "' OR 1=1 --",
        lambda token: value_of("' OR 1=1 --"),
    ],
)
def test_a_cookie_that_was_not_signed_for_the_session_is_nobodys(
    server: RunningServer, forge: Callable[[str], str]
) -> None:
    assert refused(post(server, f"{COOKIE}={forge(sign_in('ada'))}"))


def test_two_cookies_of_the_name_are_none(server: RunningServer) -> None:
    ada, eve = (f"{COOKIE}={value_of(sign_in(user))}" for user in ("ada", "eve"))
    assert refused(post(server, f"{ada}; {ada}"))
    assert refused(post(server, f"{ada};{eve}"))
    assert refused(post(server, f"{COOKIE}=; {ada}"))
    assert refused(post(server, ada, eve))
    assert post(server, ada, "theme=dark").status_code == 200


def test_the_cookie_of_https_counts_where_both_come(server: RunningServer) -> None:
    ada, eve = (f"{COOKIE}={value_of(sign_in(user))}" for user in ("ada", "eve"))
    assert user_of(server, f"__Secure-{ada}")[1] == "ada"
    assert user_of(server, f"{eve}; __Secure-{ada}")[1] == "ada"
    assert refused(post(server, f"{ada}; __Secure-{COOKIE}=forged"))
    assert refused(post(server, f"__Secure-{ada}; __Secure-{eve}; {ada}"))
    assert refused(post(server, f"__Host-{ada}"))


@pytest.mark.parametrize("name", ["__Secure-better-auth.session_token", "__Host-mine", "mine"])
def test_the_name_of_the_cookie_is_a_setting(name: str) -> None:
    value = value_of(sign_in("ada"))
    with serve(session_cookie=name) as server:
        assert user_of(server, f"{name}={value}")[1] == "ada"
        assert refused(post(server, f"{COOKIE}={value}"))
        assert refused(post(server, f"better-auth.session_data={value}; {name}x={value}"))
        assert refused(post(server, f"{name.upper()}={value}"))


def test_no_other_header_makes_anybody_known(server: RunningServer) -> None:
    value = value_of(sign_in("ada"))
    assert refused(post(server))
    assert refused(post(server, authorization=f"Bearer {value}", **{"x-user-id": "ada"}))


# Pages


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"sec-fetch-site": "same-site"}, 200),
        ({"origin": "OWN", "sec-fetch-site": "same-origin"}, 200),
        ({"origin": "NONE"}, 403),
        ({"origin": "NONE", "sec-fetch-site": "none"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "https://www.example.com.evil.example"}, 403),
        ({"origin": "http://www.example.com"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"origin": "OWN", "sec-fetch-site": "cross-site"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "multipart/form-data"}, 415),
        ({"content-type": ""}, 415),
    ],
)
def test_only_a_page_of_the_site_uses_the_cookie(
    server: RunningServer, headers: dict[str, str], status: int
) -> None:
    ada = {"cookie": f"{COOKIE}={value_of(sign_in('ada'))}", "content-type": "application/json"}
    sent = ada | {"origin": FRONT_END} | headers
    if sent["origin"] == "NONE":
        del sent["origin"]
    elif sent["origin"] == "OWN":
        sent["origin"] = server.url
    body = b'{"type": "threads.list", "params": {}}'
    response = httpx.post(server.url + "/chatkit", content=body, headers=sent)
    assert response.status_code == status, response.text


def test_two_origins_are_none(server: RunningServer) -> None:
    pairs = [("origin", FRONT_END), ("origin", server.url), *newcomer().items()]
    response = httpx.post(server.url + "/chatkit", json=BODY, headers=pairs)
    assert response.status_code == 403


def test_the_list_of_origins_lets_pages_send_the_cookie(server: RunningServer) -> None:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "x-a"}
    good = httpx.options(server.url + "/chatkit", headers={"origin": FRONT_END, **asked})
    assert good.headers["access-control-allow-origin"] == FRONT_END
    assert good.headers["access-control-allow-credentials"] == "true"
    answered = post(server)  # 401: the page has to be able to read that
    assert answered.headers["access-control-allow-origin"] == FRONT_END
    evil = httpx.options(server.url + "/chatkit", headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in evil.headers


# Rows


def test_an_expired_session_is_nobodys(server: RunningServer) -> None:
    assert refused(post(server, f"{COOKIE}={value_of(sign_in('ada', life='-1 second'))}"))


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
@pytest.mark.parametrize("kind", ["timestamptz", "timestamp"])
def test_expiry_is_the_databases_wherever_it_stands(zone: str, kind: str) -> None:
    """Prisma and Drizzle keep UTC in a column without a zone."""
    table = database(TABLE.replace(b"timestamptz", kind.encode()))
    options = conninfo_to_dict(table)["options"]
    utc, away = (
        make_conninfo(table, options=f"{options} -c timezone={name}") for name in ("UTC", zone)
    )
    live, dead = (value_of(sign_in("ada", utc, life)) for life in ("1 hour", "-1 hour"))
    with serve(session_database_url=away) as server:
        assert user_of(server, f"{COOKIE}={live}")[1] == "ada"
        assert refused(post(server, f"{COOKIE}={dead}"))


def test_a_sign_out_counts_within_the_seconds_of_the_cache() -> None:
    with serve(session_cache_seconds=1) as server:
        token = sign_in("ada")
        cookie = f"{COOKIE}={value_of(token)}"
        begun = time.monotonic()
        assert post(server, cookie).status_code == 200
        execute(f"DELETE FROM session WHERE token = '{token}'")
        assert post(server, cookie).status_code == 200
        while time.monotonic() < begun + 1:
            post(server, cookie)  # asking on and on does not prolong it
        time.sleep(0.1)
        assert refused(post(server, cookie))


def test_a_cache_of_no_seconds_forgets_at_once() -> None:
    with serve(session_cache_seconds=0) as server:
        token = sign_in("ada")
        cookie = f"{COOKIE}={value_of(token)}"
        assert post(server, cookie).status_code == 200
        execute(f"DELETE FROM session WHERE token = '{token}'")
        assert refused(post(server, cookie))


def test_who_has_just_signed_in_gets_in_at_once(server: RunningServer) -> None:
    token = new_token()
    assert refused(post(server, f"{COOKIE}={value_of(token)}"))
    sign_in("ada", token=token)
    assert post(server, f"{COOKIE}={value_of(token)}").status_code == 200


def test_the_organisation_is_the_active_one() -> None:
    table = database(TABLE.rstrip(b")") + b', "activeOrganizationId" text)')
    with serve(session_database_url=table) as server:
        for org in ("acme", "other"):
            token = sign_in("ada", table, activeOrganizationId=org)
            assert user_of(server, f"{COOKIE}={value_of(token)}") == (org, "ada")
        token = sign_in("ada", table)
        assert user_of(server, f"{COOKIE}={value_of(token)}") == (None, "ada")


def test_table_and_columns_are_settings_and_quoted() -> None:
    conninfo, token, org = database(b"SELECT 1"), new_token(), str(uuid.UUID(int=10))
    with psycopg.connect(conninfo) as connection:
        [schema] = connection.execute("SELECT current_schema()").fetchone() or [""]
    odd: dict[str, Any] = {
        "session_table": schema + '.a "table"; DROP',
        "session_token_column": 'to"ken',
        "session_user_column": "user id",
        "session_expires_column": "Until",
        "session_org_column": "o'rg",
    }
    columns = """("to""ken" text, "user id" int, "Until" timestamptz, "o'rg" uuid)"""
    execute(f'CREATE TABLE "a ""table""; DROP" {columns}', conninfo)
    values = f"('{token}', 7, now() + interval '1 day', '{org}')"
    execute(f'INSERT INTO "a ""table""; DROP" VALUES {values}', conninfo)
    with serve(session_database_url=conninfo, **odd) as server:
        assert user_of(server, f"{COOKIE}={value_of(token)}") == (org, "7")


# Looking up


class Watched:
    """Counts what is looked up, and takes its time."""

    def __init__(self, server: RunningServer) -> None:
        self.asked: list[str] = []
        self.ask, server.app.state.auth.ask = server.app.state.auth.ask, self

    async def __call__(self, credential: str) -> Any:
        self.asked.append(credential)
        await asyncio.sleep(0.3)
        return await self.ask(credential)


@pytest.fixture
def watched() -> Iterator[tuple[RunningServer, Watched]]:
    with serve() as server:
        yield server, Watched(server)


def test_many_requests_of_a_person_look_the_session_up_once(
    watched: tuple[RunningServer, Watched],
) -> None:
    server, source = watched
    cookies = [f"{COOKIE}={value_of(sign_in(user))}" for user in ("ada", "eve")] * 10
    with ThreadPoolExecutor(20) as pool:
        codes = [r.status_code for r in pool.map(lambda c: post(server, c), cookies)]
    assert codes == [200] * 20
    assert len(source.asked) == 2
    assert post(server, cookies[0]).status_code == 200
    assert len(source.asked) == 2


def test_one_that_leaves_takes_nothing_from_those_that_wait(
    watched: tuple[RunningServer, Watched],
) -> None:
    """A lost connection does not cancel a handler, but a shutdown or a middleware may."""
    server, source = watched
    auth = server.app.state.auth

    async def both() -> Any:
        token = sign_in("ada")
        leaving = asyncio.create_task(auth.find(token))
        waiting = asyncio.create_task(auth.find(token))
        await asyncio.sleep(0.1)
        leaving.cancel()
        return await waiting

    assert server.run(both()).user_id == "ada"
    assert len(source.asked) == 1


def test_a_forged_cookie_is_not_looked_up(watched: tuple[RunningServer, Watched]) -> None:
    server, source = watched
    assert refused(post(server, f"{COOKIE}={value_of(sign_in('ada'), 'another')}"))
    assert source.asked == []


def test_what_is_remembered_is_bounded_and_has_no_tokens_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.core.auth.session.lookup.MOST_KNOWN", 3)
    with serve() as server:
        known = server.app.state.auth.known
        tokens = [sign_in(f"user{number}") for number in range(5)]
        for token in tokens:
            assert post(server, f"{COOKIE}={value_of(token)}").status_code == 200
        assert refused(post(server, f"{COOKIE}={value_of(new_token())}"))
        assert len(known) == 3 or len(known) == 2  # the refused one may have pushed one out
        assert {len(key) for key in known} == {32}
        assert not [token for token in tokens if token in repr(known)]
        assert post(server, f"{COOKIE}={value_of(tokens[0])}").status_code == 200


def test_a_database_that_is_down_is_503_and_not_401(caplog: pytest.LogCaptureFixture) -> None:
    with serve(session_database_url=NOWHERE, session_timeout=0.5) as server:
        begun = time.monotonic()
        assert unavailable(post(server, f"{COOKIE}={value_of(sign_in('ada'))}"))
        assert time.monotonic() - begun < 3
        assert refused(post(server))
        ready = httpx.get(server.url + "/ready")
        assert (ready.status_code, ready.json()["error"]["code"]) == (503, "not_ready")
    assert "a-password" not in caplog.text


def test_a_database_that_never_answers_is_503_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://me@127.0.0.1:{silent.getsockname()[1]}/app"
        with serve(session_database_url=url, session_timeout=0.5) as server:
            begun = time.monotonic()
            assert unavailable(post(server, f"{COOKIE}={value_of(sign_in('ada'))}"))
            assert time.monotonic() - begun < 3


def test_an_outage_is_over_when_it_is_over_and_readiness_outlives_it() -> None:
    table = database()
    with serve(session_database_url=table, session_cache_seconds=0) as server:
        cookie = f"{COOKIE}={value_of(sign_in('ada', table))}"
        execute("ALTER TABLE session RENAME TO away", table)
        assert httpx.get(server.url + "/ready").status_code == 503
        execute("ALTER TABLE away RENAME TO session", table)
        assert httpx.get(server.url + "/ready").status_code == 200
        execute("ALTER TABLE session RENAME TO away", table)
        assert unavailable(post(server, cookie))
        assert httpx.get(server.url + "/ready").status_code == 200
        execute("ALTER TABLE away RENAME TO session", table)
        assert post(server, cookie).status_code == 200


def test_connections_that_died_at_rest_are_replaced() -> None:
    with serve(session_database_url=(table := database()), session_cache_seconds=0) as server:
        cookie = f"{COOKIE}={value_of(sign_in('ada', table))}"
        assert post(server, cookie).status_code == 200
        execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = "
            "current_setting('application_name') AND pid <> pg_backend_pid()",
            table,
        )
        assert post(server, cookie).status_code == 200


# Settings


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"session_url": "http://127.0.0.1:1/"}, "are both set: leave one empty"),
        ({"session_secret": None}, "SESSION_SECRET is not set: give the secret"),
        ({"session_database_url": "postgresql://a:b@c:port/d"}, "SESSION_DATABASE_URL cannot be"),
        ({"session_database_url": "postgresql://a@c/d?schema=x"}, "SESSION_DATABASE_URL cannot be"),
        ({"session_database_url": None, "app_env": "production"}, "Sessions are nowhere to be"),
    ],
)
def test_settings_that_cannot_work_stop_the_start(values: dict[str, Any], told: str) -> None:
    live: dict[str, Any] = {"model": "offline"} | LIVE
    with pytest.raises(SystemExit) as stop:
        stop_on_problems(settings(**live | values))
    assert told in str(stop.value)
    assert not re.search(f"{SECRET}|a:b|schema=x", str(stop.value))


def test_each_way_alone_is_enough_for_production() -> None:
    live: dict[str, Any] = {"app_env": "production", "model": "offline"} | LIVE
    stop_on_problems(settings(**live))
    alone = {"session_database_url": None, "session_secret": None}
    stop_on_problems(settings(**live, **alone, session_url="https://a.example/get-session"))


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
def test_the_databases_address_may_be_written_as_others_want_it(scheme: str) -> None:
    found: Any = settings(session_database_url=f"{scheme}://me:pw@host:5433/app")
    stop_on_problems(found)
    assert found.session_conninfo.startswith("postgres")
    assert "+" not in found.session_conninfo


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("session_cache_seconds", 61),
        ("session_cache_seconds", -1),
        ("session_timeout", 0),
        ("session_cookie", "two words"),
        ("session_cookie", "a=b"),
        ("session_table", "a..b"),
        ("session_table", "a%sb"),
        ("session_user_column", "x\0"),
        ("session_user_field", "user..id"),
        ("session_url", "ftp://a.example/"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        settings(**{name: value})


def test_cookies_tokens_and_secrets_stay_out_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    token = sign_in("ada-lovelace")
    with serve(log_level="DEBUG") as server:
        assert post(server, f"{COOKIE}={value_of(token)}").status_code == 200
        assert refused(post(server, f"{COOKIE}={value_of(token, 'another')}"))
    ours = "\n".join(r.getMessage() for r in caplog.records if not r.name.startswith("http"))
    assert not re.search(f"{SECRET}|{token}|{re.escape(value_of(token))}", ours)


# Without an application next door


def helper(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app", "dev", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_development_helper_prints_a_request_that_works(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(open_folder)
    alone: dict[str, Any] = {"session_database_url": None, "session_secret": None}
    first = shlex.split(helper(open_folder).stdout)
    with serve(**alone) as server:
        assert httpx.get(server.url + "/ready").status_code == 200
        for words in (first, shlex.split(helper(open_folder, "grace").stdout)):
            sent = dict(
                word.split(": ", 1) for word in words if re.match("(cookie|origin): ", word)
            )
            assert re.fullmatch(COOKIE + r"=\w{32}\.[\w%]{44,}", sent["cookie"])
            assert sent["origin"] == "http://127.0.0.1:8000"
            words[words.index("http://127.0.0.1:8000/chatkit")] = server.url + "/chatkit"
            words[words.index("origin: http://127.0.0.1:8000")] = f"origin: {server.url}"
            said = subprocess.run(words, capture_output=True, text=True, timeout=30).stdout
            assert "thread.created" in said
        assert user_of(server, sent["cookie"])[1] == "grace"
        server.stop()  # with its PostgreSQL, before another begins in this process


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"APP_ENV": "production"}, "APP_ENV is production: this is for development only."),
        ({"SESSION_URL": "https://a.example/"}, "sign in there, and take its cookie"),
        ({"SESSION_DATABASE_URL": NOWHERE}, "sign in there, and take its cookie"),
    ],
)
def test_the_development_helper_makes_nobody_up_elsewhere(
    open_folder: Path, environment: dict[str, str], told: str
) -> None:
    result = helper(open_folder, **environment)
    assert (result.returncode, result.stdout) == (1, "")
    assert told in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(open_folder.iterdir())


def test_two_parts_of_a_process_share_the_embedded_server(open_folder: Path) -> None:
    with embedded_server("", open_folder / "postgres") as store:
        with embedded_server("", open_folder / "postgres") as sessions:
            assert sessions == store
        execute("SELECT 1", store)
    wait_until(lambda: not (open_folder / "postgres" / "postmaster.pid").exists())
