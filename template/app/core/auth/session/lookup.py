"""Where sessions are looked up: in the application's database, or by asking its endpoint."""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
from psycopg import sql

from ...context import RequestContext
from ...errors import ApiError, logger
from ...store.embedded import embedded_server
from ...store.pool import Pool

if TYPE_CHECKING:
    from .cookie import SessionSettings

LONGEST_ANSWER = 100_000  # bytes, of its endpoint
MOST_KNOWN = 10_000  # sessions that are remembered at a time

Found = tuple[Any, Any]  # the ids of a user and of an organisation; nobody's are None
# Whose session a credential is. Raises NoAnswer, TimeoutError, psycopg.Error, httpx.HTTPError.
Ask = Callable[[str], Awaitable[Found]]

# A time zone of the connection does not matter: an epoch is that of UTC for either timestamp type.
LOOK_UP = sql.SQL("""
SELECT s.{user}::text, to_jsonb(s) ->> {org} FROM {table} AS s
WHERE s.{token} = %s AND extract(epoch FROM s.{expires}) > extract(epoch FROM now())
""")


class NoAnswer(Exception):
    """The endpoint did not say who is signed in; the words are fit for the log."""


class Sessions:
    """Who holds which credential: looked up once at a time for each, remembered for `seconds`.

    What is remembered begins with the look-up, so a sign-out counts after `seconds` at the latest.
    Only who was found is remembered: somebody who has just signed in gets in at once, and forged
    credentials push nobody out. The keys are hashes, so that no memory dump signs anybody in.
    """

    def __init__(self, ask: Ask, seconds: float, timeout: float) -> None:
        self.ask, self.seconds, self.timeout = ask, seconds, timeout
        self.worked = False
        self.known: dict[bytes, tuple[float, asyncio.Task[RequestContext | None]]] = {}

    async def ready(self) -> str | None:
        """Why nobody can be known now, or None when people can.

        Once it worked it counts as ready: an outage next door would else take every instance out,
        also for those who are remembered, and nothing is gained by that.
        """
        try:
            _ = self.worked or await self._look_up("")
        except ApiError:
            return "Sessions cannot be looked up: see the log, and the SESSION_ settings."
        return None

    async def find(self, credential: str) -> RequestContext | None:
        """Who holds it, None for nobody. Raises ApiError: 503 when that cannot be looked up."""
        key, now = hashlib.sha256(credential.encode()).digest(), time.monotonic()
        until, task = self.known.get(key, (now, None))
        if task is None or until <= now:
            task = asyncio.create_task(self._look_up(credential))
            self.known.pop(key, None)  # so that the oldest comes first
            self.known[key] = now + self.seconds, task
            task.add_done_callback(partial(self._keep_people, key))
            if len(self.known) > MOST_KNOWN:
                del self.known[next(iter(self.known))]
        return await asyncio.shield(task)  # others may wait for it

    def _keep_people(self, key: bytes, task: asyncio.Task[RequestContext | None]) -> None:
        found = None if task.cancelled() or task.exception() else task.result()
        if found is None and self.known.get(key, (0, None))[1] is task:
            del self.known[key]

    async def _look_up(self, credential: str) -> RequestContext | None:
        try:
            async with asyncio.timeout(self.timeout):
                user, org = await self.ask(credential)
        except (NoAnswer, TimeoutError, psycopg.Error, httpx.HTTPError) as error:
            reason = error if isinstance(error, NoAnswer) else type(error).__name__
            logger.warning("Sessions cannot be looked up: %s", reason)
            told = "Who is signed in cannot be checked right now. Please try again."
            raise ApiError(503, "unavailable", told) from None
        self.worked = True
        user_id, org_id = _id(user), _id(org)
        if user_id is None or (org and org_id is None):
            return None
        return RequestContext(user_id, org_id)


def _id(value: Any) -> str | None:
    """An id as a text; None where it is none, or holds what a database may not take."""
    text = str(value) if type(value) in (str, int) else ""
    return text if text.strip() and text.isprintable() else None


def names_of(settings: "SessionSettings") -> dict[str, sql.Composable]:
    """Table and columns, quoted as what they are."""
    return {
        "table": sql.Identifier(*settings.session_table.split(".")),
        "token": sql.Identifier(settings.session_token_column),
        "user": sql.Identifier(settings.session_user_column),
        "expires": sql.Identifier(settings.session_expires_column),
        "org": sql.Literal(settings.session_org_column),
    }


@asynccontextmanager
async def open_database(settings: "SessionSettings") -> AsyncIterator[Ask]:
    """Sessions by the tokens of their rows; without SESSION_DATABASE_URL on an embedded server."""
    wait, statement = settings.session_timeout, LOOK_UP.format(**names_of(settings))
    options = {"autocommit": True, "prepare_threshold": None, "connect_timeout": int(wait) + 1}
    check = Pool.check_connection  # it may have died while it rested
    with embedded_server(settings.session_conninfo) as conninfo:
        if settings.is_embedded:
            from .dev import make_table

            await asyncio.to_thread(make_table, conninfo, settings)
        pool = Pool(
            conninfo,
            kwargs=options,
            min_size=1,
            max_size=4,
            timeout=wait,
            reconnect_timeout=wait,
            check=check,
            open=False,
        )
        async with pool:

            async def ask(token: str) -> Found:
                async def work(connection: psycopg.AsyncConnection) -> Found:
                    cursor = await connection.execute(statement, [token])
                    return await cursor.fetchone() or (None, None)

                return await pool.use(work, wait)

            yield ask


@asynccontextmanager
async def open_endpoint(settings: "SessionSettings") -> AsyncIterator[Ask]:
    """Sessions by asking SESSION_URL with the cookie: `{"user": {"id": …}, …}`, or null."""
    url, timeout = settings.session_url or "", settings.session_timeout
    jar = CookieJar(DefaultCookiePolicy(allowed_domains=[]))  # what it sets is another person's
    async with httpx.AsyncClient(cookies=jar, timeout=timeout, trust_env=False) as client:

        async def ask(cookie: str) -> Found:
            headers = {"accept": "application/json", "accept-encoding": "identity"}
            headers |= {"cookie": cookie} if cookie else {}
            async with client.stream("GET", url, headers=headers) as response:
                answer = await _json_of(response)
            return _at(settings.session_user_field, answer), _at(settings.session_org_field, answer)

        yield ask


async def _json_of(response: httpx.Response) -> Any:
    """The answer, None from who does not know the cookie. Raises NoAnswer."""
    if response.status_code in (401, 403):
        return None
    if response.status_code != 200:  # a redirect too: the cookie does not follow it
        raise NoAnswer(f"SESSION_URL answered {response.status_code}")
    body = b""
    async for part in response.aiter_raw():
        body += part
        if len(body) > LONGEST_ANSWER:
            raise NoAnswer(f"SESSION_URL answered with over {LONGEST_ANSWER} bytes")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise NoAnswer("SESSION_URL answered with something else than JSON") from None


def _at(path: str, answer: Any) -> Any:
    """What stands there in the answer, None for nothing."""
    for name in path.split("."):
        answer = answer.get(name) if isinstance(answer, dict) else None
    return answer
