"""People who are signed in next door: rows in Better Auth's table, and its signed cookies."""

import base64
import hashlib
import hmac
import uuid
from typing import Any
from urllib.parse import quote

import psycopg

from ..database import schema

SECRET = "the-secret-of-the-application-next-door"
COOKIE = "better-auth.session_token"
FRONT_END = "https://www.example.com"

# As Better Auth's command line makes it on PostgreSQL, but for the table of users.
TABLE = b"""CREATE TABLE "session" (
    "id" text NOT NULL PRIMARY KEY,
    "expiresAt" timestamptz NOT NULL,
    "token" text NOT NULL UNIQUE,
    "createdAt" timestamptz DEFAULT CURRENT_TIMESTAMP NOT NULL,
    "updatedAt" timestamptz NOT NULL,
    "ipAddress" text,
    "userAgent" text,
    "userId" text NOT NULL)"""


def database(table: bytes = TABLE) -> str:
    """How to connect to an application's database in which nobody is signed in."""
    conninfo = schema()
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(table)
    return conninfo


# As the organization plugin has it.
DATABASE = database(TABLE[:-1] + b', "activeOrganizationId" text)')

# Settings that make people known in tests, and what else production asks for.
LIVE: dict[str, Any] = {"session_database_url": DATABASE, "session_secret": SECRET}
SETTINGS: dict[str, Any] = LIVE | {"allowed_origins": (FRONT_END,)}


def new_token() -> str:
    return uuid.uuid4().hex  # 32 letters and digits


def value_of(token: str, secret: str = SECRET) -> str:
    """A cookie's value as Better Auth writes it."""
    mac = hmac.new(secret.encode(), token.encode(), hashlib.sha256).digest()
    return quote(f"{token}.{base64.b64encode(mac).decode()}", safe="")


def sign_in(user: str, database: str = DATABASE, life: str = "7 days", **columns: str) -> str:
    """A session's token; further columns as they are."""
    values = {"id": uuid.uuid4().hex, "token": new_token(), "userId": user} | columns
    names = ", ".join(f'"{name}"' for name in values)
    marks = ", ".join(["%s"] * len(values))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            f'INSERT INTO "session" ({names}, "expiresAt", "updatedAt") '
            f"VALUES ({marks}, now() + %s::interval, now())".encode(),
            [*values.values(), life],
        )
    return values["token"]


def newcomer(user: str = "", org: str = "") -> dict[str, str]:
    """The headers by which the server takes someone for that person, or one nobody has seen yet."""
    columns = {"activeOrganizationId": org} if org else {}
    token = sign_in(user or f"user_{uuid.uuid4().hex}", **columns)
    return {"cookie": f"{COOKIE}={value_of(token)}", "origin": FRONT_END}


def nobody() -> dict[str, str]:
    """Headers by which the server knows nobody: nothing signed this cookie."""
    return {"cookie": f"{COOKIE}={new_token()}.not-a-signature"}
