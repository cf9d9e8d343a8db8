"""`python -m app data`: whose rows it writes out and removes, which ones stay, and how it ends."""

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from chatkit import types as ck
from chatkit.store import NotFoundError
from typer.testing import CliRunner

from app.core.commands import data
from app.core.context import RequestContext
from app.core.errors import StoreUnavailable
from app.core.store import StoreSettings, open_store
from app.core.store.base import BaseStore, Lease, begin_request
from app.core.store.sql.retention import Retention
from app.core.store.sql.rows import ATTACHMENT, ITEM

from ..store.test_store import a_thread, every_item, message
from ..stores import fresh

Json = dict[str, Any]

ME = RequestContext(user_id="me")
MINE = [ME, RequestContext(user_id="me", org_id="b"), RequestContext(user_id="me", org_id="d")]
# The keys of others lie before, between and behind mine.
THEIRS = [
    RequestContext(user_id=user, org_id=org)
    for user, org in (("i", None), ("you", None), ("i", "b"), ("you", "c"), ("you", "d"))
]


class DataStore(BaseStore, Retention):
    """What the store of a database is."""


Check = Callable[[DataStore], Awaitable[None]]


@asynccontextmanager
async def opened(values: Json) -> AsyncIterator[Any]:
    begin_request()
    settings: Json = {"_env_file": None} | values
    async with open_store(StoreSettings(**settings)) as store:
        yield store


def with_store(check: Check, values: Json | None = None) -> None:
    """Run the check on an empty store, or on one that is there; its pages have two rows."""

    async def run() -> None:
        async with opened(values or fresh()) as store:
            store.page = 2
            await check(store)

    asyncio.run(run())


async def fill(store: BaseStore, owner: RequestContext) -> list[ck.ThreadMetadata]:
    """Threads with 3, 0 and 5 items, and an attachment for each."""
    threads = [a_thread(title="\u2028"), a_thread(metadata={"a": [1]}), a_thread()]
    for thread, items in zip(threads, (3, 0, 5), strict=True):
        await store.save_thread(thread, owner)
        await attach(store, owner, f"file of {thread.id}", thread)
        for _ in range(items):
            await store.add_thread_item(thread.id, message(thread), owner)
    return threads


async def attach(
    store: BaseStore, owner: RequestContext, name: str, thread: ck.ThreadMetadata | None
) -> None:
    # U+0000 is what PostgreSQL cannot take out of a JSON.
    file = ck.FileAttachment(
        id=name, name="\0", mime_type="m", thread_id=thread.id if thread else None
    )
    await store.save_attachment(file, owner)


async def exported(store: DataStore, user: str, org: str | None = None) -> list[Json]:
    file = io.BytesIO()
    await data.write(store, await data.owners_of(store, user, org), file, lambda rows: None)
    return [json.loads(line) for line in file.getvalue().split(b"\n")[:-1]]


async def names(store: DataStore, user: str = "me") -> set[str]:
    """The ids of the threads and attachments that the user has."""
    lines = await exported(store, user)
    return {line["data"]["id"] for line in lines if line["type"] != "item"}


async def removed(store: DataStore, user: str, org: str | None = None) -> Json:
    owners = await data.owners_of(store, user, org)
    return dict(await data.sweep(store, owners, lambda rows: None))


async def purged(store: DataStore, before: float, dry: bool = False) -> Json:
    return dict(await data.sweep(store, [None], lambda rows: None, before=before, dry=dry))


def test_an_export_has_what_the_store_has_in_its_order() -> None:
    parse: dict[str, Callable[[Json], Any]] = {
        "thread": ck.ThreadMetadata.model_validate,
        "item": ITEM.validate_python,
        "attachment": ATTACHMENT.validate_python,
    }

    async def check(store: DataStore) -> None:
        for stranger in THEIRS:
            await fill(store, stranger)
        expected: list[tuple[str, Any]] = []
        files: list[tuple[str, Any]] = []
        for owner in MINE:
            for thread in await fill(store, owner):
                for item in every_item(thread.id):
                    await store.add_thread_item(thread.id, item, owner)
                page = await store.load_thread_items(thread.id, None, 100, "asc", owner)
                org, _ = owner.owner
                expected += [(org, thread), *((org, item) for item in page.data)]
                files.append((org, await store.load_attachment(f"file of {thread.id}", owner)))
        lines = await exported(store, "me")
        assert {line["user_id"] for line in lines} == {"me"}
        found = [(line["org_id"], parse[line["type"]](line["data"])) for line in lines]
        assert found == expected + files

    with_store(check)


@pytest.mark.parametrize("org", ["", "b"])
def test_an_organisation_narrows_an_export_and_a_removal(org: str) -> None:
    async def check(store: DataStore) -> None:
        for owner in MINE:
            await fill(store, owner)
        lines = await exported(store, "me")
        mine = [line for line in lines if line["org_id"] == org]
        assert await exported(store, "me", org) == mine
        assert await removed(store, "me", org) == {"threads": 3, "items": 8, "attachments": 3}
        assert await exported(store, "me") == [line for line in lines if line["org_id"] != org]

    with_store(check)


def test_an_export_reads_a_page_once_the_one_before_it_is_written() -> None:
    async def check(store: DataStore) -> None:
        for owner in MINE:
            await fill(store, owner)
        file, read, run = io.BytesIO(), 0, store.run

        async def watched(statement: str, **values: Any) -> list[Any]:
            nonlocal read
            assert file.getvalue().count(b"\n") == read
            rows = await run(statement, **values)
            assert len(rows) <= 2
            read += len(rows)
            return rows

        owners = await data.owners_of(store, "me", None)
        store.run = watched  # type: ignore[method-assign]
        await data.write(store, owners, file, lambda rows: None)
        assert read == 3 * (3 + 8 + 3)

    with_store(check)


def test_a_removal_takes_all_that_is_one_users_and_nothing_of_others() -> None:
    async def check(store: DataStore) -> None:
        for owner in MINE + THEIRS:
            await fill(store, owner)
        await store.save_attachment(ck.FileAttachment(id="f", name="f", mime_type="m"), THEIRS[0])
        assert await store.organisations("me") == ["", "b", "d"]
        assert await store.organisations("i") == ["", "b"]
        assert await store.count(("b", "me")) == {"threads": 3, "items": 8, "attachments": 3}
        assert await store.size() == 8 * 6 + 1
        theirs = [await exported(store, user) for user in ("i", "you")]
        pages = [0]
        async for page in store.sweep("threads", ("b", "me"), dry=True):
            pages.append(page["threads"])
            assert sum(pages) <= 3
        assert pages == [0, 2, 1]

        assert await removed(store, "me") == {"threads": 9, "items": 24, "attachments": 9}
        assert await exported(store, "me") == []
        assert await removed(store, "me") == {}
        assert [await exported(store, user) for user in ("i", "you")] == theirs

    with_store(check)


def test_feedback_is_written_out_and_goes_with_its_thread() -> None:
    async def check(store: DataStore) -> None:
        for owner in (ME, THEIRS[0]):
            for thread in await fill(store, owner):
                page = await store.load_thread_items(thread.id, None, 9, "asc", owner)
                ids = [item.id for item in page.data]
                await store.save_feedback(thread.id, ids, "negative", owner)
        lines = [line["data"] for line in await exported(store, "me") if line["type"] == "feedback"]
        assert len({(line["thread_id"], line["item_id"]) for line in lines}) == len(lines) == 8
        assert {line["kind"] for line in lines} == {"negative"}
        await removed(store, "me")
        assert await exported(store, "me") == []
        left = [line["type"] for line in await exported(store, "i")]
        assert left.count("feedback") == 8

    with_store(check)


async def use(store: DataStore, owner: RequestContext, *days: str) -> None:
    """Put usage there as the production level does, and such a project may have before."""
    org, user = owner.owner
    for day in days:
        counted = "turns, requests, input_tokens, cached_tokens, output_tokens, reasoning_tokens"
        await store.run(
            f"INSERT INTO usage (org_id, user_id, day, {counted}, last_turn) "
            f"VALUES ('{org}', '{user}', '{day}', 1, 2, 30, 4, 50, 6, 'x') RETURNING 1"
        )


def test_usage_is_written_out_and_removed_with_its_user() -> None:
    async def check(store: DataStore) -> None:
        for owner in (*MINE, *THEIRS):
            await use(store, owner, "2026-01-01", "2026-01-02", "2026-01-03")
        assert await store.organisations("me") == ["", "b", "d"]  # also of nothing but usage
        assert await store.count(("b", "me")) == {"usage": 3}
        assert await store.size() == 8 * 3
        lines = await exported(store, "me")
        assert [(line["org_id"], line["data"]["day"]) for line in lines] == [
            (org, f"2026-01-0{day}") for org in ("", "b", "d") for day in (1, 2, 3)
        ]
        counted = [1, 2, 30, 4, 50, 6]
        assert [*lines[0]["data"].values()][1:] == counted
        assert {line["type"] for line in lines} == {"usage"}

        assert await removed(store, "me", "b") == {"usage": 3}
        assert await removed(store, "me") == {"usage": 6}
        assert await exported(store, "me") == []
        assert [len(await exported(store, user)) for user in ("i", "you")] == [6, 9]

    with_store(check)


def test_a_purge_takes_the_days_that_were_over_by_then() -> None:
    async def check(store: DataStore) -> None:
        today = datetime.now(UTC).date()
        days = [str(today - timedelta(days=ago)) for ago in (0, 1, 2, 9)]
        for owner in (ME, THEIRS[0]):
            await use(store, owner, *days)
        at = time.monotonic() - 86400
        assert await purged(store, at, dry=True) == {"usage": 4}
        assert await purged(store, at) == {"usage": 4}
        assert [line["data"]["day"] for line in await exported(store, "me")] == days[1::-1]
        assert await purged(store, time.monotonic() - 1) == {"usage": 2}  # never the day itself

    with_store(check)


def test_an_attachment_alone_is_somebodys_too() -> None:
    async def check(store: DataStore) -> None:
        await attach(store, MINE[1], "f", None)
        assert await names(store) == {"f"}
        assert await removed(store, "me") == {"attachments": 1}
        assert await names(store) == set()

    with_store(check)


def test_a_turn_that_runs_in_a_removed_thread_ends_as_if_its_person_had_removed_it() -> None:
    async def check(store: DataStore) -> None:
        thread, lease = a_thread(), Lease(seconds=9)
        begin_request(lease)
        await store.save_thread(thread, ME)
        assert await removed(store, "me") == {"threads": 1}
        with pytest.raises(NotFoundError):
            await store.add_thread_item(thread.id, message(thread), ME)
        with pytest.raises(NotFoundError):
            await store.save_thread(thread, ME)

    with_store(check)


def test_a_purge_removes_what_is_old_and_only_that() -> None:
    async def check(store: DataStore) -> None:
        old = {thread.id for owner in MINE for thread in await fill(store, owner)}
        old |= {f"file of {thread_id}" for thread_id in old} | {"never sent"}
        await attach(store, ME, "never sent", None)
        changed, running, over = a_thread(), a_thread(), a_thread()
        for thread in (changed, running, over):
            await store.save_thread(thread, ME)
            await attach(store, ME, f"file of {thread.id}", thread)
        await store.add_thread_item(changed.id, message(changed), ME)
        await store.take_lease(running.id, 600, ME)
        await store.take_lease(over.id, 0.05, ME)
        # Somebody else's young thread of the same id keeps no file of mine.
        twin = a_thread().model_copy(update={"id": over.id})
        await asyncio.sleep(0.1)
        between = time.monotonic()
        await asyncio.sleep(0.4)
        begin_request()
        young = a_thread()
        await store.save_thread(twin, THEIRS[0])
        await store.add_thread_item(twin.id, message(twin), THEIRS[0])
        await store.save_thread(young, ME)
        await store.add_thread_item(changed.id, message(changed), ME)
        await attach(store, ME, "just made", None)

        before = await names(store)
        counts = {"threads": 10, "items": 24, "attachments": 11}
        assert await purged(store, between - 600) == {}
        assert await purged(store, between, dry=True) == counts
        assert await names(store) == before
        assert await purged(store, between) == counts
        assert await names(store) == before - old - {over.id, f"file of {over.id}"}
        assert await names(store, "i") == {over.id}
        assert await purged(store, between) == {}

    with_store(check)


@pytest.mark.parametrize(("text", "hours"), [("1h", 1), ("36h", 36), ("90d", 2160), ("12w", 2016)])
def test_a_period_is_in_hours_days_or_weeks(text: str, hours: int) -> None:
    assert data.hours_of(text) == hours


PERIODS = ["0d", "-5d", "90", "d", "5m", "1.5d", " 5d", "5D", "", "٣d", "9999999w"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        *((["purge", "--older-than", text], "") for text in PERIODS),
        *((["purge", f"--older-than={text}"], "hours, days or weeks") for text in PERIODS),
        (["purge"], "--older-than"),
        (["export"], "--user"),
        (["export", "--user", ""], "must not be empty"),
        (["delete", "--user", " ", "--yes"], "must not be empty"),
        (["delete", "--user", "\udc00", "--yes"], "not a text in UTF-8"),
        (["delete", "--user", "me", "--org", "\udc00", "--yes"], "not a text in UTF-8"),
    ],
    ids=str,
)
def test_an_argument_that_means_nothing_is_refused(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(data.commands, arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def environment(values: Json) -> dict[str, str]:
    named = {name.upper(): str(value) for name, value in values.items()}
    return {"APP_ENV": "production", "TERM": "xterm"} | named


def empty(monkeypatch: pytest.MonkeyPatch) -> Json:
    """The settings of an empty store, which commands in this process find too."""
    values = fresh()
    for name, value in environment(values).items():
        monkeypatch.setenv(name, value)
    return values


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Json:
    """Such settings, of a store of mine and others."""
    values = empty(monkeypatch)

    async def check(store: DataStore) -> None:
        for owner in (ME, THEIRS[0]):
            await fill(store, owner)

    with_store(check, values)
    return values


def held(values: Json, user: str = "me") -> list[Json]:
    found: list[Json] = []

    async def check(store: DataStore) -> None:
        found.extend(await exported(store, user))

    with_store(check, values)
    return found


def begin(
    *arguments: str, env: dict[str, str], out: Any = subprocess.PIPE, terminal: int | None = None
) -> subprocess.Popen[bytes]:
    """`python -m app data` beside this process."""
    return subprocess.Popen(
        [sys.executable, "-m", "app", "data", *arguments],
        env=os.environ | env,
        stdin=subprocess.DEVNULL if terminal is None else terminal,
        stdout=out if terminal is None else terminal,
        stderr=subprocess.PIPE if terminal is None else terminal,
    )


def end(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    """The exit code, and what was printed on standard output and standard error."""
    out, err = process.communicate(timeout=60)
    return process.returncode, (out or b"").decode(), err.decode()


def test_the_commands_print_what_a_script_can_use(here: Json, tmp_path: Path) -> None:
    file, before = tmp_path / "me.jsonl", held(here)
    file.write_text("of last week")
    env = environment(here)
    begun = [
        begin("export", "--user", "me", env=env),
        begin("export", "--user", "me", "--output", str(file), env=env),
        begin("purge", "--older-than", "1h", env=env),
    ]
    counts = "3 threads, 8 items and 3 attachments"
    printed, into_file, purge = map(end, begun)
    assert printed[::2] == (0, f"Exported {counts}.\n")
    assert [json.loads(line) for line in printed[1].split("\n")[:-1]] == before
    assert into_file == (0, "", f"Exported {counts}.\n")
    assert file.read_text() == printed[1]
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]
    nothing = "Removed 0 threads, 0 items and 0 attachments, older than 1h.\n"
    assert purge == (0, nothing, "")


def test_a_removal_shows_a_terminal_what_it_is_about_and_how_far_it_is(here: Json) -> None:
    terminal, its_end = os.openpty()
    process = begin("delete", "--user", "me", env=environment(here), terminal=its_end)
    os.close(its_end)

    def until(text: str) -> str:
        shown = ""
        while text not in shown:
            shown += os.read(terminal, 1000).decode()
        return shown

    assert "Remove 3 threads, 8 items and 3 attachments of 'me'?" in until("[y/n]")
    assert len(held(here)) == 14
    os.write(terminal, b"y\n")
    shown = until("Removed")
    assert "Removing" in shown
    assert "100%" in shown
    assert process.wait(60) == 0
    os.close(terminal)
    assert held(here) == []
    assert len(held(here, "i")) == 14


@pytest.mark.parametrize(
    ("answer", "code"),
    [("n", "Nothing was removed."), (EOFError, "Nothing was removed."), (KeyboardInterrupt, 130)],
)
def test_without_a_yes_nothing_is_removed(
    here: Json, monkeypatch: pytest.MonkeyPatch, answer: Any, code: str | int
) -> None:
    def answered(prompt: str = "") -> str:
        if isinstance(answer, str):
            return answer
        raise answer

    with pytest.raises(SystemExit, match="--yes removes without asking"):
        data.delete("me")
    monkeypatch.setattr(data, "is_terminal", lambda stream: True)
    monkeypatch.setattr("builtins.input", answered)
    with pytest.raises(SystemExit) as stop:
        data.delete("me")
    assert stop.value.code == code
    assert len(held(here)) == 14


def test_a_question_has_the_users_id_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("builtins.input", lambda prompt="": "y")
    assert data.confirmed("Remove 1 thread of '[/b]'?")
    assert "of '[/b]'? [y/n]" in capsys.readouterr().err


def test_a_removal_that_is_told_yes_asks_nobody(
    here: Json, capsys: pytest.CaptureFixture[str]
) -> None:
    data.delete("me", yes=True)
    data.delete("me", yes=True)
    first, second = capsys.readouterr().out.splitlines()
    assert first == "Removed 3 threads, 8 items and 3 attachments."
    assert second == "Removed 0 threads, 0 items and 0 attachments."


def test_a_dry_purge_says_so(
    here: Json, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(data.HOURS, "h", 1e-5)
    monkeypatch.setattr(data, "LONGEST", 1)
    time.sleep(0.1)
    data.purge("1h", dry_run=True)
    assert len(held(here)) == 14
    data.purge("1h")
    dry, wet = capsys.readouterr().out.splitlines()
    assert dry == "Would remove 6 threads, 16 items and 6 attachments, older than 1h."
    assert wet == "Removed 6 threads, 16 items and 6 attachments, older than 1h."


def test_a_file_is_replaced_by_a_whole_one_only(
    here: Json, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    file = tmp_path / "me.jsonl"
    file.write_text("of last week")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SystemExit, match="No space left on device"):
        data.export("me", output=str(file))
    assert file.read_text() == "of last week"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("output", "said"),
    [("pipe", "not an ordinary file"), (".", "not an ordinary file"), ("no/x", "No such file")],
)
def test_a_file_that_cannot_be_written_is_said_at_once(
    tmp_path: Path, output: str, said: str
) -> None:
    os.mkfifo(tmp_path / "pipe")  # as a device it would not be one any more
    with pytest.raises(SystemExit, match=said):
        data.export("me", output=str(tmp_path / output))


@pytest.mark.parametrize("said", ["APP_ENV does not fit", "DATABASE_URL is not as it should be"])
def test_settings_that_cannot_work_stop_a_command(
    here: Json, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    if said.startswith("APP_ENV"):
        monkeypatch.setenv("APP_ENV", "nonsense")
    else:
        monkeypatch.setattr(StoreSettings, "errors", lambda self: [said])
    with pytest.raises(SystemExit, match=said):
        data.delete("me", yes=True)


def test_a_database_that_fails_meanwhile_is_one_sentence(
    here: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(self: Any, *_: Any, **__: Any) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(Retention, "count", fails)
    with pytest.raises(SystemExit, match="The database failed for a moment: try again"):
        data.export("me")


@pytest.fixture(scope="module")
def endings() -> dict[str, tuple[int, str, str]]:
    """How commands ended that could not go on, by the reason."""
    values = fresh()

    async def check(store: DataStore) -> None:
        thread = a_thread()
        await store.save_thread(thread, ME)
        await store.add_thread_item(thread.id, message(thread, "long" * 100_000), ME)

    with_store(check, values)
    env, mine = environment(values), ("export", "--user", "me")
    nowhere = {"DATABASE_URL": "postgresql://127.0.0.1:9/x", "DATABASE_CONNECT_TIMEOUT": "0.2"}
    nobody_reads, its_end = os.pipe()
    os.close(nobody_reads)
    begun = {
        "broken pipe": begin(*mine, env=env, out=its_end),
        "no database": begin(*mine, env=env | nowhere),
        "interrupt": begin(*mine, env=env),
    }
    os.close(its_end)
    blocked = begun["interrupt"]
    assert blocked.stdout is not None
    blocked.stdout.read(1)  # more of it than the pipe holds now waits to be written
    blocked.send_signal(signal.SIGINT)
    return {reason: end(process) for reason, process in begun.items()}


@pytest.mark.parametrize(
    ("reason", "code", "said"),
    [
        ("broken pipe", 1, "Stopped before the end: Broken pipe."),
        ("no database", 1, "DATABASE_URL|The database cannot be reached"),
        ("interrupt", 130, "Stopped before the end."),
    ],
)
def test_what_cannot_go_on_ends_with_one_sentence(
    endings: dict[str, tuple[int, str, str]], reason: str, code: int, said: str
) -> None:
    found, _, err = endings[reason]
    assert found == code
    assert re.match(said, err)
    assert err.count("\n") == 1
