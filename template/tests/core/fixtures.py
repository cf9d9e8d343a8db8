"""A real server on a real socket, once per test module or with settings of a test's own."""

import asyncio
import logging
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest
import uvicorn
from chatkit.types import ThreadItem
from fastapi import FastAPI

from app.core.application import create_app
from app.core.chat_server import BaseServer
from app.core.context import RequestContext
from app.core.settings import Settings
from app.core.store.base import BaseStore
from app.server import Server

from .auth_styles import SETTINGS, newcomer
from .chat import Person
from .stores import fresh


class RunningServer:
    """The application behind uvicorn, in a thread of this process."""

    def __init__(self, app: FastAPI, loop: Literal["auto", "asyncio"] = "auto") -> None:
        self.app = app
        config = uvicorn.Config(
            app, port=0, log_config=None, timeout_graceful_shutdown=1, loop=loop
        )
        self._uvicorn = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._uvicorn.run, daemon=True)

    def start(self) -> None:
        self._thread.start()
        # LiteLLM alone may take ten seconds to import for the first time.
        wait_until(lambda: self._uvicorn.started or not self._thread.is_alive(), 60)
        self.port: int = self._uvicorn.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def stop(self, seconds: float = 10.0) -> None:
        """Ask the server to end, and wait so long for it."""
        self._uvicorn.should_exit = True
        self._thread.join(seconds)

    def run(self, coroutine: Any) -> Any:
        """Run a coroutine in the server's own loop."""
        loop = self._uvicorn.servers[0].get_loop()
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(10)

    def tasks(self) -> list[str]:
        """What runs in the server's loop, besides asking for it: a leak shows here."""

        async def names() -> list[str]:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            return sorted(getattr(task.get_coro(), "__qualname__", "") for task in tasks)

        found: list[str] = self.run(names())
        return found

    def connections(self) -> int:
        """How many sockets of clients the server has open."""
        return len(self._uvicorn.server_state.connections)

    @property
    def store(self) -> BaseStore:
        store: BaseStore = self.app.state.server.store
        return store

    def context_of(self, person: Person) -> RequestContext:
        """Whom the server takes the person for."""
        seen: list[RequestContext] = []
        answering = self.app.state.server
        process = answering.process

        async def watched(request: bytes, context: RequestContext) -> Any:
            seen.append(context)
            return await process(request, context)

        answering.process = watched
        person.ask("threads.list")
        answering.process = process
        return seen[0]

    def stored(self, person: Person, thread_id: str) -> list[ThreadItem]:
        """The thread's items as the store has them, hidden ones too, oldest first."""
        context = self.context_of(person)
        page = self.run(self.store.load_thread_items(thread_id, None, 1000, "asc", context))
        items: list[ThreadItem] = page.data
        return items

    def person(self, **headers: str) -> Person:
        """Someone new: for each auth style, a caller that the server takes for a stranger."""
        return Person(self.url, **newcomer() | headers)

    def head(self, length: int) -> bytes:
        """What goes before a body of so many bytes from someone new, on a socket of one's own."""
        headers = {"host": "x", "content-type": "application/json", **newcomer()}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST /chatkit HTTP/1.1\r\n{lines}content-length: {length}\r\n\r\n".encode()


def wait_until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def settings(**values: Any) -> Settings:
    """Settings of an empty store that do not depend on this machine's environment or `.env`.

    Without comments in between, a Person's own limit ends a test in which nothing happens.
    """
    defaults: dict[str, Any] = {"_env_file": None, "log_level": "WARNING", "offline_delay": 0}
    return Settings(**defaults | {"stream_heartbeat": 60} | SETTINGS | fresh() | values)


@contextmanager
def serve(
    server_class: type[BaseServer] = Server,
    *,
    loop: Literal["auto", "asyncio"] = "auto",
    **values: Any,
) -> Iterator[RunningServer]:
    server = RunningServer(create_app(server_class, settings=settings(**values)), loop)
    server.start()
    try:
        yield server
    finally:
        server.stop(0)  # it ends beside the next test


@pytest.fixture(autouse=True, scope="session")
def _clean_environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in Settings.model_fields:
            patch.delenv(name.upper(), raising=False)
        # Nothing here speaks TLS, yet each HTTP client would load all certificates, in 20 ms.
        patch.setattr(ssl, "create_default_context", cache(ssl.create_default_context))
        yield


@pytest.fixture(scope="module")
def server(_clean_environment: None) -> Iterator[RunningServer]:
    with serve() as running:
        yield running


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder for an embedded PostgreSQL, which runs as a user of its own where we are root.

    Each pytest that begins shuts pytest's folders to others again.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture
def person(server: RunningServer) -> Person:
    return server.person()


@pytest.fixture
def stranger(server: RunningServer) -> Person:
    return server.person()


@pytest.fixture
def errors(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What was logged as an error so far in the test, as a log file would have it.

    But for what a client of an earlier test's model says when Python throws it away.
    """
    text = logging.Formatter().format

    def told() -> list[str]:
        lines = [text(record) for record in caplog.records if record.levelno >= logging.ERROR]
        return [line for line in lines if "AsyncClient.aclose()" not in line]

    return told
