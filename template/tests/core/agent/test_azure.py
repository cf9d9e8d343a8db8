"""An Entra identity instead of a key, against a stand-in for the one that Azure gives a machine."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from azure.identity.aio import DefaultAzureCredential
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse

from app.core.config import stop_on_problems
from app.core.settings import load_settings

from ..chat import text_of, thread_id_of
from ..fixtures import RunningServer, serve, settings
from .provider import provider

SECRET = "only-this-machine-knows-it"


def identity() -> FastAPI:
    """What App Service has beside an application; `state.asked` has every request in order."""
    app = FastAPI()
    app.state.asked, app.state.lifetime, app.state.status = [], 3600, 200

    @app.get("/token")
    async def token(request: Request, resource: str) -> JSONResponse:
        app.state.asked.append((resource, request.headers["x-identity-header"]))
        if app.state.status != 200:
            return JSONResponse({"error": "invalid_request"}, app.state.status)
        name = f"token-{len(app.state.asked)}"
        until = int(time.time()) + app.state.lifetime
        given = {"access_token": name, "expires_on": until, "resource": resource}
        return JSONResponse(given | {"token_type": "Bearer"})

    return app


@pytest.fixture
def entra(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningServer]:
    running = RunningServer(identity())
    running.start()
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")  # and no az, no pwsh
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{running.url}/token")
    monkeypatch.setenv("IDENTITY_HEADER", SECRET)
    yield running
    running.stop(0)


@pytest.fixture
def models() -> Iterator[RunningServer]:
    running = RunningServer(provider())
    running.start()
    yield running
    running.stop(0)


@pytest.fixture
def server(
    entra: RunningServer, models: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunningServer]:
    made: list[DefaultAzureCredential] = []

    class Kept(DefaultAzureCredential):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            made.append(self)

    monkeypatch.setattr("azure.identity.aio.DefaultAzureCredential", Kept)
    monkeypatch.setattr("app.server.Server.titles", None, raising=False)
    with serve(azure_openai_endpoint=models.url, azure_openai_entra=True) as running:
        yield running
        [credential] = made  # a process keeps it to its end, which a test's server has not
        running.run(credential.close())


@pytest.mark.parametrize(
    ("lifetime", "sent"),
    [(3600, ["Bearer token-1", "Bearer token-1"]), (0, ["Bearer token-1", "Bearer token-2"])],
    ids=["good", "old"],
)
def test_the_identitys_token_reaches_the_model_and_an_old_one_is_renewed(
    server: RunningServer, entra: RunningServer, models: RunningServer, lifetime: int, sent: Any
) -> None:
    entra.app.state.lifetime = lifetime
    person = server.person()

    thread_id = thread_id_of(person.say("Hello"))
    assert text_of(person.say("And on", thread_id)).startswith("You said And on")

    assert [asked.headers["authorization"] for asked in models.app.state.log] == sent
    assert not [asked for asked in models.app.state.log if "api-key" in asked.headers]
    known = ("https://cognitiveservices.azure.com", SECRET)
    assert entra.app.state.asked == [known] * len(set(sent))


def test_an_identity_that_is_refused_is_one_sentence_and_the_thread_works_on(
    server: RunningServer, entra: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    entra.app.state.status = 400
    person = server.person()
    events = person.say("Hello")

    error = events[-1]
    assert error["type"] == "error"
    assert error["message"].startswith("The assistant is not set up correctly. (Request id: ")
    assert not error["allow_retry"]
    assert "ClientAuthenticationError" in caplog.text
    assert SECRET not in caplog.text

    entra.app.state.status = 200
    assert text_of(person.say("Hello", thread_id_of(events)))
    assert "token-" not in caplog.text


def test_a_key_and_an_identity_together_stop_the_start() -> None:
    both: Any = {"azure_openai_entra": True, "azure_openai_api_key": "sk-test"}
    with pytest.raises(SystemExit, match="are both set: remove one"):
        stop_on_problems(settings(azure_openai_endpoint="http://127.0.0.1:1", **both))


@pytest.mark.parametrize("version", ["  ", "2025 04 01", "2025-04-01&x=y"])
def test_a_version_that_cannot_be_one_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_VERSION", version)
    with pytest.raises(SystemExit, match="AZURE_OPENAI_API_VERSION does not fit: write it as in"):
        load_settings()
