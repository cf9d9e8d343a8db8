"""The SQLite store's own: one file for several processes, and what keeps it from being used."""

import asyncio
import os
import re
import resource
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from chatkit import types as ck

from app.core.application import create_app
from app.core.config import stop_on_problems
from app.core.errors import StoreUnavailable
from app.core.store.base import begin_request
from app.core.store.sqlite import file as sqlite_file
from app.core.store.sqlite import schema as sqlite_schema
from app.core.store.sqlite import statements as sql
from app.core.store.sqlite.file import SqliteFile
from app.core.store.sqlite.store import SqliteSettings, SqliteStore, open_store
from app.server import Server

from ...chat import user_input
from ...fixtures import RunningServer, serve, settings, wait_until
from ...http.test_lease import Listener, is_speaking
from ...http.test_stop import Talker
from ..test_cancellation import cancelled_at
from ..test_store import ME, OTHERS, a_thread, message

Check = Callable[[SqliteStore], Awaitable[None]]
Errors = Callable[[], list[str]]


def given(url: str, **values: Any) -> SqliteSettings:
    return SqliteSettings(**{"_env_file": None, "database_url": url} | values)


def with_store(check: Check, path: Path, **values: Any) -> None:
    async def run() -> None:
        async with open_store(given(f"sqlite:///{path}", **values)) as store:
            await check(store)

    asyncio.run(run())


async def nothing(store: SqliteStore) -> None:
    pass


def ask(path: Path, statement: str) -> list[tuple[Any, ...]]:
    """What another program finds in the file."""
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement).fetchall()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "chat.db"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:secret@host/name",
        "data/chat.db",
        "sqlite://chat.db",
        "sqlite:///",
        "sqlite:///data/",
        "sqlite:///:memory:",
        "sqlite:///chat.db?mode=ro",
    ],
)
def test_what_is_not_the_address_of_a_file_stops_the_start(url: str) -> None:
    with pytest.raises(SystemExit, match=r"write sqlite:///data/chat.db") as stop:
        stop_on_problems(settings(database_url=url))
    assert "secret" not in str(stop.value)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///data/chat.db", "data/chat.db"),
        ("sqlite:////var/lib/chat.db", "/var/lib/chat.db"),
        ("sqlite+aiosqlite:///a b%20c.db", "a b%20c.db"),
    ],
)
def test_three_slashes_lead_from_the_working_directory_and_four_from_the_root(
    url: str, path: str
) -> None:
    assert given(url).database_path == Path(path)


def test_an_old_sqlite_stops_the_start(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))
    [problem] = given(f"sqlite:///{path}").errors()
    assert "SQLite 3.37 or later is needed" in problem


def test_it_may_go_to_production(path: Path) -> None:
    assert given(f"sqlite:///{path}", app_env="production").errors() == []


def test_the_start_makes_the_file_and_keeps_it_private(path: Path) -> None:
    create_app(Server, settings=settings(database_url=f"sqlite:///{path}"))
    assert not path.parent.exists()  # importing the application leaves no trace
    with_store(nothing, path)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600


def a_text(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("not a database at all")


def a_newer_one(path: Path) -> None:
    with_store(nothing, path)
    ask(path, "PRAGMA user_version = 99")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: path.parent.write_text("a file"), "its folder cannot be made"),
        (lambda path: path.mkdir(parents=True), "it cannot be opened"),
        (a_text, "it is not a SQLite database"),
        (a_newer_one, "a newer version of this application wrote it"),
    ],
    ids=["folder", "file", "text", "newer"],
)
def test_a_file_that_will_not_do_stops_the_start(
    path: Path, make: Callable[[Path], Any], told: str
) -> None:
    make(path)
    with pytest.raises(SystemExit) as stop:
        create_app(Server, settings=settings(database_url=f"sqlite:///{path}"))
    assert f"DATABASE_URL names {path}, but {told}" in str(stop.value)
    assert str(stop.value).count("\n") == 0


def test_it_is_opened_as_it_was_measured(path: Path) -> None:
    async def check(store: SqliteStore) -> None:
        expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "query_only": 0}
        for name, value in (expected | {"busy_timeout": 3000}).items():
            assert await store.file.write(f"PRAGMA {name}", {}) == [(value,)], name
        for _ in range(sqlite_file.READERS):
            assert await store.file.read("PRAGMA query_only", {}) == [(1,)]

    with_store(check, path, database_busy_timeout=3)


def test_every_statement_finds_its_rows_by_their_keys(path: Path) -> None:
    tables = (sql.THREADS, sql.ITEMS, sql.LOOK, sql.REMOVE)
    given = [*vars(sql).values(), *(text for table in tables for text in table.values())]
    texts = [text for text in given if isinstance(text, str) and ":user" in text]
    statements = {text for text in texts if not text.startswith("coalesce")} - {sql.ORGANISATIONS}
    names = "own org user thread item after rows seconds generation data attachment created_at "
    names += "title status allowed_image_domains metadata id seq last_org last_user last_id kind "
    values = dict.fromkeys([*names.split(), "items"])
    # No table, what a LIMIT has let through, and what the statement itself was given.
    bounded = r"SCAN CONSTANT ROW|SCAN \(subquery-\d+\) USE TEMP B-TREE FOR ORDER BY"
    bounded += r"|SCAN json_each VIRTUAL TABLE INDEX \d+:"

    async def check(store: SqliteStore) -> None:
        for text in [*statements, sql.update_thread(["title"])]:
            plan = await store.file.read(f"EXPLAIN QUERY PLAN {text}", values)
            told = re.sub(bounded, "", " ".join(row[3] for row in plan))
            assert "SCAN" not in told
            assert "USE TEMP" not in told

    with_store(check, path)


def test_a_write_of_a_thread_says_when_and_touches_no_other(path: Path) -> None:
    thread = a_thread()

    def touched() -> list[str]:
        rows = ask(path, "SELECT org_id, user_id FROM threads WHERE updated_at != 'before'")
        ask(path, "UPDATE threads SET updated_at = 'before'")
        return [f"{org}/{user}" for org, user in rows]

    async def check(store: SqliteStore) -> None:
        for owner in (ME, *OTHERS):
            await store.save_thread(thread, owner)
            await store.add_thread_item(thread.id, message(thread, id="m"), owner)
        touched()
        for write in (
            store.add_thread_item(thread.id, message(thread), ME),
            store.save_item(thread.id, message(thread, "new", "m"), ME),
            store.delete_thread_item(thread.id, "m", ME),
            store.save_thread(thread, ME),
            rename(store),
        ):
            await write
            assert touched() == ["/me"]

    async def rename(store: SqliteStore) -> None:
        begin_request()
        mine = await store.load_thread(thread.id, ME)
        await store.save_thread(mine.model_copy(update={"title": "new"}), ME)

    with_store(check, path)


# What comes over a file, and what takes it away again.


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def refused(path: Path) -> Iterator[None]:
    """The system lets no file grow."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def nothing_else(path: Path) -> Iterator[None]:
    yield


# A statement that brings it over the connection and one that ends it, or what happens elsewhere.
FAULTS: dict[str, tuple[str, str, Any, str]] = {
    "full": (
        "PRAGMA max_page_count = 1",
        "PRAGMA max_page_count = 4294967294",
        nothing_else,
        "the disk is full",
    ),
    "read-only": (
        "PRAGMA query_only = 1",
        "PRAGMA query_only = 0",
        nothing_else,
        "it is read-only",
    ),
    "refused": ("", "", refused, "which may be full"),
    "locked": ("", "", locked, "it stayed locked"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_written_is_one_clear_error(path: Path, errors: Errors, fault: str) -> None:
    thread = a_thread()
    begin, end, elsewhere, told = FAULTS[fault]

    async def grow(store: SqliteStore) -> None:
        for _ in range(50):
            await store.add_thread_item(thread.id, message(thread, "x" * 1000), ME)

    async def attempts(store: SqliteStore) -> None:
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await grow(store)
        if fault in ("read-only", "locked"):  # else there still is room for a little
            assert told in (await store.ready() or "")
        assert await store.load_thread(thread.id, ME) == thread

    async def check(store: SqliteStore) -> None:
        await store.save_thread(thread, ME)
        for times in (1, 2):
            await store.file.write(begin, {})
            with elsewhere(path):
                await attempts(store)
            assert len(errors()) == times  # not for each attempt, but whenever it comes again
            await store.file.write(end, {})
            await store.add_thread_item(thread.id, message(thread), ME)
            assert await store.ready() is None
        for line in errors():
            assert str(path) in line
            assert told in line
            assert "\n" not in line

    with_store(check, path, database_busy_timeout=0.1)


@pytest.mark.parametrize("another", [False, True], ids=["deleted", "replaced"])
def test_a_file_that_is_lost_meanwhile_takes_nothing_more(
    path: Path, errors: Errors, another: bool
) -> None:
    """SQLite would go on writing into a file that has no name any more."""

    async def check(store: SqliteStore) -> None:
        await store.save_thread(a_thread(), ME)
        lose()
        with pytest.raises(StoreUnavailable):
            await store.save_thread(a_thread(), ME)
        assert "it was deleted or replaced" in (await store.ready() or "")
        assert len(errors()) == 1

    def lose() -> None:
        path.unlink()
        if another:
            path.touch()

    with_store(check, path)


def test_a_damaged_file_is_one_clear_error(path: Path, errors: Errors) -> None:
    async def check(store: SqliteStore) -> None:
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await store.save_thread(a_thread(), ME)
        assert "put a backup in its place" in (await store.ready() or "")
        assert len(errors()) == 1

    with_store(nothing, path)
    path.write_bytes(path.read_bytes()[:100] + b"no table" * 1000)
    with_store(check, path)


def test_a_file_that_cannot_be_opened_yet_is_opened_later(path: Path, errors: Errors) -> None:
    async def check(store: SqliteStore) -> None:
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await store.load_thread("thr_1", ME)
        assert "it cannot be opened" in (await store.ready() or "")
        [line] = errors()
        assert "it cannot be opened" in line
        path.parent.unlink()
        await store.save_thread(a_thread(), ME)
        assert await store.ready() is None

    path.parent.write_text("in the way")
    with_store(check, path)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Nothing is read-only for root."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def test_a_read_only_file_stops_the_start_and_does_not_get_ready(errors: Errors) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "chat.db")
        with_store(nothing, path)
        path.chmod(0o444)
        Path(folder).chmod(0o555)

        async def check(store: SqliteStore) -> None:
            assert "let this server's user write it and its folder" in (await store.ready() or "")
            with pytest.raises(StoreUnavailable):
                await store.save_thread(a_thread(), ME)

        with as_nobody():
            with_store(check, path)
            [problem] = given(f"sqlite:///{path}").errors()
        assert "let this server's user write" in problem
        assert len(errors()) == 1
        Path(folder).chmod(0o700)


# Requests, while the file cannot be written.


@pytest.fixture
def talking() -> Iterator[tuple[RunningServer, Talker, SqliteFile]]:
    with serve() as server:
        state = server.app.state
        talker = state.server = Talker(state.server.store, state.settings)
        yield server, talker, cast(SqliteStore, server.store).file


Talking = tuple[RunningServer, Talker, SqliteFile]


def test_a_request_that_meets_it_at_the_start_is_answered_with_503(
    talking: Talking, errors: Errors
) -> None:
    server, _, file = talking
    person = server.person()
    server.run(file.write("PRAGMA query_only = 1", {}))
    response = person.post("threads.create", input=user_input())
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "unavailable"
    assert person.http.get("/ready").status_code == 503
    assert person.ask("threads.list")["data"] == []
    [line] = errors()
    assert "it is read-only" in line


def test_a_stop_that_meets_it_is_quiet(talking: Talking, errors: Errors) -> None:
    server, _, file = talking
    first = Listener(server.person(), "threads.create", input=user_input())
    wait_until(lambda: is_speaking(first))
    server.run(file.write("PRAGMA query_only = 1", {}))
    first.stop()
    wait_until(lambda: not server.app.state.turns)
    [line] = errors()
    assert "it is read-only" in line


def test_a_turn_that_meets_it_in_mid_answer_ends_with_an_error_event(
    talking: Talking, errors: Errors, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, talker, file = talking

    async def respond(thread: ck.ThreadMetadata, *_: Any) -> AsyncIterator[ck.ThreadStreamEvent]:
        yield ck.ProgressUpdateEvent(text="so far")
        await file.write("PRAGMA query_only = 1", {})
        yield ck.ThreadItemDoneEvent(item=message(thread))

    monkeypatch.setattr(talker, "respond", respond)
    last = server.person().say("Hello")[-1]
    assert last["type"] == "error"
    assert last["message"].startswith("Conversations cannot be reached")
    [line] = errors()
    assert "it is read-only" in line


# One file, several processes and tasks.

# Adds items to one thread, from the moment when it is told to.
WORKER = """
import asyncio, sys
from datetime import datetime
from chatkit.types import EndOfTurnItem, ThreadMetadata
from app.core.context import RequestContext
from app.core.store.sqlite.store import SqliteSettings, open_store

async def main(url, thread_id, me=RequestContext("me"), now=datetime.now()):
    async with open_store(SqliteSettings(_env_file=None, database_url=url)) as store:
        thread = ThreadMetadata(id=thread_id, created_at=now)
        await store.save_thread(thread, me)
        for _ in range(25):
            item_id = store.generate_item_id("message", thread, me)
            item = EndOfTurnItem(id=item_id, thread_id=thread_id, created_at=now)
            await store.add_thread_item(thread_id, item, me)

print("ready", flush=True)
sys.stdin.readline()
asyncio.run(main(*sys.argv[1:]))
"""


def test_processes_that_start_at_once_make_one_schema_and_lose_nothing(path: Path) -> None:
    thread_id = a_thread().id
    command = [sys.executable, "-c", WORKER, f"sqlite:///{path}", thread_id]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    root = Path(__file__).resolve().parents[4]
    workers = [subprocess.Popen(command, cwd=root, text=True, **pipes) for _ in range(4)]
    assert [worker.stdout.readline() for worker in workers if worker.stdout] == ["ready\n"] * 4
    for worker in workers:
        assert worker.stdin
        worker.stdin.write("\n")
        worker.stdin.flush()
    assert [worker.communicate(timeout=30)[1] for worker in workers] == [""] * 4

    async def check(store: SqliteStore) -> None:
        page = await store.load_thread_items(thread_id, None, 1000, "asc", ME)
        assert len({item.id for item in page.data}) == len(page.data) == 100

    with_store(check, path)
    assert ask(path, "SELECT min(seq), max(seq) FROM items") == [(1, 100)]


def test_a_start_waits_for_one_that_is_making_the_file(path: Path, errors: Errors) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.2, other.execute, ["COMMIT"])
        timer.start()
        with_store(nothing, path)
        timer.join()
    assert errors() == []
    assert ask(path, "PRAGMA journal_mode") == [("wal",)]


def test_a_file_of_an_older_version_is_upgraded_in_place(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = a_thread(title="kept")

    async def fill(store: SqliteStore) -> None:
        await store.save_thread(thread, ME)
        await store.add_thread_item(thread.id, message(thread, id="m"), ME)

    async def check(store: SqliteStore) -> None:
        assert await store.load_thread(thread.id, ME) == thread
        assert await store.load_item(thread.id, "m", ME) == message(thread, id="m")
        await store.add_thread_item(thread.id, message(thread, id="n"), ME)

    with_store(fill, path)
    newer = [["ALTER TABLE threads ADD COLUMN pinned INTEGER", "UPDATE threads SET pinned = 1"]]
    monkeypatch.setattr(sqlite_schema, "UPGRADES", sqlite_schema.UPGRADES + newer)
    with_store(check, path)
    assert ask(path, "PRAGMA user_version") == [(len(sqlite_schema.UPGRADES),)]
    assert ask(path, "SELECT pinned FROM threads") == [(1,)]
    with_store(check, path)  # and only once
    assert ask(path, "SELECT count(*) FROM items") == [(2,)]


def test_a_file_from_before_feedback_takes_it(path: Path) -> None:
    thread = a_thread()

    async def fill(store: SqliteStore) -> None:
        await store.save_thread(thread, ME)
        await store.add_thread_item(thread.id, message(thread, id="m"), ME)

    async def check(store: SqliteStore) -> None:
        await store.save_feedback(thread.id, ["m"], "positive", ME)
        assert await store.load_feedback(thread.id, ME) == {"m": "positive"}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_schema, "UPGRADES", sqlite_schema.UPGRADES[:1])
        with_store(fill, path)
    with_store(check, path)


def test_an_upgrade_that_breaks_off_leaves_everything_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_store(nothing, path)
    newer = [["ALTER TABLE threads ADD COLUMN pinned INTEGER"], ["This is no SQL"]]
    before = ask(path, "PRAGMA user_version")
    monkeypatch.setattr(sqlite_schema, "UPGRADES", sqlite_schema.UPGRADES + newer)
    with pytest.raises(sqlite3.OperationalError):
        with_store(nothing, path)
    assert ask(path, "PRAGMA user_version") == before
    assert "pinned" not in str(ask(path, "SELECT sql FROM sqlite_schema"))


def test_a_file_of_a_newer_version_is_left_alone(path: Path, errors: Errors) -> None:
    async def check(store: SqliteStore) -> None:
        with pytest.raises(StoreUnavailable):
            await store.save_thread(a_thread(), ME)

    a_newer_one(path)
    with_store(check, path)
    assert ask(path, "PRAGMA user_version") == [(99,)]
    assert "a newer version of this application wrote it" in errors()[0]


def test_a_database_of_another_program_is_left_alone(path: Path, errors: Errors) -> None:
    async def check(store: SqliteStore) -> None:
        with pytest.raises(StoreUnavailable):
            await store.save_thread(a_thread(), ME)

    path.parent.mkdir()
    ask(path, "CREATE TABLE threads (theirs)")
    with_store(check, path)
    assert ask(path, "SELECT name FROM sqlite_schema") == [("threads",)]
    [line] = errors()
    assert "its tables are another program's" in line


def test_requests_that_are_cancelled_while_the_file_is_opened_leave_no_thread(
    tmp_path: Path,
) -> None:
    def workers() -> list[threading.Thread]:
        every = threading.enumerate()
        return [each for each in every if "_connection_worker_thread" in each.name]

    async def check() -> None:
        number, was_cancelled = 0, True
        while was_cancelled:
            number += 1
            file = SqliteFile(tmp_path / f"{number}.db", 5)
            was_cancelled = await cancelled_at(number, 2, file.open)
            assert [*map(tuple, await file.read("SELECT 1", {}))] == [(1,)]
            opened = workers()
            assert len(opened) == 1 + sqlite_file.READERS
            await file.close()
            for thread in opened:
                await asyncio.to_thread(thread.join, 5)
            assert workers() == []

    asyncio.run(check())


def test_a_cancelled_write_is_done_or_not_and_leaves_nothing_open(path: Path) -> None:
    thread = a_thread()
    done: list[str] = []

    async def add(store: SqliteStore, item_id: str) -> None:
        await store.add_thread_item(thread.id, message(thread, id=item_id), ME)
        done.append(item_id)

    async def check(store: SqliteStore) -> None:
        await store.save_thread(thread, ME)
        tasks = [asyncio.create_task(add(store, str(number))) for number in range(200)]
        for number, task in enumerate(tasks):
            if number % 3:
                await asyncio.sleep(0 if number % 2 else 0.001)
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert 0 < len(done) < 200
        with locked(path):  # no transaction is left open
            page = await store.load_thread_items(thread.id, None, 300, "asc", ME)
        assert set(done) <= {item.id for item in page.data}
        await add(store, "after")

    with_store(check, path, database_busy_timeout=1)


def test_waiting_for_another_process_stops_nobody_else(path: Path) -> None:
    thread = a_thread()

    async def check(store: SqliteStore) -> None:
        await store.save_thread(thread, ME)
        with locked(path):
            began = time.monotonic()
            writes = [store.save_thread(a_thread(), ME) for _ in range(20)]
            waiting = asyncio.gather(*writes, return_exceptions=True)
            while not waiting.done():
                before = time.monotonic()
                await asyncio.sleep(0)
                await store.load_thread(thread.id, ME)
                assert time.monotonic() - before < 0.45
            assert {type(error) for error in waiting.result()} == {StoreUnavailable}
            assert time.monotonic() - began < 5  # not one after the other

    with_store(check, path, database_busy_timeout=0.5)


def test_a_store_that_is_closed_takes_nothing_more(path: Path, errors: Errors) -> None:
    async def run() -> None:
        async with open_store(given(f"sqlite:///{path}")) as store:
            pass
        with pytest.raises(StoreUnavailable):
            await store.save_thread(a_thread(), ME)

    before = threading.active_count()
    asyncio.run(run())
    wait_until(lambda: threading.active_count() <= before)
    assert errors() == []
    assert [file.name for file in path.parent.iterdir()] == ["chat.db"]


def test_the_readmes_statement_leaves_nothing_of_what_was_deleted(tmp_path: Path) -> None:
    """Beside the running server: what was deleted before is in neither of the store's files."""
    path, secret = tmp_path / "chat.db", "a secret of hers"

    def kept() -> bytes:
        return b"".join(file.read_bytes() for file in tmp_path.iterdir())

    async def check(store: SqliteStore) -> None:
        thread = a_thread()
        await store.save_thread(thread, ME)
        for number in range(30):
            await store.add_thread_item(thread.id, message(thread, f"{secret} {number}"), ME)
        await store.delete_thread(thread.id, ME)
        assert secret.encode() in kept()
        with closing(sqlite3.connect(path)) as other:
            other.executescript("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")
        assert secret.encode() not in kept()

    with_store(check, path)
