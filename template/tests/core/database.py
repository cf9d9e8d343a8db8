"""Empty PostgreSQL databases: a schema each, in an embedded server or TEST_DATABASE_URL's."""

import atexit
import os
import shutil
import tempfile
import uuid
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from app.core.store.embedded import embedded_server

MADE: list[str] = []


@cache
def server() -> str:
    """How to connect to the server of this run."""
    stack = ExitStack()
    if url := os.environ.get("TEST_DATABASE_URL"):
        stack.callback(_drop, url)
    else:
        folder = Path(tempfile.mkdtemp())
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        url = stack.enter_context(embedded_server("", folder / "postgres"))
    atexit.register(stack.close)
    return url


def schema() -> str:
    """How to connect to a schema that nobody has used; it goes with the run."""
    url, name = server(), f"test_{uuid.uuid4().hex}"
    options = f"-c search_path={name} -c application_name={name}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}".encode())
    MADE.append(name)
    return make_conninfo(url, options=options)


def _drop(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for name in MADE:
            connection.execute(f"DROP SCHEMA {name} CASCADE".encode())
