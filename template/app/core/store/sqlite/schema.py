"""The schema of the SQLite store, its versions, and how a file gets to the newest."""

import itertools
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from .statements import NOW, SHOWN

APPLICATION = 0x43484154  # marks the file as one of ours, where SQLite has a field for that
NEWER = "a newer version of this application wrote it: update this one, or name another file"
FOREIGN = "its tables are another program's: name another file in DATABASE_URL"

# Puts an item's thread up to date: the next item's place, and when it was last written.
_AFTER = """
    CREATE TRIGGER items_{event} AFTER {event} ON items BEGIN
        UPDATE threads SET next_seq = {next_seq}, updated_at = {now}
        WHERE (org_id, user_id) = ({row}.org_id, {row}.user_id) AND id = {row}.thread_id;
    END
"""
# The statements that make version 1, 2, … of the schema from the one before. Add at the end only:
# files out there have been through the ones above.
UPGRADES: list[list[str]] = [
    [
        f"""
        CREATE TABLE threads (
            org_id TEXT NOT NULL,
            user_id TEXT NOT NULL,
            id TEXT NOT NULL,
            created_at TEXT NOT NULL,
            title TEXT,
            status TEXT NOT NULL,
            allowed_image_domains TEXT NOT NULL,
            metadata TEXT NOT NULL,
            generation INTEGER NOT NULL,
            leased_until TEXT,
            next_seq INTEGER NOT NULL DEFAULT 1,
            updated_at TEXT NOT NULL DEFAULT ({NOW}),
            PRIMARY KEY (org_id, user_id, id)
        ) STRICT
        """,
        """
        CREATE TABLE items (
            org_id TEXT NOT NULL,
            user_id TEXT NOT NULL,
            thread_id TEXT NOT NULL,
            seq INTEGER NOT NULL,
            id TEXT NOT NULL,
            data TEXT NOT NULL,
            PRIMARY KEY (org_id, user_id, thread_id, id),
            UNIQUE (org_id, user_id, thread_id, seq),
            FOREIGN KEY (org_id, user_id, thread_id) REFERENCES threads ON DELETE CASCADE
        ) STRICT
        """,
        _AFTER.format(event="INSERT", row="new", next_seq="new.seq + 1", now=NOW),
        _AFTER.format(event="UPDATE", row="new", next_seq="next_seq", now=NOW),
        _AFTER.format(event="DELETE", row="old", next_seq="next_seq", now=NOW),
        f"""
        CREATE TABLE attachments (
            org_id TEXT NOT NULL,
            user_id TEXT NOT NULL,
            id TEXT NOT NULL,
            data TEXT NOT NULL,
            created_at TEXT NOT NULL DEFAULT ({NOW}),
            PRIMARY KEY (org_id, user_id, id)
        ) STRICT
        """,
    ],
    [
        f"""
        CREATE TABLE feedback (
            org_id TEXT NOT NULL,
            user_id TEXT NOT NULL,
            thread_id TEXT NOT NULL,
            item_id TEXT NOT NULL,
            kind TEXT NOT NULL,
            created_at TEXT NOT NULL DEFAULT ({NOW}),
            PRIMARY KEY (org_id, user_id, thread_id, item_id),
            FOREIGN KEY (org_id, user_id, thread_id) REFERENCES threads ON DELETE CASCADE
        ) STRICT
        """,
    ],
    [
        """
        CREATE TABLE usage (
            org_id TEXT NOT NULL,
            user_id TEXT NOT NULL,
            day TEXT NOT NULL,
            turns INTEGER NOT NULL,
            requests INTEGER NOT NULL,
            input_tokens INTEGER NOT NULL,
            cached_tokens INTEGER NOT NULL,
            output_tokens INTEGER NOT NULL,
            reasoning_tokens INTEGER NOT NULL,
            last_turn TEXT NOT NULL,
            PRIMARY KEY (org_id, user_id, day)
        ) STRICT
        """,
    ],
    [
        f"""
        CREATE INDEX items_shown ON items (org_id, user_id, thread_id, seq) WHERE {SHOWN}
        """,
    ],
]


class Unusable(Exception):
    """The file cannot be used; the message says why and what to do."""


def prepare(path: Path, patience: float) -> None:
    """Make the file where it is missing and bring its schema up to date.

    Several processes may do so at once. Raises OSError, sqlite3.Error or Unusable.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    with closing(sqlite3.connect(path, timeout=patience, isolation_level=None)) as connection:
        _write_ahead(connection, time.monotonic() + patience)
        with connection:
            connection.execute("BEGIN IMMEDIATE")  # whoever comes second finds it done
            for statement in itertools.chain(*UPGRADES[_version(connection) :]):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(UPGRADES)}")
            connection.execute(f"PRAGMA application_id = {APPLICATION}")


def _version(connection: sqlite3.Connection) -> int:
    """The version of the schema; 0 of an empty file. Raises Unusable."""
    [(version,)] = connection.execute("PRAGMA user_version")
    [(application,)] = connection.execute("PRAGMA application_id")
    [(tables,)] = connection.execute("SELECT count(*) FROM sqlite_schema")
    if application != APPLICATION and (version or tables):
        raise Unusable(FOREIGN)
    if version > len(UPGRADES):
        raise Unusable(NEWER)
    return int(version)


def _write_ahead(connection: sqlite3.Connection, deadline: float) -> None:
    """Let writers and readers not wait for each other. The change itself knows no timeout."""
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
