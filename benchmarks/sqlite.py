"""What the SQLite store costs: its methods against bare sqlite3 on the same schema.

    uv run python benchmarks/sqlite.py [--rounds N] [--at-once N]

Both work in turn on a file of their own each, with the same pragmas: every write is on the disk
before it counts. The bare side runs the store's own statements in the main thread, one after the
other, with texts that are ready; a page is compared as items and, for information, as bare rows.
Exit status 1 when a ratio misses its bound.
"""

import argparse
import asyncio
import itertools
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import uvloop
from report import Row, table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "template"))

from chatkit import types as ck  # noqa: E402

from app.core.context import RequestContext  # noqa: E402
from app.core.store.sql.rows import ITEM, as_json  # noqa: E402
from app.core.store.sqlite import statements as sql  # noqa: E402
from app.core.store.sqlite.file import PRAGMAS  # noqa: E402
from app.core.store.sqlite.schema import prepare  # noqa: E402
from app.core.store.sqlite.store import SqliteSettings, SqliteStore, open_store  # noqa: E402

ME = RequestContext(user_id="me")
NOW = datetime(2026, 1, 2, 3, 4, 5)
ITEMS, PAGES, PAGE = 500, 100, 100  # of a round; items of a page
ids = itertools.count()


def an_item(thread_id: str) -> ck.ThreadItem:
    """An answer of some 150 words."""
    content = [ck.AssistantMessageContent(text="Of some seven letters. " * 40)]
    return ck.AssistantMessageItem(
        id=f"msg_{next(ids):032x}", thread_id=thread_id, created_at=NOW, content=content
    )


class Bare:
    """The store's statements in plain sqlite3."""

    def __init__(self, path: Path, thread_id: str) -> None:
        prepare(path, 5)
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.executescript(PRAGMAS)
        self.owner = {"org": "", "user": "me", "thread": thread_id}
        columns = dict.fromkeys(["created_at", "title", "allowed_image_domains", "metadata"], "{}")
        values = self.owner | columns | {"status": '{"type": "active"}', "seconds": None}
        self.connection.execute(sql.SAVE_THREAD, values).fetchall()

    def append(self, item_id: str, data: str) -> None:
        values = self.owner | {"item": item_id, "data": data, "generation": None}
        self.connection.execute(sql.SAVE_ITEM, values).fetchall()

    def page(self, after: str) -> list[Any]:
        values = self.owner | {"after": after, "rows": PAGE + 1}
        return self.connection.execute(sql.ITEMS["asc", True], values).fetchall()


async def appends_of_the_store(store: SqliteStore, thread_id: str, at_once: int) -> float:
    """Items a second."""
    items = [an_item(thread_id) for _ in range(ITEMS)]

    async def some(mine: list[ck.ThreadItem]) -> None:
        for item in mine:
            await store.add_thread_item(thread_id, item, ME)

    began = time.perf_counter()
    await asyncio.gather(*(some(items[start::at_once]) for start in range(at_once)))
    return ITEMS / (time.perf_counter() - began)


def bare_appends(bare: Bare) -> float:
    items = [an_item(bare.owner["thread"]) for _ in range(ITEMS)]
    texts = [(item.id, as_json(item)) for item in items]
    began = time.perf_counter()
    for item_id, text in texts:
        bare.append(item_id, text)
    return ITEMS / (time.perf_counter() - began)


async def pages_of_the_store(store: SqliteStore, thread_id: str, after: str) -> float:
    """Median milliseconds of a page."""
    took = []
    for _ in range(PAGES):
        began = time.perf_counter()
        page = await store.load_thread_items(thread_id, after, PAGE, "asc", ME)
        took.append(time.perf_counter() - began)
        assert len(page.data) == PAGE
    return median(took) * 1000


def bare_pages(bare: Bare, after: str, parsed: bool) -> float:
    took = []
    for _ in range(PAGES):
        began = time.perf_counter()
        rows = bare.page(after)
        if parsed:
            rows = [ITEM.validate_json(text) for (text,) in rows]
        took.append(time.perf_counter() - began)
        assert len(rows) == PAGE + 1
    return median(took) * 1000


Measure = Callable[[], Awaitable[float]]


async def in_turn(row: Row, rounds: int, ours: Measure, theirs: Measure) -> Row:
    """Fill `row`, each side first in every other round, after a round that is not counted."""
    for number in range(-1, rounds):
        sides = [(ours, row.ours), (theirs, row.theirs)]
        for measure, values in sides if number % 2 else reversed(sides):
            value = await measure()
            if number >= 0:
                values.append(value)
    return row


async def compare(folder: Path, rounds: int, at_once: int) -> list[Row]:
    settings = SqliteSettings.model_construct(database_url=f"sqlite:///{folder / 'ours.db'}")
    async with open_store(settings) as store:
        thread = ck.ThreadMetadata(id=store.generate_thread_id(ME), created_at=NOW)
        await store.save_thread(thread, ME)
        bare = Bare(folder / "bare.db", thread.id)

        async def plain(take: Callable[..., float], *arguments: Any) -> float:
            return take(bare, *arguments)

        rows = []
        for number in (1, at_once):
            row = Row(f"appended items/s, {number} at once", at_least=0.5)
            ours = partial(appends_of_the_store, store, thread.id, number)
            rows.append(await in_turn(row, rounds, ours, partial(plain, bare_appends)))
        for parsed, bound in ((True, 2.0), (False, None)):
            row = Row(
                f"page of {PAGE}, ms, bare as {'items' if parsed else 'texts'}", at_most=bound
            )
            first = (await store.load_thread_items(thread.id, None, 1, "asc", ME)).data[0].id
            [(bare_first,)] = bare.connection.execute("SELECT id FROM items WHERE seq = 1")
            ours = partial(pages_of_the_store, store, thread.id, first)
            theirs = partial(plain, bare_pages, bare_first, parsed)
            rows.append(await in_turn(row, rounds, ours, theirs))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the SQLite store against bare sqlite3.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--at-once", type=int, default=8)
    options = parser.parse_args()

    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:  # /tmp may be in memory
        rows = uvloop.run(compare(Path(folder), options.rounds, options.at_once))
    print(table(rows, "store", "sqlite3"))
    sys.exit(not all(row.holds for row in rows))


if __name__ == "__main__":
    main()
