"""Empty stores in SQLite: a file of its own each, in a folder that goes with the test run.

The template's file: improvements arrive through `copier update`.
"""

import atexit
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from app.store.sqlite_file import Connection

# What else production asks for.
LIVE: dict[str, Any] = {}


@cache
def folder() -> Path:
    made = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    atexit.register(made.cleanup)
    return Path(made.name)


def fresh() -> dict[str, Any]:
    """Settings of a store that nobody has used."""
    return {"database_url": f"sqlite:///{folder() / uuid.uuid4().hex}.db"}


@contextmanager
def counted() -> Iterator[list[str]]:
    """The statements that reach a file meanwhile."""
    sent: list[str] = []
    execute = Connection.execute

    async def executed(self: Connection, statement: str, values: dict[str, Any]) -> Any:
        sent.append(statement)
        return await execute(self, statement, values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connection, "execute", executed)
        yield sent
