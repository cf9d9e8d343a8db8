"""How much one owner may ask for: requests in a time, and answers that are written at once."""

import asyncio
import hashlib
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.util import find_spec
from typing import Annotated, Any

from limits import parse_many
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter as Window

from ..config import HOST, AppSettings, fitting
from ..context import RequestContext
from ..errors import ApiError, logger

PATIENCE = 0.5  # seconds for Redis to answer
PAUSE = 10.0  # seconds before Redis is asked again after it did not
SWEEP = 60.0  # seconds between two looks for owners whose windows are over

RATE = r"[1-9]\d{0,8} ?/ ?(second|minute|hour|day)"
NO_RATE = "write a number and a time, as in 120/minute or 10/second;2000/day"
Rates = Annotated[str, fitting(f"{RATE}(; ?{RATE})*", NO_RATE)]
REDIS = rf"rediss?://([^\s/?#@]*@)?{HOST}(/\d*)?(\?\S*)?"
Redis = Annotated[str, fitting(REDIS, "write it as in redis://localhost:6379/0")]


class LimitSettings(AppSettings):
    rate_limit: Rates = "120/minute"  # of an owner
    # Where they are counted for several processes together; each counts its own without it.
    rate_limit_url: Redis | None = None

    def errors(self) -> list[str]:
        told = "RATE_LIMIT_URL needs the Redis client: `uv add 'limits[redis]'` brings it."
        missing = bool(self.rate_limit_url) and find_spec("redis") is None
        return super().errors() + [told] * missing


class RateLimit:
    """Counts the requests of each owner, in Redis or, without it or while it is away, here."""

    def __init__(self, rates: str, here: Window, shared: Window) -> None:
        self.rates, self.here, self.shared = parse_many(rates), here, shared
        self._away_until = 0.0

    async def count(self, context: RequestContext) -> None:
        """Count one request. Raises ApiError 429 for one too many."""
        key = hashlib.sha256(ascii(context.owner).encode()).hexdigest()
        window = self.here if time.monotonic() < self._away_until else self.shared
        try:
            async with asyncio.timeout(PATIENCE):
                wait = await self._wait(window, key)
        except Exception as error:
            if not self._away_until:
                told = "RATE_LIMIT_URL cannot be used (%s): each process counts its own requests"
                logger.warning(told, type(error).__name__)
            self._away_until = time.monotonic() + PAUSE
            wait = await self._wait(self.here, key)
        else:
            if self._away_until and window is self.shared:
                logger.warning("RATE_LIMIT_URL can be used again")
                self._away_until = 0.0
        if wait is not None:
            text = f"Too many requests. Please try again in {wait} seconds."
            raise ApiError(429, "too_many_requests", text, retry_after=str(wait))

    async def _wait(self, window: Window, key: str) -> int | None:
        """Seconds to wait, or None where the request is within every rate."""
        for rate in self.rates:
            if not await window.hit(rate, key):
                stats = await window.get_window_stats(rate, key)
                return max(1, math.ceil(stats.reset_time - time.time()))
        return None


@asynccontextmanager
async def open_rate_limit(settings: LimitSettings) -> AsyncIterator[RateLimit]:
    """The limit for the life of the application. Redis is first asked by the first request."""
    memory, url = MemoryStorage(), settings.rate_limit_url
    # Its own sweep walks through every owner after each request; a timer that runs keeps it off.
    memory.timer = sweep = asyncio.create_task(_sweep(memory))
    shared: Any = RedisStorage(url, implementation="redispy") if url else memory
    try:
        yield RateLimit(settings.rate_limit, Window(memory), Window(shared))
    finally:
        sweep.cancel()
        if url:
            await shared.bridge.get_connection().aclose()


async def _sweep(memory: MemoryStorage) -> None:
    while True:
        await asyncio.sleep(SWEEP)
        now = time.time()
        for key in [key for key, until in memory.expirations.items() if until <= now]:
            await memory.clear(key)


class ConcurrencyLimit:
    """The answers that this process is writing, by owner."""

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self._running: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def one_more(self, owner: tuple[str, str]) -> Iterator[bool]:
        """Whether the owner may have one more; it then counts until the block ends."""
        may = self._running[owner] < self.at_once
        self._running[owner] += may
        try:
            yield may
        finally:
            self._running -= Counter([owner] * may)  # which forgets an owner of none
