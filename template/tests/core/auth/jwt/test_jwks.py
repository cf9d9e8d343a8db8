"""The keys of an identity provider: fetched seldom, kept through its outages, changed when
they do.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from fastapi import FastAPI, Request
from starlette.responses import Response, StreamingResponse

from app.core.auth.jwt.jwks import open_keys

from ...auth_styles.jwt import Private, bearer, part, token
from ...chat import Person, request
from ...fixtures import RunningServer, serve, wait_until

OLD, NEW = ed25519.Ed25519PrivateKey.generate(), ed25519.Ed25519PrivateKey.generate()
ES, RS = ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)
BRIEF = 0.3  # seconds: a cool-down for tests


def jwk(key: Private, kid: str | None = "old", **more: Any) -> dict[str, Any]:
    """A public key as RFC 7518, section 6, and RFC 8037 write it; Better Auth's has no `use`."""
    match key:
        case ed25519.Ed25519PrivateKey():
            x = part(key.public_key().public_bytes_raw())
            found = {"alg": "EdDSA", "crv": "Ed25519", "x": x, "kty": "OKP"}
        case ec.EllipticCurvePrivateKey():
            point = key.public_key().public_numbers()
            x, y = (part(number.to_bytes(32, "big")) for number in (point.x, point.y))
            found = {"alg": "ES256", "kty": "EC", "crv": "P-256", "x": x, "y": y}
        case _:
            numbers = key.public_key().public_numbers()
            n = part(numbers.n.to_bytes(key.key_size // 8, "big"))
            found = {"alg": "RS256", "kty": "RSA", "n": n, "e": "AQAB", "use": "sig"}
    whole = found | {"kid": kid} | more
    return {name: value for name, value in whole.items() if value is not None}


class Provider:
    """An identity provider's endpoint: what it says, how, and how often it was asked."""

    def __init__(self) -> None:
        self.answer: Response | Exception = Response()
        self.wait, self.asked, self.headers = 0.0, 0, dict[str, str]()
        self.holds = False  # back what it says
        self.publish(jwk(OLD))
        app = FastAPI()
        app.add_api_route("/{path:path}", self.say)
        self.server = RunningServer(app)
        self.server.start()
        self.url = f"{self.server.url}/keys"

    def publish(self, *keys: Any) -> None:
        self.answer = Response(json.dumps({"keys": keys}), media_type="application/json")

    async def say(self, request: Request) -> Response:
        self.asked, self.headers = self.asked + 1, dict(request.headers)
        await asyncio.sleep(self.wait)
        await asyncio.to_thread(wait_until, lambda: not self.holds)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def provider() -> Iterator[Provider]:
    found = Provider()
    yield found
    found.server.stop(0)


@contextmanager
def trusting(provider: Provider, **values: Any) -> Iterator[RunningServer]:
    """A server that trusts the provider's keys."""
    given = {"jwt_public_key": "", "jwt_jwks_url": provider.url} | values
    with serve(**given) as server:
        yield server


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cool-downs that a test can wait for."""
    monkeypatch.setattr("app.core.auth.jwt.jwks.COOL_DOWN", BRIEF)


def status(
    server: RunningServer, key: Private = OLD, kid: str | None = "old", **header: Any
) -> int:
    named = {"kid": kid} if kid else {}
    given = bearer(token(key, named | header))
    url, body = f"{server.url}/chatkit", request("threads.list")
    return httpx.post(url, json=body, headers=given, timeout=20).status_code


def ready(server: RunningServer) -> int:
    return httpx.get(f"{server.url}/ready").status_code


@pytest.mark.parametrize("key", [OLD, ES, RS], ids=["EdDSA", "ES256", "RS256"])
def test_a_token_of_a_published_key_makes_somebody_known(provider: Provider, key: Private) -> None:
    provider.publish(jwk(NEW, "new"), jwk(key))
    with trusting(provider) as server:
        assert status(server, key) == 200
        assert status(server, NEW, "new") == 200
        assert status(server, key, "new") == 401
    assert provider.asked == 1


def test_many_first_tokens_share_one_fetch(provider: Provider) -> None:
    provider.holds = True
    with trusting(provider) as server, ThreadPoolExecutor(20) as pool:
        answers = pool.map(lambda _: status(server), range(20))
        wait_until(lambda: server.connections() == 20)
        time.sleep(0.1)
        provider.holds = False
        assert set(answers) == {200}
    assert provider.asked == 1


@pytest.mark.usefixtures("brief")
def test_whoever_goes_away_does_not_end_the_fetch_of_others(provider: Provider) -> None:
    with trusting(provider) as server:
        assert status(server) == 200
        provider.publish(jwk(NEW, "new"))
        provider.holds = True
        keys, asked = server.app.state.auth, provider.asked

        async def two() -> list[str]:
            gone = asyncio.create_task(keys.find("new"))
            await asyncio.sleep(BRIEF)
            other = asyncio.create_task(keys.find("new"))
            await asyncio.to_thread(wait_until, lambda: provider.asked > asked)
            gone.cancel()
            await asyncio.sleep(0)
            provider.holds = False
            found: list[str] = (await other).algorithms
            return found

        time.sleep(2 * BRIEF)
        assert server.run(two()) == ["EdDSA", "Ed25519"]


def test_a_thousand_unknown_keys_cost_one_fetch_in_a_cool_down(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    with trusting(provider) as server:
        wait_until(lambda: ready(server) == 200)
        monkeypatch.setattr("app.core.auth.jwt.jwks.COOL_DOWN", 3600.0)
        keys = server.app.state.auth
        keys._rested = 0.0  # as if the cool-down of the first fetch were over

        async def ask(number: int) -> str:
            try:
                await keys.find(f"unknown {number}")
            except Exception as error:
                return type(error).__name__
            return ""

        async def all_of_them() -> set[str]:
            return set(await asyncio.gather(*map(ask, range(1000))))

        assert server.run(all_of_them()) == {"UnknownKeyError"}
        assert provider.asked == 2
        assert status(server, kid="unknown") == 401
        assert status(server) == 200
    assert provider.asked == 2


@pytest.mark.usefixtures("brief")
def test_a_rotated_key_is_fetched_and_the_withdrawn_one_forgotten(provider: Provider) -> None:
    with trusting(provider) as server:
        assert status(server) == 200
        provider.publish(jwk(OLD), jwk(NEW, "new"))
        wait_until(lambda: status(server, NEW, "new") == 200)
        assert status(server) == 200
        provider.publish(jwk(NEW, "new"))
        wait_until(lambda: status(server, kid="another") == 401 and status(server) == 401)
        assert status(server, NEW, "new") == 200


@pytest.mark.usefixtures("brief")
def test_a_withdrawn_key_is_forgotten_though_nobody_asks_for_another(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.core.auth.jwt.jwks.REFRESH", 2 * BRIEF)
    with trusting(provider) as server:
        assert status(server) == 200
        provider.publish(jwk(NEW, "new"))
        wait_until(lambda: status(server) == 401)


@pytest.mark.usefixtures("brief")
def test_a_token_that_held_does_not_outlive_its_key(provider: Provider) -> None:
    with trusting(provider) as server:
        person = Person(server.url, **bearer(token(OLD, {"kid": "old"})))
        assert person.post("threads.list").status_code == 200
        provider.publish(jwk(NEW, "new"))
        wait_until(lambda: status(server, NEW, "new") == 200)
        assert person.post("threads.list").status_code == 401


def endless() -> AsyncIterator[bytes]:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 10_000
            await asyncio.sleep(0)

    return pieces()


def slowly() -> AsyncIterator[bytes]:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.05)

    return pieces()


KEYS = json.dumps({"keys": [jwk(NEW, "new")]})
FAULTS: dict[str, Any] = {
    "down": lambda: RuntimeError(),
    "missing": lambda: Response(KEYS, status_code=404),
    "redirect": lambda: Response(KEYS, status_code=302, headers={"location": "/elsewhere"}),
    "large": lambda: Response(KEYS + " " * 300_000),
    "not JSON": lambda: Response("<html>"),
    "a list": lambda: Response("[]"),
    "no keys": lambda: Response('{"keys": []}'),
    "no list": lambda: Response('{"keys": 7}'),
    "keys of text": lambda: Response('{"keys": ["x"]}'),
    "deep": lambda: Response("[" * 100_000),
    "endless": lambda: StreamingResponse(endless()),
    "dripping": lambda: StreamingResponse(slowly()),
    "packed": lambda: Response(b"\x1f\x8b", headers={"content-encoding": "gzip"}),
}


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_provider_leaves_the_known_keys_as_they_are(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr("app.core.auth.jwt.jwks.TIME_LIMIT", 0.5)
    with trusting(provider) as server:
        assert status(server) == 200
        provider.answer = FAULTS[fault]()
        asked = provider.asked
        wait_until(lambda: status(server, NEW, "new") == 401 and provider.asked > asked)
        assert status(server) == 200
        assert ready(server) == 200


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_starts_without_the_provider_and_is_ready_once_it_is_there(
    provider: Provider,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: str,
) -> None:
    monkeypatch.setattr("app.core.auth.jwt.jwks.TIME_LIMIT", 0.5)
    provider.answer = FAULTS[fault]()
    with trusting(provider) as server:
        assert ready(server) == 503
        answer = httpx.post(
            f"{server.url}/chatkit", json=request("threads.list"), headers=bearer(token(OLD))
        )
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "unavailable"
        assert int(answer.headers["retry-after"]) >= 0
        assert httpx.post(f"{server.url}/chatkit", json=request("threads.list")).status_code == 401
        wait_until(lambda: "JWT_JWKS_URL gave no keys: " in caplog.text)
        provider.publish(jwk(OLD))
        wait_until(lambda: ready(server) == 200)
        assert status(server) == 200


@pytest.mark.usefixtures("brief")
def test_the_provider_is_asked_once_in_a_cool_down_while_it_fails(provider: Provider) -> None:
    provider.answer = Response(status_code=500)
    with trusting(provider) as server:
        wait_until(lambda: provider.asked >= 1)
        begun = time.monotonic()
        for _ in range(40):
            assert status(server) == 503
        took = time.monotonic() - begun
    assert provider.asked <= 2 + took / BRIEF


def test_a_redirect_is_not_followed(provider: Provider) -> None:
    provider.answer = Response(status_code=302, headers={"location": provider.url})
    with trusting(provider) as server:
        assert status(server) == 503
    assert provider.asked == 1


@pytest.mark.usefixtures("brief")
def test_a_slow_provider_keeps_nobody_waiting_whose_key_is_known(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    with trusting(provider) as server:
        assert status(server) == 200
        provider.wait = 4
        asked = provider.asked
        monkeypatch.setattr("app.core.auth.jwt.jwks.TIME_LIMIT", 3.0)
        with ThreadPoolExecutor() as pool:
            wait_until(lambda: pool.submit(status, server, NEW, "new") and provider.asked > asked)
            begun = time.monotonic()
            assert {status(server) for _ in range(5)} == {200}
            assert time.monotonic() - begun < 1.5


@pytest.mark.parametrize(
    ("keys", "kid", "known"),
    [
        ([jwk(OLD)], None, True),
        ([jwk(OLD, None)], None, True),
        ([jwk(NEW, "new"), jwk(OLD)], None, False),
        ([jwk(NEW), jwk(OLD)], "old", False),
        ([jwk(OLD), jwk(NEW)], "old", False),
        ([jwk(OLD, None)], "old", False),
        ([jwk(OLD, kid=7)], "old", False),  # type: ignore[arg-type]
        ([7, None, "x", {}, jwk(OLD)], "old", False),
        ([{}, {"kty": "OKP"}, {"kty": "x"}, jwk(OLD)], "old", True),
    ],
    ids=["one", "unnamed", "none of two", "twice", "twice too", "else", "number", "no keys", "odd"],
)
def test_a_token_has_to_lead_to_exactly_one_key(
    provider: Provider, keys: list[Any], kid: str | None, known: bool
) -> None:
    provider.publish(*keys)
    with trusting(provider) as server:
        assert (status(server, OLD, kid) == 200) is known


def test_a_kid_is_text(provider: Provider) -> None:
    with trusting(provider) as server:
        for kid in (7, None, ["old"], {"old": 1}, True):
            given = bearer(token(OLD, {"kid": kid}))
            answer = httpx.post(
                f"{server.url}/chatkit", json=request("threads.list"), headers=given
            )
            assert answer.status_code == 401


OCTETS = part(b"a secret of more than 32 octets, no less")


@pytest.mark.parametrize(
    ("more", "known"),
    [
        ({}, True),
        ({"alg": None}, True),
        ({"alg": "Ed25519"}, True),
        ({"use": "sig"}, True),
        ({"use": "enc"}, False),
        ({"alg": "ES256"}, False),
        ({"alg": "HS256"}, False),
        ({"alg": "none"}, False),
        ({"alg": ""}, True),
    ],
    ids=str,
)
def test_a_key_counts_for_what_it_was_made_for(
    provider: Provider, more: dict[str, Any], known: bool
) -> None:
    provider.publish(jwk(OLD, **more), jwk(NEW, "new"))
    with trusting(provider) as server:
        assert (status(server) == 200) is known
        assert status(server, NEW, "new") == 200


def test_a_shared_secret_is_never_published(provider: Provider) -> None:
    secret = {"kty": "oct", "k": OCTETS, "kid": "old", "alg": "HS256"}
    provider.publish(secret, {**secret, "alg": None}, jwk(NEW, "new"))
    with trusting(provider) as server:
        wait_until(lambda: status(server, NEW, "new") == 200)
        assert [key.algorithms for _, key in server.app.state.auth._keys] == [["EdDSA", "Ed25519"]]


def test_the_settings_say_which_algorithms_count(provider: Provider) -> None:
    provider.publish(jwk(OLD), jwk(ES, "es"))
    with trusting(provider, jwt_algorithms="ES256, RS256") as server:
        assert status(server, ES, "es") == 200
        assert status(server) == 401


def test_no_address_in_a_token_is_visited(provider: Provider) -> None:
    with trusting(provider) as server:
        assert status(server) == 200
        elsewhere = f"{provider.server.url}/elsewhere"
        for name in ("jku", "x5u"):
            assert status(server, NEW, "old", **{name: elsewhere}) == 401
            assert status(server, NEW, None, **{name: elsewhere}) == 401
    assert provider.asked == 1


def test_the_addresss_password_is_not_logged(
    provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    provider.answer = Response(status_code=500)
    url = provider.url.replace("http://", "http://ada:sesame@")
    with trusting(provider, jwt_jwks_url=url) as server:
        assert status(server) == 503
        assert provider.headers["authorization"].startswith("Basic ")
    assert "JWT_JWKS_URL gave no keys: status 500" in caplog.text
    assert "sesame" not in caplog.text


@pytest.mark.parametrize("holds", [True, False], ids=["in a fetch", "between two"])
def test_nothing_is_left_when_the_application_ends(provider: Provider, holds: bool) -> None:
    provider.holds = holds

    async def run() -> set[asyncio.Task[Any]]:
        async with open_keys(provider.url, ["EdDSA"]) as keys:
            await asyncio.to_thread(wait_until, lambda: provider.asked)
            if not holds:
                await keys.find("old")
                await asyncio.sleep(0)
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert asyncio.run(run()) == set()
    provider.holds = False


def test_a_server_ends_while_a_fetch_runs(provider: Provider) -> None:
    provider.holds = True
    with trusting(provider) as server:
        wait_until(lambda: provider.asked == 1)
        server.stop(3)
        assert not server._thread.is_alive()
    provider.holds = False
