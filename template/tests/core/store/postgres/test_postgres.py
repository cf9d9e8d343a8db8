"""What is PostgreSQL's own: migrations, lost connections, and texts that it would refuse."""

import asyncio
import atexit
import contextlib
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
import pytest
from alembic.util import CommandError
from chatkit import types as ck
from chatkit.store import NotFoundError
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from typer.testing import CliRunner

from app.core.commands import commands
from app.core.config import stop_on_problems
from app.core.errors import StoreUnavailable, logger
from app.core.store.base import Lease, TurnLost, begin_request
from app.core.store.embedded import with_limits
from app.core.store.postgres import statements as sql
from app.core.store.postgres.schema import FOREIGN, HEAD, migrate
from app.core.store.postgres.store import PostgresStore, open_store

from ... import database
from ...auth_styles import LIVE
from ...chat import user_input
from ...fixtures import serve, settings
from ...stores.postgres import TABLES, fresh
from .. import test_store
from ..test_store import ME, a_thread, message

SILENT, DEAF = -1, -2
PROJECT = Path(__file__).resolve().parents[4]


def opened(conninfo: str, **values: Any) -> AbstractAsyncContextManager[PostgresStore]:
    given: Any = settings(database_url=conninfo, **values)
    return open_store(given)


def run(check: Callable[[PostgresStore, str], Any], **values: Any) -> None:
    async def with_store() -> None:
        conninfo = fresh()["database_url"]
        async with opened(conninfo, **values) as store:
            await check(store, conninfo)

    asyncio.run(asyncio.wait_for(with_store(), 30))


def test_the_tests_use_the_server_that_they_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_DATABASE_URL", given := "postgresql://me@db.example/tests")
    monkeypatch.setattr(atexit, "register", lambda *_: None)  # it has nothing to drop there
    assert database.server.__wrapped__() == given


def test_production_needs_the_address_of_a_database() -> None:
    with pytest.raises(SystemExit, match=r"DATABASE_URL is not set: .*postgresql://user"):
        stop_on_problems(settings(app_env="production", database_url=None))


@pytest.mark.parametrize(
    "url", ["postgresql://user:pa%ss@host/x", "postgresql://h:port/x", "nonsense"]
)
def test_an_address_that_cannot_be_read_stops_the_start_and_is_not_repeated(url: str) -> None:
    with pytest.raises(SystemExit, match="DATABASE_URL cannot be read") as stop:
        stop_on_problems(settings(database_url=url))
    assert url not in str(stop.value)


def test_the_address_may_be_written_as_sqlalchemy_wants_it() -> None:
    given: Any = settings(database_url="postgresql+psycopg://me:secret@db.example:6432/chat")
    stop_on_problems(given)
    parts = {"user": "me", "password": "secret", "host": "db.example", "port": "6432"}
    assert conninfo_to_dict(given.conninfo) == parts | {"dbname": "chat"}


def test_texts_keep_every_character() -> None:
    async def check(store: PostgresStore, _: str) -> None:
        thread = a_thread(title="a\0b", metadata={"n": [10**30, 1e308, 0.1, "\0"]})
        await store.save_thread(thread, ME)
        assert (await store.load_thread(thread.id, ME)).title == "ab"
        assert (await store.load_thread(thread.id, ME)).metadata == thread.metadata
        item = message(thread, "nul \0, quote ', \\u0000 and \U0001f600")
        await store.add_thread_item(thread.id, item, ME)
        assert await store.load_item(thread.id, item.id, ME) == item

    run(check)


def test_a_database_out_of_reach_is_503_and_told_by_ready(errors: Callable[[], list[str]]) -> None:
    nowhere = "postgresql://me:a-secret@127.0.0.1:1/chat"
    with serve(database_url=nowhere, database_connect_timeout=0.5) as server:
        person, begun = server.person(), time.monotonic()
        for response in (
            person.post("threads.list"),
            person.post("threads.create", input=user_input()),
        ):
            assert (response.status_code, response.json()["error"]["code"]) == (503, "unavailable")
        response = person.http.get("/ready")
        assert (response.status_code, response.json()["error"]["code"]) == (503, "not_ready")
        assert time.monotonic() - begun < 5  # the default is to wait so long for each
    assert "a-secret" not in str(errors())
    assert "Traceback" not in str(errors())


def test_production_leaves_the_schema_alone_and_ready_says_that_it_is_behind() -> None:
    given: Any = settings()
    migrate(given.conninfo, "base")
    live: dict[str, Any] = {"app_env": "production", "model": "offline"} | LIVE
    live["database_url"] = given.conninfo
    with serve(**live) as server:
        person = server.person()
        response = person.http.get("/ready")
        assert response.status_code == 503
        assert "uv run alembic upgrade head" in response.text
        assert person.post("threads.list").status_code == 503

        done = CliRunner().invoke(commands, ["migrate"], env={"DATABASE_URL": given.conninfo})
        assert (done.exit_code, done.output) == (0, f"The schema is at {HEAD}.\n")
        assert person.http.get("/ready").status_code == 200
        assert person.post("threads.list").status_code == 200


def test_migrate_says_in_a_sentence_that_no_database_is_reached() -> None:
    nowhere = {"DATABASE_URL": "postgresql://me:a-secret@127.0.0.1:1/chat"}
    done = CliRunner().invoke(commands, ["migrate"], env=nowhere)
    assert done.exit_code == 1
    assert done.output.startswith("The database cannot be reached: ")
    assert "a-secret" not in done.output


def test_migrations_go_down_and_up_again_with_data_in_the_tables() -> None:
    async def check(store: PostgresStore, conninfo: str) -> None:
        for _ in range(2):
            thread = a_thread()
            await store.save_thread(thread, ME)
            await store.add_thread_item(thread.id, message(thread), ME)
            await store.save_attachment(ck.FileAttachment(id="f", name="n", mime_type="m"), ME)
            assert await store.ready() is None
            await asyncio.to_thread(migrate, conninfo, "base")
            assert "alembic upgrade head" in (await store.ready() or "")
            with pytest.raises(StoreUnavailable):
                await store.load_thread(thread.id, ME)
            await asyncio.to_thread(migrate, conninfo)
            assert (await store.load_threads(9, None, "desc", ME)).data == []

    run(check)


def test_a_database_from_before_feedback_takes_it() -> None:
    async def check(store: PostgresStore, conninfo: str) -> None:
        thread = a_thread()
        await store.save_thread(thread, ME)
        await store.add_thread_item(thread.id, message(thread, id="m"), ME)
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute("DROP TABLE feedback, usage")
            connection.execute("UPDATE alembic_version SET version_num = '0001'")
        assert "0001" in (await store.ready() or "")
        await asyncio.to_thread(migrate, conninfo)
        await store.save_feedback(thread.id, ["m"], "positive", ME)
        assert await store.load_feedback(thread.id, ME) == {"m": "positive"}

    run(check)


VERSIONED = "CREATE TABLE alembic_version (version_num varchar(32)); CREATE TABLE orders (id int);"
THEIRS = {
    "at a revision of its own": f"{VERSIONED} INSERT INTO alembic_version VALUES ('f3a9c2e17b64')",
    "at a number that is one of ours": f"{VERSIONED} INSERT INTO alembic_version VALUES ('0001')",
    "with a table by a name of ours": "CREATE TABLE items (id int, name text)",
}


@pytest.mark.parametrize("statements", THEIRS.values(), ids=THEIRS.keys())
def test_another_programs_tables_are_left_alone_and_the_way_out_is_told(
    errors: Callable[[], list[str]], statements: str
) -> None:
    with psycopg.connect(conninfo := database.schema()) as connection:
        connection.execute(statements.encode())
    before = all_of(conninfo)
    with serve(database_url=conninfo) as server:
        person = server.person()
        response = person.http.get("/ready")
        assert (response.status_code, response.json()["error"]["code"]) == (503, "not_ready")
        assert FOREIGN in response.json()["error"]["message"]
        assert person.post("threads.create", input=user_input()).status_code == 503
    assert errors()[0] == f"The schema was not applied: {FOREIGN}"
    for revision in ("head", "base"):
        with pytest.raises(CommandError, match=re.escape(FOREIGN)):
            migrate(conninfo, revision)
    assert all_of(conninfo) == before


def test_a_version_that_another_program_wrote_over_ours_is_not_taken_for_a_newer_one() -> None:
    async def check(store: PostgresStore, conninfo: str) -> None:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
            assert await store.ready() is None  # a newer version of this application's
            connection.execute("UPDATE alembic_version SET version_num = 'f3a9c2e17b64'")
        assert FOREIGN in (await store.ready() or "")
        done = alembic(conninfo, "upgrade", "head")
        told = f"The database cannot be used: {FOREIGN}"
        assert (done.returncode, done.stderr.strip()) == (1, told)
        if find_spec("app.core.production"):  # at level production
            doctor: Any = import_module("app.core.production.ops.doctor").Doctor("", {})
            doctor.found = settings(database_url=conninfo)
            logger.addHandler(doctor.words)
            with pytest.raises(Exception, match=re.escape(FOREIGN)) as wrong:
                await doctor.store()
            logger.removeHandler(doctor.words)
            assert doctor.words.said == [f"The schema was not applied: {FOREIGN}"]
            assert str(wrong.value).count(FOREIGN) == 1

    run(check)


def test_a_database_that_can_only_be_read_is_not_ready(errors: Callable[[], list[str]]) -> None:
    """As a standby, or what was the primary before a failover."""
    with serve(database_url=(conninfo := database.schema())) as server:
        server.person().new_thread()
    options = f"{conninfo_to_dict(conninfo)['options']} -c default_transaction_read_only=on"
    with serve(database_url=make_conninfo(conninfo, options=options)) as server:
        person = server.person()
        answer = person.http.get("/ready")
        assert answer.status_code == 503
        assert "can only be read" in answer.json()["error"]["message"]
        assert person.post("threads.create", input=user_input()).status_code == 503


@pytest.fixture
def shared() -> Iterator[str]:
    """The URL of a database of its own, to be shared by two programs."""
    url, name = database.server(), f"test_{uuid.uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as connection:
        try:
            connection.execute(f"CREATE DATABASE {name}".encode())
        except psycopg.errors.InsufficientPrivilege:
            pytest.skip("The role of TEST_DATABASE_URL may not create databases.")
        parts = conninfo_to_dict(url) | {"dbname": name}
        yield f"postgresql:///?{urlencode(parts, quote_via=quote)}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


HOSTS_ENV = """
import os, psycopg, sqlalchemy
from alembic import context
engine = sqlalchemy.create_engine(
    "postgresql+psycopg://", creator=lambda: psycopg.connect(os.environ["DATABASE_URL"])
)
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
HOSTS_REVISION = """
from alembic import op
revision, down_revision = "{0}", {1!r}
def upgrade(): op.execute("CREATE TABLE {2} (id int)")
"""


def test_in_a_schema_of_its_own_it_lives_beside_another_program_that_uses_alembic(
    shared: str, tmp_path: Path
) -> None:
    ours = f"{shared}&options=-csearch_path%3Dchat"
    assert ours.endswith(FOREIGN.partition("?")[2].rstrip(")").removeprefix("options="))
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = .\n")
    (tmp_path / "env.py").write_text(HOSTS_ENV)
    (tmp_path / "versions").mkdir()

    def host_adds(revision: str, before: str | None, table: str) -> None:
        text = HOSTS_REVISION.format(revision, before, table)
        (tmp_path / "versions" / f"{revision}.py").write_text(text)
        assert alembic(shared, "upgrade", "head", folder=tmp_path).returncode == 0

    host_adds("0001", None, "items")
    with pytest.raises(CommandError, match="CREATE SCHEMA chat"):
        migrate(ours)
    with psycopg.connect(shared) as connection:
        connection.execute("CREATE SCHEMA chat")
    assert alembic(ours, "upgrade", "head").returncode == 0
    host_adds("f3a9c2e17b64", "0001", "threads")
    theirs = all_of(shared)
    with serve(database_url=ours) as server:
        person = server.person()
        assert person.http.get("/ready").status_code == 200
        assert person.post("threads.create", input=user_input()).status_code == 200
    migrate(ours, "base")
    migrate(ours)
    assert all_of(shared) == theirs
    assert {name for name, _ in all_of(ours)} == {*TABLES, "alembic_version"}


def all_of(conninfo: str) -> list[tuple[str, str]]:
    """The rows of each table of the schema, by its name."""
    with psycopg.connect(conninfo) as connection:
        query = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1"
        names = [name for (name,) in connection.execute(query)]
        rows = [connection.execute(f"SELECT * FROM {name}".encode()).fetchall() for name in names]
    return list(zip(names, map(str, rows), strict=True))


def alembic(conninfo: str, *words: str, folder: Path = PROJECT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "alembic", *words]
    environment = os.environ | {"DATABASE_URL": conninfo}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_servers_that_start_at_once_apply_the_schema_once() -> None:
    given: Any = settings()
    conninfo = given.conninfo
    migrate(conninfo, "base")
    command = [sys.executable, "-m", "alembic", "upgrade", "head"]
    environment = os.environ | {"DATABASE_URL": conninfo}
    started = [subprocess.Popen(command, cwd=PROJECT, env=environment) for _ in range(3)]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    with psycopg.connect(conninfo) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEAD,)]


def test_what_rested_in_the_pool_while_the_database_was_away_is_not_handed_out() -> None:
    async def check(store: PostgresStore, conninfo: str) -> None:
        thread = a_thread()
        await store.save_thread(thread, ME)
        await asyncio.gather(*(store.load_thread(thread.id, ME) for _ in range(20)))
        cut_connections(conninfo)
        assert (await store.load_thread(thread.id, ME)).id == thread.id
        await asyncio.gather(*(store.load_thread(thread.id, ME) for _ in range(20)))

    run(check)


def test_a_stop_is_heard_while_dead_connections_are_replaced() -> None:
    async def check(store: PostgresStore, conninfo: str) -> None:
        thread = a_thread()
        await store.save_thread(thread, ME)
        await asyncio.gather(*(store.load_thread(thread.id, ME) for _ in range(20)))
        real, begun = store.pool.drain, asyncio.Event()

        async def watched() -> None:
            begun.set()
            await real()

        store.pool.drain = watched  # type: ignore[method-assign]
        cut_connections(conninfo)
        stopped = asyncio.create_task(store.load_thread(thread.id, ME))
        await begun.wait()
        stopped.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopped
        await asyncio.gather(*(store.load_thread(thread.id, ME) for _ in range(20)))

    run(check, database_pool_size=3, database_connect_timeout=2)


def test_connections_that_fell_silent_are_replaced_without_being_asked() -> None:
    """As where a firewall has forgotten them: nothing tells, and nothing that is asked returns."""

    async def check(_: PostgresStore, conninfo: str) -> None:
        async with through_a_proxy(conninfo) as (proxied, limit), opened(proxied, **brief) as store:
            thread = a_thread()
            await store.save_thread(thread, ME)
            await asyncio.gather(*(store.load_thread(thread.id, ME) for _ in range(20)))
            limit.append(SILENT)
            assert (await store.load_thread(thread.id, ME)).id == thread.id
            found = await asyncio.gather(*(store.load_thread(thread.id, ME) for _ in range(20)))
            assert {each.id for each in found} == {thread.id}

    brief: Any = {"database_statement_timeout": 0.5, "database_pool_size": 5}
    run(check)


def test_a_connection_that_nobody_answers_is_given_up_in_time() -> None:
    """libpq itself would wait for two minutes, and with it all that make connections."""

    async def check(direct: PostgresStore, conninfo: str) -> None:
        async with through_a_proxy(conninfo) as (proxied, limit), opened(proxied, **quick) as store:
            cut_connections(conninfo)
            limit.append(DEAF)
            for _ in range(4):
                with pytest.raises(StoreUnavailable):
                    await store.load_threads(1, None, "asc", ME)
            limit.clear()
            asked = 0
            while await store.ready():  # which waits for half a second itself
                asked += 1
                assert asked < 20

    quick: Any = {"database_statement_timeout": 0.5, "database_connect_timeout": 0.5}
    run(check)
    assert conninfo_to_dict(with_limits("host=db", 5))["connect_timeout"] == "5"
    assert conninfo_to_dict(with_limits("host=db connect_timeout=9", 5))["connect_timeout"] == "9"


def test_what_was_deleted_before_an_answer_was_lost_is_deleted() -> None:
    """A statement is sent again where its connection broke, also after it has been done."""

    async def check(store: PostgresStore, conninfo: str) -> None:
        thread = a_thread()
        await store.save_thread(thread, ME)
        item = message(thread)
        await store.add_thread_item(thread.id, item, ME)
        losing = losing_one_answer(store)
        losing.append(sql.DELETE_ITEM)
        await store.delete_thread_item(thread.id, item.id, ME)
        with pytest.raises(NotFoundError):
            await store.delete_thread_item(thread.id, item.id, ME)
        losing.append(sql.DELETE_THREAD)
        await store.delete_thread(thread.id, ME)
        with pytest.raises(NotFoundError):
            await store.delete_thread(thread.id, ME)
        assert losing == []

    run(check)


def losing_one_answer(store: PostgresStore) -> list[str]:
    """Statements of which the first to come is done, and its connection then cut."""
    lost: list[str] = []
    use = store.pool.use

    async def losing(work: Any, seconds: float) -> Any:
        async def done(real: Any) -> Any:
            real.execute = partial(execute, real, real.execute)
            try:
                return await work(real)
            finally:
                del real.execute

        return await use(done, seconds)

    async def execute(real: Any, really: Any, statement: bytes, values: Any) -> Any:
        found = await really(statement, values)
        if statement.decode() in lost:
            lost.remove(statement.decode())
            await real.close()
            raise psycopg.OperationalError
        return found

    patched: Any = store.pool
    patched.use = losing
    return lost


async def behind(conninfo: str, statement: str, asking: Coroutine[Any, Any, None]) -> None:
    """Let the request wait for the rows of another's statement, which then is committed."""
    waits = """
        SELECT FROM pg_locks
        WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))
    """
    async with await psycopg.AsyncConnection.connect(conninfo) as other:
        await other.execute(statement)
        task = asyncio.create_task(asking)
        for _ in range(500):
            if await (await other.execute(waits)).fetchone() is not None:
                break
            await asyncio.sleep(0.01)
        assert not task.done()
        await other.commit()
    await task


def test_feedback_beside_a_deletion_is_about_nothing() -> None:
    async def check(store: PostgresStore, conninfo: str) -> None:
        thread = a_thread()
        await store.save_thread(thread, ME)
        await store.add_thread_item(thread.id, message(thread, id="a"), ME)
        saving = store.save_feedback(thread.id, ["a"], "positive", ME)
        with pytest.raises(NotFoundError):
            await behind(conninfo, "DELETE FROM threads", saving)

    run(check)


def test_thumbs_for_the_same_items_do_not_lock_each_other_out() -> None:
    """They take the rows in one order; that of a set is each process's own."""
    sent: list[list[str]] = []

    async def check(store: PostgresStore, conninfo: str) -> None:
        thread, rows = a_thread(), store._rows

        async def watched(statement: str, context: Any, /, **values: Any) -> Any:
            sent.append(values["items"])
            return await rows(statement, context, **values)

        await store.save_thread(thread, ME)
        patched: Any = store
        patched._rows = watched
        ids = [f"item{number:02}" for number in range(40)]
        for each in (ids, ids[::-1], [*ids, *ids]):
            await store.save_feedback(thread.id, each, "positive", ME)
        assert sent == [ids] * 3

    run(check)


def test_a_write_at_the_moment_of_a_takeover_says_that_it_was_overtaken() -> None:
    async def check(store: PostgresStore, conninfo: str) -> None:
        thread = a_thread()
        await store.save_thread(thread, ME)
        lease = Lease(seconds=9)
        begin_request(lease)
        lease.taken(thread.id, (await store.take_lease(thread.id, 9, ME))[1])
        writing = store.add_thread_item(thread.id, message(thread), ME)
        with pytest.raises(TurnLost):
            await behind(conninfo, "UPDATE threads SET generation = generation + 1", writing)

    run(check)


def test_writers_whose_connections_are_cut_lose_nothing_that_was_acknowledged() -> None:
    async def check(store: PostgresStore, conninfo: str) -> None:
        thread = a_thread()
        await store.save_thread(thread, ME)
        acknowledged: list[str] = []

        async def write() -> None:
            for _ in range(30):
                item = message(thread, "x" * 10_000)
                with contextlib.suppress(StoreUnavailable):
                    await store.add_thread_item(thread.id, item, ME)
                    acknowledged.append(item.id)

        writers = asyncio.gather(*(write() for _ in range(5)))
        while not writers.done():
            await asyncio.to_thread(cut_connections, conninfo)
            await asyncio.sleep(0.02)
        await writers
        found: list[str] = []
        after, more = None, True
        while more:
            page = await store.load_thread_items(thread.id, after, 100, "asc", ME)
            found += [item.id for item in page.data]
            after, more = page.after, page.has_more
        assert len(found) == len(set(found))
        assert set(acknowledged) <= set(found)
        assert len(acknowledged) > 10

    run(check)


def test_a_connection_lost_inside_a_write_leaves_no_half_of_an_item() -> None:
    async def check(_: PostgresStore, conninfo: str) -> None:
        async with through_a_proxy(conninfo) as (proxied, limit), opened(proxied) as store:
            thread = a_thread()
            await store.save_thread(thread, ME)
            limit.append(100_000)
            item = message(thread, "x" * 1_000_000)
            with pytest.raises(StoreUnavailable):
                await store.add_thread_item(thread.id, item, ME)
            limit.clear()
            assert (await store.load_thread_items(thread.id, None, 9, "asc", ME)).data == []
            await store.add_thread_item(thread.id, item, ME)
            assert await store.load_item(thread.id, item.id, ME) == item

    run(check)


def test_a_statement_that_takes_too_long_is_given_up_and_its_connection_works_on() -> None:
    async def check(store: PostgresStore, conninfo: str) -> None:
        thread = a_thread()
        await store.save_thread(thread, ME)
        async with await psycopg.AsyncConnection.connect(conninfo) as other:
            await other.execute("SELECT FROM threads FOR UPDATE")
            with pytest.raises(StoreUnavailable):
                await store.add_thread_item(thread.id, message(thread), ME)
            assert (await store.load_thread(thread.id, ME)).id == thread.id
            await other.rollback()
        await store.add_thread_item(thread.id, message(thread), ME)
        assert len((await store.load_thread_items(thread.id, None, 9, "asc", ME)).data) == 1

    run(check, database_statement_timeout=0.3, database_pool_size=1)


def test_prepared_statements_can_be_switched_on() -> None:
    async def check(store: PostgresStore, conninfo: str) -> None:
        thread = a_thread()
        await store.save_thread(thread, ME)
        for _ in range(10):
            await store.load_thread(thread.id, ME)
        async with store.pool.connection() as connection:
            rows = await (await connection.execute("SELECT FROM pg_prepared_statements")).fetchall()
            assert bool(rows) == prepare

    for prepare in (True, False):
        run(check, database_prepare=prepare, database_pool_size=1)


def contract() -> Iterator[Any]:
    """Each test of the store's promises, with each set of its parameters."""
    for name, test in vars(test_store).items():
        if name.startswith("test_"):
            marks = getattr(test, "pytestmark", [])
            for values in marks[0].args[1] if marks else [()]:
                given = values if isinstance(values, tuple) else (values,)
                yield pytest.param(test, given, id=name)


@pytest.fixture(scope="module")
def spread() -> str:
    """How to connect to tables in three parts by owner, which take long to make."""
    conninfo: str = fresh(partitions=3)["database_url"]
    with psycopg.connect(conninfo) as connection:
        query = "SELECT count(*) FROM pg_partition_tree('threads') WHERE isleaf"
        assert connection.execute(query).fetchone() == (3,)
    return conninfo


@pytest.mark.parametrize(("test", "given"), list(contract()))
def test_the_promises_hold_where_the_tables_are_spread_by_owner(
    monkeypatch: pytest.MonkeyPatch, spread: str, test: Callable[..., None], given: tuple[Any, ...]
) -> None:
    def emptied() -> dict[str, Any]:
        with psycopg.connect(spread, autocommit=True) as connection:
            for table in TABLES:
                connection.execute(f"DELETE FROM {table}".encode())
        return {"database_url": spread}

    monkeypatch.setattr("tests.core.fixtures.fresh", emptied)
    test(*given)


def cut_connections(conninfo: str) -> None:
    """End every other connection that uses the test's schema, as a restart of the server does."""
    options = conninfo_to_dict(conninfo)["options"]
    plain = make_conninfo(conninfo, options=f"{options} -c application_name=cutter")
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = current_setting('search_path')"
        )


@asynccontextmanager
async def through_a_proxy(conninfo: str) -> AsyncIterator[tuple[str, list[int]]]:
    """The database behind a proxy that breaks a connection which has sent more than the limit.

    Once the limit is SILENT or DEAF, nothing more goes through the connections that there are; and
    through new ones not while it is DEAF.
    """
    limit, gone = list[int](), asyncio.Event()
    parts = conninfo_to_dict(conninfo)
    host, port = str(parts["host"]), parts.get("port") or 5432

    async def pass_on(
        source: asyncio.StreamReader, to: asyncio.StreamWriter, limited: bool
    ) -> None:
        sent, began = 0, [*limit]
        with contextlib.suppress(ConnectionError):
            while chunk := await source.read(16_384):
                sent += len(chunk)
                if limit == [DEAF] or (limit == [SILENT] != began):
                    await gone.wait()
                    break
                if limited and limit and 0 <= limit[0] < sent:
                    break
                to.write(chunk)
                await to.drain()
        to.close()

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if host.startswith("/"):
            theirs = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        else:
            theirs = await asyncio.open_connection(host, port)
        await asyncio.gather(pass_on(reader, theirs[1], True), pass_on(theirs[0], writer, False))
        writer.close()

    proxy = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    name, number = proxy.sockets[0].getsockname()
    yield make_conninfo(conninfo, host=name, port=number), limit
    gone.set()
    proxy.close()
