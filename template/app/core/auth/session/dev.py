"""Development: a session of a signed-in user, while there is no application next door."""

import base64
import hmac
import secrets
from urllib.parse import quote, urlsplit

import psycopg
from psycopg import sql

from ...store.embedded import embedded_server
from ..curl import development
from .cookie import SessionSettings
from .lookup import names_of

# As Better Auth makes it, with the column of its organization plugin.
TABLE = sql.SQL("""CREATE TABLE IF NOT EXISTS {table} ("id" text PRIMARY KEY,
    {expires} timestamptz NOT NULL, {token} text NOT NULL UNIQUE, {user} text NOT NULL,
    "createdAt" timestamptz NOT NULL DEFAULT now(), "updatedAt" timestamptz NOT NULL DEFAULT now(),
    "ipAddress" text, "userAgent" text, "activeOrganizationId" text)""")
ROW = sql.SQL("""INSERT INTO {table} ("id", {expires}, {token}, {user})
    VALUES (gen_random_uuid(), now() + interval '7 days', %s, %s)""")


def make_table(conninfo: str, settings: SessionSettings) -> None:
    """Make the table of sessions where it is missing; several processes may do so at once."""
    with psycopg.connect(conninfo) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('sessions'))")
        connection.execute(TABLE.format(**names_of(settings)))


def credentials(user: str, url: str) -> tuple[str, ...]:
    """Options for `curl`: the cookie of a new session of `user`, and the origin of a page at `url`.

    Raises SystemExit where the sessions are another application's.
    """
    settings, token = development(SessionSettings), secrets.token_hex(16)
    if not settings.is_embedded:
        raise SystemExit("Sessions are your application's: sign in there, and take its cookie.")
    with embedded_server("") as conninfo:
        make_table(conninfo, settings)
        with psycopg.connect(conninfo) as connection:
            row = [token, user]
            connection.execute(ROW.format(**names_of(settings)), row)
    signature = base64.b64encode(hmac.digest(settings.secret, token.encode(), "sha256")).decode()
    cookie = f"{settings.session_cookie}={quote(f'{token}.{signature}', safe='')}"
    origin = urlsplit(url)._replace(path="").geturl()
    return "-H", f"cookie: {cookie}", "-H", f"origin: {origin}"
