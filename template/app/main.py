"""The application: settings, store, server and endpoint, wired together.

The template's file: improvements arrive through `copier update`.
"""

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from .config import stop_on_problems
from .edge import BodyLimit
from .endpoint import router
from .errors import configure_logging, logger
from .server import Server
from .settings import Settings, load_settings
from .store import open_store
from .stream import Turn, stop_all


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application, ready to be served.

    Raises SystemExit with one sentence a line for settings that cannot work.
    """
    settings = settings or load_settings()
    stop_on_problems(settings)
    configure_logging(settings.log_level)
    use_utc()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        for note in settings.notes():
            logger.warning(note)
        turns: set[Turn] = set()
        async with open_store(settings) as store:
            app.state.server, app.state.turns = Server(store, settings), turns
            yield
            await stop_all(turns)

    schema = None if settings.is_production else "/openapi.json"
    app = FastAPI(title="Chat backend", lifespan=lifespan, openapi_url=schema)
    app.state.settings = settings
    app.include_router(router)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes, seconds=settings.body_timeout)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=settings.allowed_origins,
        allow_credentials=True,
        allow_methods=["POST"],
        allow_headers=["*"],
    )
    return app


def use_utc() -> None:
    """ChatKit's times carry no zone: UTC is what every process and database can agree on."""
    os.environ["TZ"] = "UTC"
    if hasattr(time, "tzset"):
        time.tzset()


app = create_app()
