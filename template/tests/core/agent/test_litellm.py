"""Providers by the prefix of a model's name: each is asked in its own way, over real HTTP."""

import contextvars
import gc
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse

from app.core.agent.model import has_credentials
from app.core.agent.model.litellm import LitellmSettings, build_model

from ..fixtures import RunningServer, serve, settings


def refusing() -> FastAPI:
    """A provider that refuses every key; `state.asked` has what came, with its headers."""
    app = FastAPI()
    app.state.asked = []

    @app.post("/{path:path}")
    async def refuse(request: Request, path: str) -> JSONResponse:
        app.state.asked.append((path, dict(request.headers)))
        return JSONResponse({}, 401)

    return app


@pytest.fixture
def models() -> Iterator[RunningServer]:
    running = RunningServer(refusing())
    running.start()
    yield running
    running.stop(0)


@pytest.mark.parametrize(
    ("model", "path", "header", "sent"),
    [
        ("anthropic/claude-x", "v1/messages", "x-api-key", "sk-test"),
        ("gemini/a", "models/a:streamGenerateContent", "x-goog-api-key", "sk-test"),
        ("bedrock/anthropic.a", "model/anthropic.a/", "authorization", "AWS4-HMAC"),
        ("openai/a", "chat/completions", "authorization", "Bearer sk-test"),
    ],
)
def test_the_prefix_says_how_a_provider_is_asked_and_its_refusal_is_one_sentence(
    models: RunningServer,
    monkeypatch: pytest.MonkeyPatch,
    model: str,
    path: str,
    header: str,
    sent: str,
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION_NAME"):
        monkeypatch.setenv(name, "us-east-1")
    key = None if model.startswith("bedrock") else "sk-test"
    with serve(litellm_base_url=models.url, litellm_api_key=key, model=model) as server:
        error = server.person().say("Hello")[-1]

    assert error["message"].startswith("The assistant is not set up correctly.")
    said = [headers for asked, headers in models.app.state.asked if asked.startswith(path)]
    [headers] = said[:1]  # production also asks for a title
    assert headers[header].startswith(sent)


@pytest.mark.parametrize(
    ("model", "variable"),
    [
        ("", "ANTHROPIC_API_KEY"),
        ("gemini/a", "GEMINI_API_KEY"),
        ("bedrock/a", "AWS_ACCESS_KEY_ID"),
        ("bedrock/a", "AWS_PROFILE"),
        ("bedrock/a", "AWS_BEARER_TOKEN_BEDROCK"),
        ("sagemaker/a", "AWS_WEB_IDENTITY_TOKEN_FILE"),
        ("vertex_ai/a", "GOOGLE_APPLICATION_CREDENTIALS"),
    ],
)
def test_a_providers_own_variable_counts_as_credentials(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str, variable: str
) -> None:
    monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not has_credentials(settings(model=model))
    monkeypatch.setenv(variable, "a-key")
    assert has_credentials(settings(model=model))
    assert not has_credentials(settings(model="elsewhere/a"))


@pytest.mark.parametrize(
    ("model", "file"),
    [
        ("bedrock/a", ".aws/config"),
        ("vertex_ai/a", ".config/gcloud/application_default_credentials.json"),
        ("ollama/a", ".ollama/id"),
    ],
)
def test_so_does_what_its_own_programs_left_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str, file: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not has_credentials(settings(model=model))
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).touch()
    assert has_credentials(settings(model=model))


def test_production_leaves_a_machines_own_identity_to_the_provider(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for model in ("bedrock/a", "vertex_ai/a", "ollama/a"):
        assert LitellmSettings(app_env="production", model=model).errors() == []
    [told] = LitellmSettings(app_env="production", model="anthropic/a").errors()
    assert told.startswith("LITELLM_API_KEY is not set")


def test_no_context_variable_is_set_while_garbage_is_collected() -> None:
    """An answer that nobody read to its end lies in a cycle: see model/litellm.py."""
    build_model(LitellmSettings())
    from litellm.litellm_core_utils.litellm_logging import Logging
    from litellm.litellm_core_utils.streaming_handler import CustomStreamWrapper

    logged = Logging("a", [], True, "acompletion", datetime.now(UTC), "1", "1", kwargs={})
    left: Any = CustomStreamWrapper(iter(()), "a", logged, "openai")
    left.itself = left
    del left
    found: list[str] = []

    def watch(frame: object, event: str, called: Any) -> None:
        if event == "c_call" and isinstance(
            getattr(called, "__self__", None), contextvars.ContextVar
        ):
            found.append(called.__name__)

    sys.setprofile(watch)
    gc.collect()
    sys.setprofile(None)
    assert "set" not in found
