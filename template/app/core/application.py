"""The application: settings, store, server and endpoint, wired together."""

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from .auth import USES_COOKIES, open_auth
from .chat_server import BaseServer
from .config import stop_on_problems
from .errors import answer_error, logger
from .http.endpoint import router
from .http.middleware import EXPOSED, BodyLimitMiddleware, RequestLogMiddleware
from .http.rate_limit import open_rate_limit
from .http.streaming import ResponseTask, stop_all
from .logs import configure_logging
from .settings import Settings, load_settings
from .store import open_store


def create_app(server_class: type[BaseServer], *, settings: Settings | None = None) -> FastAPI:
    """The application that serves `server_class`, with the settings of the environment.

    Raises SystemExit with one sentence a line for settings that cannot work.
    """
    settings = settings or load_settings()
    stop_on_problems(settings)
    configure_logging(settings.log_level, as_json=settings.is_production)
    use_utc()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        configure_logging(settings.log_level, as_json=settings.is_production)  # uvicorn has its own
        for note in settings.startup_warnings():
            logger.warning(note)
        turns: set[ResponseTask] = set()
        async with (
            open_store(settings) as store,
            open_auth(settings) as app.state.auth,
            open_rate_limit(settings) as app.state.rate_limit,
        ):
            app.state.server, app.state.turns = server_class(store, settings), turns
            yield
            await stop_all(turns)
            await app.state.server.close()

    schema = None if settings.is_production else "/openapi.json"
    app = FastAPI(
        title="Chat",
        lifespan=lifespan,
        openapi_url=schema,
        redirect_slashes=False,
        telemetry=UNTOLD,
    )
    app.state.settings = settings
    app.include_router(router)
    add_edge(app, settings)
    return app


# FastAPI's own would begin by itself, and hide a request's connection from what bounds it.
UNTOLD: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False}


def add_edge(app: FastAPI, settings: Settings) -> None:
    """The layers around the router, each around the one before."""
    app.add_exception_handler(HTTPException, answer_error)
    app.add_middleware(
        BodyLimitMiddleware, max_bytes=settings.max_body_bytes, seconds=settings.body_timeout
    )
    app.add_middleware(
        CORSMiddleware,
        allow_origins=settings.allowed_origins,
        allow_credentials=USES_COOKIES,
        allow_methods=["POST"],
        allow_headers=["*"],
        expose_headers=EXPOSED,
    )
    app.add_middleware(RequestLogMiddleware, is_production=settings.is_production)


def use_utc() -> None:
    """ChatKit's times carry no zone: UTC is what every process and database can agree on."""
    os.environ["TZ"] = "UTC"
    if hasattr(time, "tzset"):
        time.tzset()
