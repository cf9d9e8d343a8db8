"""Servers that are restarted, and killed, under load: behind one port, over one PostgreSQL."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from .matrix import name_of
from .test_process import CREATE, events_of, free_port, serving, wait_until
from .warm import stand_in

# Each line is a port; a server of its own process then listens there. It has imported already.
FORKED = """
import os, signal, sys, alembic.command, sqlalchemy.dialects.postgresql, uvicorn, app.main
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    if not (child := os.fork()):
        uvicorn.run("app.main:app", port=int(line), timeout_graceful_shutdown=20)
        sys.exit()
    print(child, flush=True)
"""
ENVIRONMENT = {
    "VISITOR_SECRET": "the-same-in-all-of-them",
    "RATE_LIMIT": "1000000/minute",
    "OFFLINE_DELAY": "0.01",
    "DRAIN_DELAY": "1",
    "SHUTDOWN_GRACE": "10",
    "TURN_LEASE": "4",
}
DONE, SAID = "thread.item.done", "thread.item.updated"


@pytest.fixture(scope="module")
def project(projects: dict[str, Path]) -> Path:
    answers = {"level": "production", "auth": "anonymous", "store": "postgres", "model": "openai"}
    return projects[name_of(answers)]


@pytest.fixture(scope="module")
def environment(postgres: str) -> dict[str, str]:
    """What the servers are started with: a database of this module's own."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE DATABASE restarts")
    return ENVIRONMENT | {"DATABASE_URL": make_conninfo(postgres, dbname="restarts")}


@dataclass
class Servers:
    """Two of them, which are started again and again."""

    parent: "subprocess.Popen[str]"
    ports: list[int] = field(default_factory=lambda: [free_port(), free_port()])
    pids: dict[int, int] = field(default_factory=dict)

    def start(self, port: int) -> None:
        assert self.parent.stdin is not None
        assert self.parent.stdout is not None
        print(port, file=self.parent.stdin, flush=True)
        self.pids[port] = int(self.parent.stdout.readline())

    async def end(self, port: int, number: signal.Signals) -> None:
        pid = self.pids.pop(port)
        os.kill(pid, number)
        await until(lambda: not psutil.pid_exists(pid))


@pytest.fixture(scope="module")
def servers(project: Path, environment: dict[str, str], tmp_path_factory: Any) -> Iterator[Servers]:
    log = tmp_path_factory.mktemp("restarts") / "log"
    with log.open("wb") as output:
        parent = subprocess.Popen(
            [stand_in(), "-c", FORKED],
            cwd=project,
            env=os.environ | environment | {"PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
        )
    servers = Servers(parent)
    try:
        yield servers
    finally:
        for pid in servers.pids.values():
            os.kill(pid, signal.SIGKILL)
        parent.kill()
        parent.wait()
    assert "Traceback" not in log.read_text()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 (nobody tells when a process is over)
            await asyncio.sleep(0.01)


class Balancer:
    """One port: a new connection goes to a server that says it is ready, the two in turn."""

    def __init__(self, ports: list[int]) -> None:
        self.ports, self.ready = ports, set[int]()

    def has(self, port: int) -> bool:
        return port in self.ready

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        listener = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        watchers = [asyncio.create_task(self._watch(port)) for port in self.ports]
        try:
            yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        finally:
            listener.close()
            for watcher in watchers:
                watcher.cancel()

    async def _watch(self, port: int) -> None:
        async with httpx.AsyncClient() as client:
            while True:
                status = 0
                with suppress(httpx.TransportError):
                    status = (await client.get(f"http://127.0.0.1:{port}/ready")).status_code
                (self.ready.add if status == 200 else self.ready.discard)(port)
                await asyncio.sleep(0.05)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = next(port for port in self.ports if port in self.ready)
        self.ports = [*(other for other in self.ports if other != port), port]
        try:
            there = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(pipe(reader, there[1]), pipe(there[0], writer))
        except (OSError, asyncio.CancelledError):  # the latter when the test is over
            writer.transport.abort()


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


@dataclass
class Turn:
    """What one person got of one answer."""

    events: list[dict[str, Any]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    ended: float = 0.0
    broke_off: bool = False

    @property
    def acknowledged(self) -> list[dict[str, Any]]:
        return [event["item"] for event in self.events if event["type"] == DONE]

    @property
    def is_whole(self) -> bool:
        """It ends with what the assistant said, all of which came in pieces before."""
        kinds = [event["type"] for event in self.events]
        pieces = [event["update"] for event in self.events if event["type"] == SAID]
        heard = "".join(update.get("delta", "") for update in pieces)
        [*_, said] = [{}, *self.acknowledged]
        text = "".join(part["text"] for part in said.get("content", []))
        return "error" not in kinds and not self.broke_off and bool(text) and text == heard


class Person:
    """Somebody who writes again and again, a connection for each request."""

    def __init__(self, url: str) -> None:
        alone = httpx.Limits(max_keepalive_connections=0)
        self.http = httpx.AsyncClient(base_url=url, timeout=30, limits=alone)
        self.turns: list[Turn] = []
        self.failed = 0  # requests that got no answer, or not all of it
        self.thread_id = ""

    async def chat(self, is_over: Callable[[], bool]) -> None:
        while not is_over():
            await self.say(f"message {len(self.turns)}")

    async def say(self, text: str) -> None:
        body: dict[str, Any] = deepcopy(CREATE)
        body["params"]["input"]["content"][0]["text"] = text
        if self.thread_id:
            body["type"] = "threads.add_user_message"
            body["params"]["thread_id"] = self.thread_id
        turn = Turn()
        try:
            async with self.http.stream("POST", "/chatkit", json=body) as answer:
                if answer.status_code == 503:  # within the 50 ms that the balancer takes to see it
                    assert json.loads(await answer.aread())["error"]["code"] == "draining"
                    return
                assert answer.status_code == 200, await answer.aread()
                self.turns.append(turn)
                async for line in answer.aiter_lines():
                    if line.startswith("data: "):
                        turn.events.append(json.loads(line.removeprefix("data: ")))
        except httpx.TransportError:
            turn.broke_off, self.failed = True, self.failed + 1
        turn.ended = time.monotonic()
        if turn.events and not self.thread_id:
            self.thread_id = turn.events[0]["thread"]["id"]

    async def stored(self) -> list[dict[str, Any]]:
        params = {"thread_id": self.thread_id, "order": "asc", "limit": 100, "after": None}
        items: list[dict[str, Any]] = []
        while True:
            body = {"type": "items.list", "params": params}
            page = (await self.http.post("/chatkit", json=body)).json()
            items += page["data"]
            params["after"] = page.get("after")
            if not page["has_more"]:
                return items


async def under_load(
    servers: Servers, people: int, disturb: Callable[[Balancer, list["Person"]], Awaitable[None]]
) -> list[Person]:
    """Some people who chat while the servers are disturbed, and what they have then."""
    balancer, over = Balancer(servers.ports), False
    async with balancer.open() as url:
        for port in set(servers.ports) - set(servers.pids):
            servers.start(port)
            await until(partial(balancer.has, port))
        await until(lambda: len(balancer.ready) == 2)
        several = [Person(url) for _ in range(people)]
        chats = [asyncio.create_task(person.chat(lambda: over)) for person in several]
        await until(lambda: all(person.turns for person in several))
        await disturb(balancer, several)
        over = True
        await asyncio.gather(*chats)
        for person in several:
            seen = [item for turn in person.turns for item in turn.acknowledged]
            assert [item for item in await person.stored() if item in seen] == seen
    return several


def test_no_event_and_no_item_is_lost_while_servers_are_restarted_one_after_the_other(
    servers: Servers,
) -> None:
    signals: list[float] = []

    async def restart(balancer: Balancer, several: list[Person]) -> None:
        for _ in range(5):
            for port in list(servers.ports):
                signals.append(time.monotonic())
                await servers.end(port, signal.SIGTERM)
                assert port not in balancer.ready
                servers.start(port)
                await until(partial(balancer.has, port))

    people = asyncio.run(under_load(servers, 6, restart))
    turns = [turn for person in people for turn in person.turns]
    assert [turn for turn in turns if not turn.is_whole] == []
    assert [person.failed for person in people] == [0] * len(people)
    cut = [turn for turn in turns for at in signals if turn.began < at < turn.ended]
    assert len(cut) >= 10  # answers were being written when a signal came


def test_what_was_acknowledged_is_there_after_a_kill_and_the_conversation_goes_on(
    servers: Servers,
) -> None:
    async def kill(balancer: Balancer, several: list[Person]) -> None:
        await servers.end(servers.ports[0], signal.SIGKILL)
        await until(lambda: len(balancer.ready) == 1)
        ended = time.monotonic()
        await until(lambda: all(has_answered_since(ended, person) for person in several))

    people = asyncio.run(under_load(servers, 12, kill))
    assert [turn for person in people for turn in person.turns if turn.broke_off]


def has_answered_since(moment: float, person: Person) -> bool:
    return any(turn.began > moment and turn.is_whole for turn in person.turns)


@pytest.mark.parametrize(("delay", "after"), [("2", "2"), ("0", "1")])
def test_workers_drain_though_their_group_is_told_and_their_parent_tells_them_again(
    project: Path, environment: dict[str, str], tmp_path: Path, delay: str, after: str
) -> None:
    """Their parent takes connections on as long as any of them runs, and reads none."""
    limit = ("--timeout-graceful-shutdown", ENVIRONMENT["SHUTDOWN_GRACE"])
    command = (sys.executable, "-m", "uvicorn", "app.main:app", "--workers", "2", *limit)
    slowly = environment | {"OFFLINE_DELAY": "0.4", "DRAIN_DELAY": delay}
    with serving(project, tmp_path / "log", *command, **slowly) as (url, process):
        with httpx.stream("POST", url + "/chatkit", json=CREATE, timeout=20) as answer:
            turn, events = Turn(), events_of(answer)
            turn.events.append(next(events))
            os.killpg(process.pid, signal.SIGTERM)
            wait_until(lambda: httpx.get(url + "/ready").status_code == 503)
            time.sleep(0.5)  # uvicorn looks ten times a second whether it is to end
            for _ in range(3):  # whichever worker it is
                refused = httpx.post(url + "/chatkit", json=CREATE)
                assert (refused.status_code, refused.headers["retry-after"]) == (503, after)
            turn.events.extend(events)
        assert turn.is_whole
        process.wait(10)
    said = (tmp_path / "log").read_text()
    assert "were cut" not in said
    assert said.count("SHUTDOWN_GRACE is not below --timeout-graceful-shutdown, 10 seconds") == 2
