"""A setting that cannot work stops the start with a sentence that says how to set it.

The template's file: improvements arrive through `copier update`.
"""

import sys
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from app.config import stop_on_problems
from app.main import create_app
from app.settings import load_settings

from .conftest import settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("APP_ENV", "staging"),
        ("LOG_LEVEL", "LOUD"),
        ("MAX_BODY_BYTES", "many"),
        ("STREAM_HEARTBEAT", "0"),
        ("ALLOW_MEMORY_STORE", "perhaps"),
    ],
)
def test_a_value_that_does_not_fit_is_named_but_not_repeated(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stop:
        load_settings()
    assert f"{name} does not fit: " in str(stop.value)
    assert f"{value!r}" not in str(stop.value)


@pytest.mark.parametrize("origin", ["*", "example.com", "https://*.example.com", "https://a.b/c"])
def test_an_origin_list_takes_exact_origins_only(origin: str) -> None:
    with pytest.raises(SystemExit, match="ALLOWED_ORIGINS has"):
        stop_on_problems(settings(allowed_origins=f"https://good.example, {origin}"))


def test_the_memory_store_does_not_go_to_production_by_accident() -> None:
    live: Any = {"app_env": "production", "model": "offline", "visitor_secret": "a-secret"}
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


def test_the_process_runs_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """ChatKit's times carry no zone: what one process writes, another has to read alike."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    create_app(settings())
    assert datetime.now().hour == datetime.now(UTC).hour
