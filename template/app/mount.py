"""Mounting on an application that exists: this one answers below a path of it, in its process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from .core import logs

logs.hosted = True  # before there is an application that would set the log up

from .main import app as chat  # noqa: E402


def mount_on(host: FastAPI, path: str = "/chat") -> None:
    """Answer at `path`/chatkit of `host`, and begin and end with it.

    A mounted application's own lifespan is never run, so the host's is put around it. Call this
    once, where the host is made; settings come from the environment and from `.env` in the folder
    where the process was started. Its log goes where the host's does, or to stderr where nothing
    is set up.
    """
    host_begins = host.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[Any]:
        async with host_begins(app) as state, chat.router.lifespan_context(chat):
            yield state

    host.router.lifespan_context = lifespan
    host.mount(path, chat)
