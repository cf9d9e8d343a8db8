"""The memory store says what it forgets, and refuses to run where that would hurt."""

import sys
from typing import Any

import pytest

from app.core.config import stop_on_problems

from ..auth_styles import LIVE
from ..fixtures import settings


def test_the_memory_store_does_not_go_to_production_by_accident() -> None:
    live: Any = {"app_env": "production", "model": "offline"} | LIVE
    with pytest.raises(SystemExit, match="ALLOW_MEMORY_STORE=1"):
        stop_on_problems(settings(**live))
    stop_on_problems(settings(**live, allow_memory_store=True))


@pytest.mark.parametrize("arguments", [["--workers", "2"], ["--workers=4"], ["-w", "3"], ["-w8"]])
def test_the_memory_store_does_not_serve_several_workers(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["uvicorn", "app.main:app", *arguments])
    with pytest.raises(SystemExit, match="more than one worker"):
        stop_on_problems(settings())
    stop_on_problems(settings(allow_memory_store=True))


@pytest.mark.parametrize("name", ["WEB_CONCURRENCY", "UVICORN_WORKERS"])
def test_nor_several_that_the_environment_asks_for(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "4")
    with pytest.raises(SystemExit, match="more than one worker"):
        stop_on_problems(settings())
