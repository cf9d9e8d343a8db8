"""A setting that cannot work stops the start with a sentence that says how to set it."""

import re
import time
from datetime import UTC, datetime

import pytest

from app.core.application import create_app
from app.core.settings import load_settings
from app.server import Server

from .fixtures import settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("APP_ENV", "staging"),
        ("LOG_LEVEL", "LOUD"),
        ("MAX_BODY_BYTES", "many"),
        ("STREAM_HEARTBEAT", "0"),
        ("TURN_LEASE", "0"),
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


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "null",
        "example.com",
        "https://*.example.com",
        "https://a.b/c",
        "https://a.b/",
        "https://a.b:443",
        "http://a.b:80",
        "https://a.b:port",
        "https://a.b c",
        "https://bücher.example",
    ],
)
def test_an_origin_that_no_browser_sends_is_named(
    monkeypatch: pytest.MonkeyPatch, origin: str
) -> None:
    monkeypatch.setenv("ALLOWED_ORIGINS", f"https://good.example, {origin}")
    with pytest.raises(
        SystemExit, match=f"ALLOWED_ORIGINS does not fit: {re.escape(repr(origin))}"
    ):
        create_app(Server)


def test_a_password_in_an_origin_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_ORIGINS", "https://ada:sesame@a.example")
    with pytest.raises(SystemExit, match=r"'a\.example' is not an origin") as stop:
        create_app(Server)
    assert "sesame" not in str(stop.value)


def test_an_origin_list_is_split_at_commas() -> None:
    wanted = "https://A.example, http://localhost:5173,http://[::1]:8080,https://b.example:80"
    assert settings(allowed_origins=wanted).allowed_origins == (
        "https://a.example",
        "http://localhost:5173",
        "http://[::1]:8080",
        "https://b.example:80",
    )


def test_the_process_runs_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """ChatKit's times carry no zone: what one process writes, another has to read alike."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    create_app(Server, settings=settings())
    assert datetime.now().hour == datetime.now(UTC).hour
