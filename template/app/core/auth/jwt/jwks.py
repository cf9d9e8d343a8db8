"""Keys that check tokens: one of one's own, or those that an identity provider publishes."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

import httpx
from jwt import InvalidTokenError, PyJWK, PyJWKSetError, PyJWTError, register_algorithm
from jwt.algorithms import OKPAlgorithm, get_default_algorithms

from ...context import RequestContext
from ...errors import ApiError, logger

COOL_DOWN = 10.0  # seconds after a fetch, good or bad, in which there is no other
REFRESH = 300.0  # seconds between fetches: a withdrawn key counts hardly longer
TIME_LIMIT, SIZE_LIMIT = 5.0, 200_000  # seconds and bytes of one fetch

EDDSA = ("EdDSA", "Ed25519")  # names of one algorithm: RFC 8037 and RFC 9864
PUBLIC = (*EDDSA, "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512")
SHARED = ("HS256", "HS384", "HS512")
ALGORITHMS = get_default_algorithms() | {"Ed25519": OKPAlgorithm()}
with suppress(ValueError):  # known already
    register_algorithm("Ed25519", ALGORITHMS["Ed25519"])


class UnknownKeyError(InvalidTokenError):
    """The token names a key that is not there, or none where there are several."""


class Key(NamedTuple):
    """A key and the algorithms for which it counts, whatever a token asks for (RFC 8725, 3.1).

    A token that held is known as long as the key is: a fetch makes every key anew.
    """

    value: Any
    algorithms: list[str]
    held: dict[bytes, tuple[RequestContext, int]]  # by its hash: whose it is, when it expires


def key_for(value: Any, allowed: Iterable[str]) -> Key:
    """The key with those of the allowed algorithms for which it is fit and long enough.

    Raises ValueError when there are none.
    """
    fit = []
    for name in allowed:
        with suppress(PyJWTError, TypeError, ValueError):
            if not ALGORITHMS[name].check_key_length(ALGORITHMS[name].prepare_key(value)):
                fit.append(name)
    if not fit:
        raise ValueError("no algorithm fits this key")
    return Key(value, fit, {})


def read_keys(body: bytes, allowed: Iterable[str]) -> list[tuple[Any, Key]]:
    """The usable public keys of a JWKS (RFC 7517) with their `kid`; others are left out.

    Raises PyJWKSetError when there are none, and errors of many kinds for another text.
    """
    keys = []
    for data in json.loads(body)["keys"]:
        alg = data.pop("alg", None)
        fit = [a for a in allowed if not alg or a == alg or (a in EDDSA and alg in EDDSA)]
        if data.get("use", "sig") == "sig":
            with suppress(PyJWTError, ValueError):
                keys.append((data.get("kid"), key_for(PyJWK(data).key, fit)))
    if not keys:
        raise PyJWKSetError("no usable key")
    return keys


class KeySet:
    """The key of one's own; without one those of a provider, see `open_keys`."""

    def __init__(self, own: Key | None = None) -> None:
        self._own, self._keys = own, list[tuple[Any, Key]]()
        self._rested = 0.0  # when the cool-down is over, on the monotonic clock
        self._wanted, self._fetched = asyncio.Event(), asyncio.Event()

    async def ready(self) -> str | None:
        """Why nobody can be known now: only that no key was ever loaded."""
        told = "The identity provider's keys could not be loaded yet. Please try again."
        return None if self._own or self._keys else told

    async def find(self, kid: str | None) -> Key:
        """One's own key; else the one that a token's header names, without a `kid` the only one.

        Raises UnknownKeyError, and ApiError 503 when no key was ever loaded.
        """
        if self._own:
            return self._own
        if not self._named(kid) and time.monotonic() >= self._rested:
            self._wanted.set()
            await self._fetched.wait()
        if reason := await self.ready():
            raise ApiError(503, "unavailable", reason, retry_after=str(round(COOL_DOWN)))
        found = self._named(kid)
        if len(found) != 1:
            raise UnknownKeyError
        return found[0]

    def _named(self, kid: str | None) -> list[Key]:
        return [key for name, key in self._keys if kid in (None, name)]

    async def keep_fresh(self, url: str, allowed: list[str], client: httpx.AsyncClient) -> None:
        """Fetch the keys, and again when they are old, or wanted by a token, or did not come.

        One fetch at a time, none in the cool-down, and old keys stay if it fails. It is a task of
        its own: whoever waits for a fetch may go away without ending it.
        """
        while True:
            pause = COOL_DOWN
            try:
                async with asyncio.timeout(TIME_LIMIT):
                    body = await fetch(client, url)
                self._keys, pause = read_keys(body, allowed), REFRESH
            except Exception as error:  # whatever it is, the keys that are known stay
                told = error if isinstance(error, PyJWKSetError) else type(error).__name__
                logger.warning("JWT_JWKS_URL gave no keys: %s", told)
            self._rested = time.monotonic() + COOL_DOWN
            self._fetched.set()
            self._wanted, self._fetched = asyncio.Event(), asyncio.Event()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), pause)


async def fetch(client: httpx.AsyncClient, url: str) -> bytes:
    """What is there. Raises PyJWKSetError, whose words are fit for the log, and HTTPError."""
    body, unpacked = b"", {"accept-encoding": "identity"}  # packed data could grow
    async with client.stream("GET", url, headers=unpacked) as answer:
        if answer.status_code != 200:  # a redirect too
            raise PyJWKSetError(f"status {answer.status_code}")
        async for part in answer.aiter_raw():
            body += part
            if len(body) > SIZE_LIMIT:
                raise PyJWKSetError(f"over {SIZE_LIMIT} bytes")
    return body


@asynccontextmanager
async def open_keys(url: str, allowed: list[str]) -> AsyncIterator[KeySet]:
    """The keys at `url`, fetched anew now and then until the context ends."""
    keys = KeySet()
    async with httpx.AsyncClient(follow_redirects=False, timeout=TIME_LIMIT) as client:
        fetching = asyncio.create_task(keys.keep_fresh(url, allowed, client))
        try:
            yield keys
        finally:
            fetching.cancel()
            await asyncio.wait([fetching])
