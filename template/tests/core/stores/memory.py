"""Empty stores in this process's memory."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

# What else production asks for.
LIVE: dict[str, Any] = {"allow_memory_store": True}


def fresh() -> dict[str, Any]:
    """Settings of a store that nobody has used."""
    return {}


@contextmanager
def counted() -> Iterator[list[str]]:
    """What a database is asked meanwhile: here there is none."""
    yield []


@asynccontextmanager
async def contended(_: object) -> AsyncIterator[None]:
    """Locks that others take meanwhile: here there are none."""
    yield


async def at_rest(_: object) -> None:
    """Wait until nothing is under way. Raises AssertionError for what was left behind."""
