"""The doctor finds what is wrong, says how to mend it, and lets a deployment know."""

import json
import logging
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response

from app.core.commands import commands
from app.core.production.ops import doctor, first_event
from app.core.settings import Settings

from .. import auth_styles as people
from ..agent.provider import failure, provider
from ..agent.test_model import NAME, credentials
from ..fixtures import RunningServer, serve
from ..stores import LIVE, fresh

Examine = Callable[..., dict[str, doctor.Finding]]
FIELDS = Settings.model_fields


@pytest.fixture
def examine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Examine]:
    """The doctor's command, by these options in an environment of these settings."""
    monkeypatch.chdir(tmp_path)  # where no .env is
    root, handlers = logging.getLogger(), logging.getLogger().handlers

    def run(*options: str, **values: Any) -> dict[str, doctor.Finding]:
        for name, value in (people.SETTINGS | values).items():
            given = ",".join(value) if isinstance(value, tuple) else str(value)
            monkeypatch.setenv(name.upper(), given)
        with pytest.raises(SystemExit) as stop:
            commands(["doctor", "--json", *options], standalone_mode=False)
        said, errors = capsys.readouterr()
        assert errors == ""
        told = json.loads(said)
        found = {one["check"]: doctor.Finding(**one) for one in told["checks"]}
        failed = [one for one in found.values() if one.state == "failed"]
        assert stop.value.code == bool(failed) == (not told["ok"])
        return found

    yield run
    root.handlers = handlers


@pytest.fixture
def running() -> Iterator[Callable[[FastAPI], str]]:
    """Serves an application; its address."""
    started: list[RunningServer] = []

    def start(app: FastAPI) -> str:
        started.append(RunningServer(app))
        started[-1].start()
        return started[-1].url

    yield start
    for server in started:
        server.stop()


def answering(response: Response) -> FastAPI:
    app = FastAPI()
    app.add_api_route("/{path:path}", lambda path: response, methods=["GET", "POST"])
    return app


def options(**headers: str) -> list[str]:
    return [part for name, text in headers.items() for part in ("--header", f"{name}: {text}")]


def test_what_is_well_is_told_and_what_nobody_can_try_is_skipped(examine: Examine) -> None:
    found = examine(**fresh())
    states = {name: one.state for name, one in found.items()}
    assert states == {
        "settings": "ok",
        "store": "ok",
        "people": "ok",
        "model": "skipped",
        "stream": "skipped",
    }


def test_a_setting_that_does_not_fit_is_named_and_nothing_else_is_tried(examine: Examine) -> None:
    found = examine(max_body_bytes="sesame")
    assert found["settings"].state == "failed"
    assert "MAX_BODY_BYTES does not fit" in found["settings"].told
    assert {found[name].state for name in ("store", "people", "model")} == {"skipped"}
    assert "sesame" not in str(found)


def test_what_production_lacks_is_said_as_the_start_would(examine: Examine) -> None:
    """Such as the secret by which people are known, in the styles that have one."""
    found = examine(app_env="production", model="offline", **dict.fromkeys(people.SETTINGS, ""))
    secret = {"visitor_secret": "VISITOR_", "auth_proxy_secret": "AUTH_PROXY_", "jwt_secret": "JWT"}
    wanted = [part for name, part in secret.items() if name in FIELDS] or ["Sessions are nowhere"]
    assert found["settings"].state == "failed"
    assert wanted[0] in found["settings"].told


def test_a_store_that_cannot_be_used_is_told_with_the_way_out(
    examine: Examine, tmp_path: Path
) -> None:
    if "database_pool_size" in FIELDS:
        database = import_module("..database", __package__)  # not every project has it
        store, wanted = database.schema(), "uv run alembic upgrade head"
    elif "database_busy_timeout" in FIELDS:
        (tmp_path / "chat.db").write_text("not a database " * 100)
        store, wanted = f"sqlite:///{tmp_path}/chat.db", "DATABASE_URL names"
    else:
        return  # memory is always there
    values = people.LIVE | LIVE | {"app_env": "production", "model": "offline"}
    if "jwt_issuer" in FIELDS:
        values |= {"jwt_issuer": "https://id.example.com"}
    found = examine(**values, database_url=store)
    [wrong] = [one for one in found.values() if one.state == "failed"]
    assert wanted in wrong.told


def test_an_identity_provider_without_keys_is_told_with_its_setting(
    examine: Examine, running: Callable[[FastAPI], str]
) -> None:
    if "jwt_jwks_url" in FIELDS:
        url = running(answering(JSONResponse({"keys": []})))
        values = {"jwt_jwks_url": f"{url}/jwks", "jwt_public_key": ""}
        wanted = "JWT_JWKS_URL gave no keys: no usable key"
    elif "session_url" in FIELDS:
        values = {"session_url": f"{running(answering(failure(500)))}/", "session_database_url": ""}
        wanted = "SESSION_URL answered 500"
    else:
        return  # a secret is all: see what production lacks
    found = examine(**values, **fresh())
    assert found["people"].state == "failed"
    assert wanted in found["people"].told
    assert (found["settings"].state, found["store"].state) == ("ok", "ok")


def test_a_model_is_asked_once_and_with_few_tokens(
    examine: Examine, running: Callable[[FastAPI], str]
) -> None:
    app = provider()
    found = examine(**credentials(running(app)), model=NAME, **fresh())
    assert found["model"].state == "ok", found["model"].told
    [asked] = app.state.log
    limits = [asked.body.get(name) for name in ("max_output_tokens", "max_tokens")]
    assert doctor.ENOUGH in limits
    with serve(**credentials(running(app)), model=NAME) as server:
        server.person().say("Hello")
    turn = next(one for one in app.state.log[1:] if one.body.get("stream"))
    assert asked.body.get("stream_options") == turn.body.get("stream_options")


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        (401, "refuses the key"),
        (404, "does not know MODEL"),
        (429, "limit or quota is used up"),
        (500, "does not answer"),
    ],
)
def test_a_model_that_refuses_is_told_without_its_words(
    examine: Examine,
    running: Callable[[FastAPI], str],
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    wanted: str,
) -> None:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.02, raising=False)
    url = running(answering(failure(status)))
    found = examine(**credentials(url), model=NAME, **fresh())
    assert found["model"].state == "failed"
    assert wanted in found["model"].told
    assert "_KEY" in found["model"].told
    assert "sk-" not in str(found)


def test_a_first_event_that_comes_at_once_is_well_and_leaves_no_thread(examine: Examine) -> None:
    with serve(offline_delay=0.02) as server:
        person = server.person()
        found = examine("--url", server.url, *options(**person.http.headers), **fresh())
        assert found["stream"].state == "ok", found["stream"].told
        if people.nobody:
            assert person.ask("threads.list", limit=1)["data"] == []


def test_it_removes_its_thread_in_production_too(
    examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a visitor's cookie is for https alone, and this address is the one behind a proxy."""
    live: dict[str, Any] = {"app_env": "production", "model": "offline", "offline_delay": 0.02}
    with serve(**live | people.LIVE | LIVE) as server:
        removed: list[str] = []
        delete = server.store.delete_thread

        async def watched(thread_id: str, context: Any) -> None:
            await delete(thread_id, context)
            removed.append(thread_id)

        monkeypatch.setattr(server.store, "delete_thread", watched)
        headers = options(**server.person().http.headers)
        found = examine("--url", server.url, *headers, **fresh())
    assert found["stream"].state == "ok", found["stream"].told
    assert len(removed) == 1


def test_a_proxy_that_holds_the_stream_back_is_found(
    examine: Examine, running: Callable[[FastAPI], str]
) -> None:
    with serve(offline_delay=0.02) as server:
        proxy = FastAPI()

        @proxy.post("/chatkit")
        async def hold(request: Request) -> Response:
            async with httpx.AsyncClient() as client:
                sent, headers = await request.body(), request.headers.raw
                answer = await client.post(f"{server.url}/chatkit", content=sent, headers=headers)
            return Response(answer.content, headers={"content-type": "text/event-stream"})

        url = running(proxy)
        sent = options(accept="text/event-stream", **people.newcomer())
        found = examine("--url", url, *sent, **fresh())
    assert found["stream"].state == "failed"
    assert "proxy_buffering off" in found["stream"].told


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        (JSONResponse({}, 401), "give a credential with --header"),
        (JSONResponse({}, 404), "There is no /chatkit there"),
        (JSONResponse({}, 502), "It answers 502"),
        (JSONResponse({}), "sends no events"),
        (Response("", media_type="text/event-stream"), "The stream broke off"),
        (
            Response(
                'data: {"type": "error", "message": "No."}\n\n', media_type="text/event-stream"
            ),
            "ended in an error: No.",
        ),
    ],
)
def test_an_address_that_does_not_lead_to_answers_is_told(
    examine: Examine, running: Callable[[FastAPI], str], answer: Response, wanted: str
) -> None:
    url = running(answering(answer))
    found = examine("--url", url, "--header", "authorization: Bearer sesame", **fresh())
    assert found["stream"].state == "failed"
    assert wanted in found["stream"].told
    assert "sesame" not in str(found)


@pytest.mark.parametrize("path", ["/chat", "/chat/", "/chat/chatkit", "/api/talk"])
def test_a_server_below_a_path_or_at_an_address_of_its_own_is_found(
    examine: Examine, running: Callable[[FastAPI], str], path: str
) -> None:
    host = FastAPI(redirect_slashes=False)
    ending = 'data: {"type": "error", "message": "Here."}\n\n'
    for at in ("/chat/chatkit", "/api/talk"):
        answer = Response(ending, media_type="text/event-stream")
        host.add_api_route(at, lambda answer=answer: answer, methods=["POST"])
    url = running(host) + path
    found = examine("--url", url, "--header", "authorization: Bearer sesame", **fresh())
    assert "ended in an error: Here." in found["stream"].told


def test_a_path_that_was_forgotten_is_told(
    examine: Examine, running: Callable[[FastAPI], str]
) -> None:
    host = FastAPI()
    host.add_api_route("/", lambda: "a page", methods=["GET"])
    url = running(host)
    found = examine("--url", url, "--header", "authorization: Bearer sesame", **fresh())
    assert "There is no /chatkit there" in found["stream"].told


def test_an_address_where_nothing_is_is_told(examine: Examine) -> None:
    found = examine("--url", "http://127.0.0.1:9", "--header", "a: b", **fresh())
    assert found["stream"].told == first_event.UNREACHED


def test_a_header_that_is_none_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCTOR_HEADER", "sesame\n")
    with pytest.raises(SystemExit, match="A header is written as") as stop:
        doctor.main("", [], False)
    assert "sesame" not in str(stop.value)
