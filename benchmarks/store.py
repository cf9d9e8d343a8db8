"""What the stores cost: against the bare drivers, against the way of public examples, and by size.

    uv run python benchmarks/store.py [--rounds N] [--quick] [--only PART...]

PostgreSQL comes from its wheel. Both sides of a row work in turn in this process, each over a pool
or a connection of its own to the same server. Exit status 1 when a ratio misses its bound.

- methods: each method of the store, against its statement through a bare psycopg pool and the same
  validation by the model. What removes is measured together with what makes it.
- turns: whole turns of many people at once, the template's server over its store, against the SDK's
  over `public_way.py`. Both answer at once.
- sizes: the same questions of as many people to a million items and to a thousand.
- sqlite: as `sqlite.py` measures it.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
import sqlite
import uvloop
from chatkit import types as ck
from chatkit.server import ChatKitServer, StreamingResult
from psycopg.conninfo import make_conninfo
from public_way import PublicStore
from report import Row, table
from store_methods import NOW, methods, opened

from app.core.chat_server import BaseServer
from app.core.config import AppSettings
from app.core.context import RequestContext
from app.core.store.base import new_id
from app.core.store.embedded import embedded_server
from app.core.store.postgres.schema import migrate
from app.core.store.postgres.store import PostgresStore
from app.core.store.sql.rows import as_json

PEOPLE = 50  # turns at once
HISTORY = 20  # items that a turn reads
EACH = 10  # threads of an owner, and items of a thread
OWNERS = {"a million items": 10_000, "a thousand": 10}
ASKING = 10  # of the owners; the rest is what the tables also hold
PROBES = 100  # of each question to one size, in a round


def new_schema(server: str, name: str) -> str:
    """The address of an empty schema of that name."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}".encode())
    return make_conninfo(server, options=f"-c search_path={name}")


class Prompt(ChatKitServer[RequestContext]):
    """Reads the history and answers at once."""

    async def respond(
        self, thread: ck.ThreadMetadata, message: ck.UserMessageItem | None, context: RequestContext
    ) -> AsyncIterator[ck.ThreadStreamEvent]:
        await self.store.load_thread_items(thread.id, None, HISTORY, "desc", context)
        item = sqlite.an_item(thread.id).model_copy(
            update={"id": new_id("message"), "created_at": datetime.now()}
        )
        yield ck.ThreadItemDoneEvent(item=item)


class GuardedPrompt(Prompt, BaseServer):
    """The same with all that the template's base adds."""


INPUT = b"""{"content": [{"type": "input_text", "text": "Hello"}], "attachments": [],
    "inference_options": {}}"""


class People:
    """Everybody with a thread of their own, at one server."""

    def __init__(self, server: ChatKitServer[RequestContext]) -> None:
        self.server = server
        self.threads: list[tuple[RequestContext, str]] = []

    async def turn(self, context: RequestContext, kind: bytes, about: bytes = b"") -> bytes:
        body = b'{"type": "threads.%s", "params": {%s "input": %s}}' % (kind, about, INPUT)
        result = await self.server.process(body, context)
        assert isinstance(result, StreamingResult)
        said = b"".join([event async for event in result.json_events])
        if b'"type":"error"' in said or b"assistant_message" not in said:
            raise SystemExit(f"a turn failed: {said.decode()}")
        return said

    async def come(self) -> None:
        for number in range(PEOPLE):
            context = RequestContext(user_id=f"person {number}")
            said = await self.turn(context, b"create")
            thread_id = said[said.index(b'"thr_') + 1 :].split(b'"')[0].decode()
            self.threads.append((context, thread_id))

    async def rate(self, seconds: float) -> float:
        """Turns a second while all of them say one thing after the other."""
        began = time.perf_counter()

        async def talk(context: RequestContext, thread_id: str) -> int:
            turns = 0
            while time.perf_counter() < began + seconds:
                await self.turn(
                    context, b"add_user_message", b'"thread_id": "%s",' % thread_id.encode()
                )
                turns += 1
            return turns

        turns = sum(await asyncio.gather(*(talk(*person) for person in self.threads)))
        return turns / (time.perf_counter() - began)


async def turns(server: str, rounds: int, seconds: float) -> list[Row]:
    values: dict[str, Any] = {"_env_file": None}
    async with AsyncExitStack() as stack:
        store = await opened(stack, new_schema(server, "turns"))
        ours = People(GuardedPrompt(store, AppSettings(**values)))
        theirs = People(Prompt(PublicStore(new_schema(server, "public_way"))))
        await ours.come()
        await theirs.come()
        row = Row(f"turns/s, {PEOPLE} people at once", at_least=5.0)
        sides = [partial(side.rate, seconds) for side in (ours, theirs)]
        return [await sqlite.in_turn(row, rounds, *sides)]


# An id as the store makes them, so that it will do as a cursor.
THREAD = "'thr_' || lpad(to_hex({0}), 12, '0') || '70008' || lpad(to_hex({0}), 15, '0')"
FILL = f"""
    INSERT INTO threads (org_id, user_id, id, created_at, title, status, allowed_image_domains,
                         metadata, next_seq)
    SELECT '', 'user_' || number % {{owners}}, {THREAD.format("number")}, now(), 'A title',
        '{{{{"type": "active"}}}}', '[]', '{{{{}}}}', {EACH}
    FROM generate_series(0, {{owners}} * {EACH} - 1) AS number;

    INSERT INTO items (org_id, user_id, thread_id, id, seq, data)
    SELECT org_id, user_id, threads.id, 'msg_' || threads.id || '_' || seq, seq,
        replace(replace(%s, 'THREAD', threads.id), 'ITEM', 'msg_' || threads.id || '_' || seq)::json
    FROM generate_series(1, {EACH}) AS seq, threads;
"""


def fill(conninfo: str, owners: int) -> None:
    """Owners with EACH threads of EACH items; what is one's own lies apart, as it would."""
    migrate(conninfo)
    text = [ck.AssistantMessageContent(text="Of some seven letters. " * 10)]
    item = ck.AssistantMessageItem(id="ITEM", thread_id="THREAD", created_at=NOW, content=text)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")  # no look at foreign keys
        threads, items = FILL.format(owners=owners).split(";", 1)
        connection.execute(threads.encode())
        connection.execute(items.rstrip("; \n").encode(), [as_json(item)])
        connection.execute("VACUUM (ANALYZE) threads, items")


class Size:
    """A store of so many owners, and the questions to it."""

    def __init__(self, store: PostgresStore, owners: int) -> None:
        self.store, self.owners = store, owners

    def anybody(self) -> tuple[RequestContext, str, list[str]]:
        """An owner, a thread and its items."""
        apart = self.owners // ASKING
        owner, nth = random.randrange(ASKING) * apart, random.randrange(EACH)
        number = owner + nth * self.owners
        thread_id = f"thr_{number:012x}70008{number:015x}"
        items = [f"msg_{thread_id}_{seq}" for seq in range(1, EACH + 1)]
        return RequestContext(user_id=f"user_{owner}"), thread_id, items

    async def first_items(self) -> int:
        me, thread_id, _ = self.anybody()
        return len((await self.store.load_thread_items(thread_id, None, 5, "desc", me)).data)

    async def last_items(self) -> int:
        me, thread_id, items = self.anybody()
        return len((await self.store.load_thread_items(thread_id, items[5], 5, "desc", me)).data)

    async def first_threads(self) -> int:
        me, *_ = self.anybody()
        return len((await self.store.load_threads(5, None, "desc", me)).data)

    async def last_threads(self) -> int:
        me, *_ = self.anybody()
        number = int(me.user_id.partition("_")[2]) + 5 * self.owners
        after = f"thr_{number:012x}70008{number:015x}"
        return len((await self.store.load_threads(5, after, "desc", me)).data)

    async def load_item(self) -> int:
        me, thread_id, items = self.anybody()
        await self.store.load_item(thread_id, random.choice(items), me)
        return 5


Question = Callable[[Size], Awaitable[int]]


async def latencies(made: list[Size], question: Question) -> list[float]:
    """Median milliseconds of an answer of each, asked by turns: others use this machine too."""
    took: list[list[float]] = [[] for _ in made]
    for _ in range(PROBES):
        for size, times in zip(made, took, strict=True):
            began = time.perf_counter()
            found = await question(size)
            times.append(time.perf_counter() - began)
            assert found == 5
    return [median(times) * 1000 for times in took]


async def sizes(server: str, rounds: int) -> list[Row]:
    async with AsyncExitStack() as stack:
        made = []
        for number, (name, owners) in enumerate(OWNERS.items()):
            print(f"Filling the tables with {name} ...", file=sys.stderr)
            conninfo = new_schema(server, f"size_{number}")
            fill(conninfo, owners)
            made.append(Size(await opened(stack, conninfo), owners))
        questions = {
            "first page of items": Size.first_items,
            "last page of items": Size.last_items,
            "first page of threads": Size.first_threads,
            "last page of threads": Size.last_threads,
            "load_item": Size.load_item,
        }
        rows = []
        for name, question in questions.items():
            row = Row(f"{name}, ms", at_most=1.2)
            await latencies(made, question)
            for number in range(rounds):
                # Whoever is asked first in the one round is the second in the next.
                order = made if number % 2 else made[::-1]
                one, other = await latencies(order, question)
                row.ours.append(one if number % 2 else other)
                row.theirs.append(other if number % 2 else one)
            rows.append(row)
        return rows


def main() -> None:
    parts = ("methods", "turns", "sizes", "sqlite")
    parser = argparse.ArgumentParser(description="Time the stores.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="shorter rounds, wider spread")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    options = parser.parse_args()
    rounds, seconds, found = options.rounds, 0.2 if options.quick else 0.5, list[Row]()

    def measured(part: str, run: Any, *sides: str) -> None:
        if part in options.only:
            rows = uvloop.run(run())
            print(table(rows, *sides), end="\n\n", flush=True)
            found.extend(rows)

    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        embedded_server("", Path(folder, "postgres")) as server,
    ):
        address = partial(new_schema, server)
        own = partial(methods, rounds=rounds, seconds=seconds)
        measured("methods", lambda: own(address("methods")), "store", "psycopg")
        measured("turns", lambda: turns(server, rounds, 2 * seconds), "template", "public")
        measured("sizes", lambda: sizes(server, rounds), "1,000,000", "1,000")
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:  # /tmp may be in memory
        compared = partial(sqlite.compare, Path(folder), rounds, 8)
        measured("sqlite", compared, "store", "sqlite3")
    sys.exit(not all(row.holds for row in found))


if __name__ == "__main__":
    main()
