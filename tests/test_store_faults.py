"""What a store keeps when processes are killed or stopped, or write at once: real processes.

A store joins with a line in PLACES: where its data are in a test, and whether they are whole.
"""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from .test_process import CREATE, ENDLESS, events_of, free_port, process_at, serving, wait_until
from .warm import stand_in

# Adds `count` items as each client that is named, all at once, and prints the id of each item that
# the store has acknowledged. Every tenth is added once more.
WRITER = """
import asyncio, sys
from datetime import datetime
from chatkit.types import EndOfTurnItem, ThreadMetadata
from app.core.context import RequestContext
from app.core.store import StoreSettings, open_store

ME, NOW = RequestContext("me"), datetime(2026, 1, 2)

async def client(store, thread_id, name, count):
    for number in range(count):
        item = EndOfTurnItem(id=f"{name}-{number}", thread_id=thread_id, created_at=NOW)
        await store.add_thread_item(thread_id, item, ME)
        print(item.id, flush=True)
        if number % 10 == 9:
            await store.add_thread_item(thread_id, item, ME)

async def main(thread_id, count, *names):
    async with open_store(StoreSettings()) as store:
        await store.save_thread(ThreadMetadata(id=thread_id, created_at=NOW), ME)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await asyncio.gather(*(client(store, thread_id, name, int(count)) for name in names))

asyncio.run(main(*sys.argv[1:]))
"""
# Prints the ids of a thread's items, oldest first and newest first.
READER = """
import asyncio, json, sys
from app.core.context import RequestContext
from app.core.store import StoreSettings, open_store

async def ids(store, thread_id, order):
    found, after, more = [], None, True
    while more:
        page = await store.load_thread_items(thread_id, after, 70, order, RequestContext("me"))
        found += [item.id for item in page.data]
        after, more = page.after, page.has_more
    return found

async def main(thread_id):
    async with open_store(StoreSettings()) as store:
        print(json.dumps([await ids(store, thread_id, order) for order in ("asc", "desc")]))

asyncio.run(main(*sys.argv[1:]))
"""
THREAD = "thr_019e0000000070008000000000000000"
BUSY = "Another answer in this conversation is still being written."
LOST = "This conversation went on elsewhere."


@dataclass
class Place:
    """Where a store's data are in one test, for as many processes of a project as it likes."""

    project: Path
    folder: Path
    environment: dict[str, str]
    is_whole: Callable[[], bool]

    def run(self, script: str, *arguments: str) -> "subprocess.Popen[str]":
        """A process of the project's code that has begun."""
        return subprocess.Popen(
            [stand_in(), "-c", script, *arguments],
            cwd=self.project,
            env=os.environ | self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def writer(self, count: int, *names: str) -> "subprocess.Popen[str]":
        """A process that waits for a line before it writes."""
        process = self.run(WRITER, THREAD, str(count), *names)
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        return process

    def ids(self) -> list[str]:
        """The ids of the thread's items in their order, which is one in both directions."""
        printed, _ = self.run(READER, THREAD).communicate(timeout=60)
        oldest_first, newest_first = json.loads(printed)
        assert oldest_first == newest_first[::-1]
        return list(oldest_first)

    @contextmanager
    def servers(
        self, *commands: tuple[str, ...], **more: str
    ) -> Iterator[list[tuple[str, "subprocess.Popen[bytes]"]]]:
        """Servers that share the data, one for each application with options of uvicorn's."""
        (self.folder / "endless.py").write_text(ENDLESS)
        uvicorn = (stand_in(), "-m", "uvicorn", "--app-dir", str(self.folder))
        given = {"PYTHONPATH": str(self.project), "VISITOR_SECRET": "s", "OFFLINE_DELAY": "0"}
        given |= self.environment | {"TURN_LEASE": "1", "TURN_WAIT": "0.2"} | more
        logs = [self.folder / f"{number}.log" for number in range(len(commands))]
        with ExitStack() as stack, ThreadPoolExecutor() as at_once:
            begun = [
                serving(self.project, log, *uvicorn, *command, **given)
                for log, command in zip(logs, commands, strict=True)
            ]
            yield list(at_once.map(stack.enter_context, begun))
        said = "".join(log.read_text() for log in logs)
        assert not re.search(r"\[error|ERROR|Traceback|never retrieved", said), said


@contextmanager
def sqlite_place(project: Path, folder: Path, server: str) -> Iterator[Place]:
    file = folder / "data" / "chat.db"

    def is_whole() -> bool:
        with closing(sqlite3.connect(file)) as connection:
            found = connection.execute("PRAGMA integrity_check").fetchall()
            return found + connection.execute("PRAGMA foreign_key_check").fetchall() == [("ok",)]

    yield Place(project, folder, {"DATABASE_URL": f"sqlite:///{file}"}, is_whole)


@contextmanager
def postgres_place(project: Path, folder: Path, server: str) -> Iterator[Place]:
    schema = f"faults_{uuid.uuid4().hex}"
    address = make_conninfo(server, options=f"-c search_path={schema}")

    def is_whole() -> bool:
        with psycopg.connect(address) as connection:
            query = "SELECT count(*) - count(DISTINCT seq) FROM items GROUP BY thread_id"
            return {odd for (odd,) in connection.execute(query)} == {0}

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}".encode())
        yield Place(project, folder, {"DATABASE_URL": address}, is_whole)
        connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())


PLACES = {"sqlite": sqlite_place, "postgres": postgres_place}


@pytest.fixture(params=PLACES)
def place(
    request: pytest.FixtureRequest, projects: dict[str, Path], postgres: str, tmp_path: Path
) -> Iterator[Place]:
    store = request.param
    project = projects[f"agent-anonymous-{store}-openai"]
    with PLACES[store](project, tmp_path, postgres) as made:
        yield made


class Visitor:
    """One person, whichever server is asked."""

    def __init__(self) -> None:
        self.http = httpx.Client(timeout=30, trust_env=False)

    def post(self, url: str, kind: str, **params: Any) -> httpx.Response:
        return self.http.post(url + "/chatkit", json={"type": kind, "params": params})

    def say(self, url: str, thread_id: str | None = None) -> list[dict[str, Any]]:
        """The events of a turn, in a new thread or in one that is there."""
        params: Any = CREATE["params"]
        if thread_id is None:
            return list(events_of(self.post(url, "threads.create", **params)))
        return list(
            events_of(self.post(url, "threads.add_user_message", thread_id=thread_id, **params))
        )

    def kinds(self, url: str, thread_id: str) -> list[str]:
        page = self.post(url, "items.list", thread_id=thread_id, order="asc", limit=100).json()
        return [item["type"] for item in page["data"]]


class Turn:
    """A turn that a visitor has begun in a new thread, and reads in the background."""

    def __init__(self, visitor: Visitor, url: str) -> None:
        self.events: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, args=(visitor, url), daemon=True)
        self._reader.start()
        wait_until(lambda: len(self.events) > 20)
        self.thread_id: str = self.events[0]["thread"]["id"]

    def _read(self, visitor: Visitor, url: str) -> None:
        with httpx.stream("POST", url + "/chatkit", json=CREATE, timeout=60) as answer:
            visitor.http.cookies.update(answer.cookies)
            with suppress(httpx.TransportError):  # where the server is killed
                self.events.extend(events_of(answer))

    def last(self) -> dict[str, Any]:
        self._reader.join(20)
        assert not self._reader.is_alive()
        return self.events[-1]


def test_what_was_acknowledged_survives_a_kill_in_a_thousand_writes(place: Place) -> None:
    process = place.writer(1000, "a")
    assert process.stdin
    assert process.stdout
    process.stdin.write("\n")
    process.stdin.flush()
    printed = [process.stdout.readline().strip() for _ in range(400)]
    process.kill()
    printed += process.stdout.read().split()
    assert process.wait() == -signal.SIGKILL
    assert len(printed) < 1000

    kept = place.ids()
    assert kept[: len(printed)] == printed
    assert len(kept) - len(printed) <= 1  # one may have been on its way
    assert place.is_whole()
    again = place.writer(10, "b")
    again.communicate("\n", timeout=60)
    assert place.ids() == kept + [f"b-{number}" for number in range(10)]


def test_twenty_clients_of_one_thread_lose_and_reorder_nothing(place: Place) -> None:
    names = [f"{process}{client}" for process in "abcd" for client in range(5)]
    writers = [place.writer(20, *names[start : start + 5]) for start in range(0, 20, 5)]
    for writer in writers:
        assert writer.stdin
        writer.stdin.write("\n")
        writer.stdin.flush()
    for writer in writers:
        assert len(writer.communicate(timeout=120)[0].split()) == 100
        assert writer.returncode == 0

    kept = place.ids()
    assert len(kept) == len(set(kept)) == 400
    for name in names:
        mine = [item_id for item_id in kept if item_id.startswith(f"{name}-")]
        assert mine == [f"{name}-{number}" for number in range(20)]
    assert place.is_whole()


@pytest.mark.parametrize("workers", [1, 2], ids=["two servers", "two workers of one"])
def test_turns_of_one_thread_alternate_between_processes(place: Place, workers: int) -> None:
    visitor = Visitor()
    visitor.http.headers["connection"] = "close"  # so that any worker gets the next
    command = ("app.main:app", *["--workers", "2"] * (workers - 1))
    patient = {"TURN_LEASE": "30", "TURN_WAIT": "10"}  # a busy machine is no fault
    with place.servers(*[command] * (3 - workers), **patient) as servers:
        urls = [url for url, _ in servers]
        thread_id = visitor.say(urls[0])[0]["thread"]["id"]
        for number in range(1, 6):
            events = visitor.say(urls[number % len(urls)], thread_id)
            assert "error" not in [event["type"] for event in events]
        assert visitor.kinds(urls[0], thread_id) == ["user_message", "assistant_message"] * 6


def test_a_holder_that_was_stopped_for_too_long_writes_nothing_more(place: Place) -> None:
    visitor = Visitor()
    with place.servers(("endless:app",), ("app.main:app",)) as ((url, _), (other, _)):
        turn, holder = Turn(visitor, url), process_at(url)
        [refusal] = visitor.say(other, turn.thread_id)
        assert refusal["message"].startswith(BUSY)

        holder.suspend()
        try:
            time.sleep(1.2)  # longer than the lease
            events = visitor.say(other, turn.thread_id)
            assert events[-1]["item"]["type"] == "assistant_message"
        finally:
            holder.resume()
        assert turn.last()["message"].startswith(LOST)
        kinds = ["user_message", "user_message", "assistant_message"]
        assert visitor.kinds(other, turn.thread_id) == kinds
        assert visitor.kinds(url, turn.thread_id) == kinds


def test_a_thread_goes_on_after_a_kill_in_mid_answer(place: Place) -> None:
    visitor, two = Visitor(), (("endless:app",), ("app.main:app",))
    with place.servers(*two, TURN_LEASE="3") as ((url, holder), (other, _)):
        turn = Turn(visitor, url)
        os.killpg(holder.pid, signal.SIGKILL)
        holder.wait()
        assert visitor.kinds(other, turn.thread_id) == ["user_message"]
        [refusal] = visitor.say(other, turn.thread_id)
        assert refusal["message"].startswith(BUSY)
        wait_until(lambda: len(visitor.say(other, turn.thread_id)) > 1, 10)
        kinds = ["user_message", "user_message", "assistant_message"]
        assert visitor.kinds(other, turn.thread_id) == kinds
    assert place.is_whole()


def test_a_rename_during_a_running_turn_survives_it_and_a_delete_ends_it(place: Place) -> None:
    visitor = Visitor()
    with place.servers(("endless:app",), ("app.main:app",)) as ((url, _), (other, _)):
        turn = Turn(visitor, url)
        visitor.post(other, "threads.update", thread_id=turn.thread_id, title="Renamed")
        page = visitor.post(other, "threads.list").json()
        assert [thread["title"] for thread in page["data"]] == ["Renamed"]
        thread = visitor.post(url, "threads.get_by_id", thread_id=turn.thread_id).json()
        assert thread["title"] == "Renamed"

        assert visitor.post(other, "threads.delete", thread_id=turn.thread_id).status_code == 200
        assert turn.last()["type"] == "error"
        for each in (url, other):
            assert visitor.post(each, "threads.list").json()["data"] == []
            gone = visitor.post(each, "threads.get_by_id", thread_id=turn.thread_id)
            assert gone.status_code == 404


@pytest.fixture
def sqlite_project(projects: dict[str, Path]) -> Path:
    return projects["agent-anonymous-sqlite-openai"]


def test_a_disk_that_fills_up_is_a_sentence_in_the_log(
    sqlite_project: Path, tmp_path: Path
) -> None:
    """Here the system lets no file grow beyond 300 kB."""
    log, visitor = tmp_path / "log", Visitor()
    uvicorn = (sys.executable, "-m", "uvicorn", "app.main:app")
    limited = ("bash", "-c", 'ulimit -f 300; exec "$@"', "bash", *uvicorn)
    params: Any = CREATE["params"]
    given = {"DATABASE_URL": f"sqlite:///{tmp_path}/chat.db", "VISITOR_SECRET": "s"}
    with serving(sqlite_project, log, *limited, OFFLINE_DELAY="0", **given) as (url, _):
        answers = [visitor.post(url, "threads.create", **params) for _ in range(12)]
        ready = httpx.get(url + "/ready")
    assert answers[-1].status_code == 503
    assert answers[-1].json()["error"]["code"] == "unavailable"
    assert ready.status_code == 503
    assert "which may be full" in ready.text
    lines = [line for line in log.read_text().splitlines() if "[error" in line]
    assert lines
    assert [
        line for line in lines if "chat.db cannot be used: reading or writing" not in line
    ] == []
    assert "Traceback" not in log.read_text()

    whole = [answer for answer in answers if "error" not in answer.text]
    assert whole
    with serving(sqlite_project, log, *uvicorn, **given) as (url, _):
        threads = visitor.post(url, "threads.list", order="asc").json()["data"]
        for answer, thread in zip(whole, threads, strict=False):
            assert thread["id"] == next(events_of(answer))["thread"]["id"]
            assert visitor.kinds(url, thread["id"]) == ["user_message", "assistant_message"]


@pytest.mark.parametrize(
    ("url", "told", "workers"),
    [
        ("postgres://me:secret@host/x", "DATABASE_URL is not the address of a SQLite file", ()),
        (
            "sqlite:////dev/null/x.db",
            "DATABASE_URL names /dev/null/x.db, but its folder",
            ("--workers", "2"),
        ),
    ],
)
def test_a_file_that_will_not_do_stops_the_start_with_a_sentence(
    sqlite_project: Path, url: str, told: str, workers: tuple[str, ...]
) -> None:
    command = [stand_in(), "-m", "uvicorn", "app.main:app", "--port", str(free_port())]
    result = subprocess.run(
        [*command, *workers],
        cwd=sqlite_project,
        env=os.environ | {"DATABASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert told in result.stdout
    assert "Traceback" not in result.stdout
    assert "secret" not in result.stdout
