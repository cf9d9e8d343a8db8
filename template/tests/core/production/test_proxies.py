"""What a proxy in front says of a request, and what everybody else says of theirs."""

import httpx
import pytest
from fastapi import Request
from opentelemetry.sdk.trace import TracerProvider

from app.core.config import load
from app.core.production.ops.proxies import ProxySettings

from ..chat import request
from ..fixtures import RunningServer, serve

CLAIMED = {
    "x-forwarded-proto": "https",
    "x-forwarded-for": "198.51.100.1, 203.0.113.9",
    "x-forwarded-host": "chat.example.com",
    "forwarded": "for=203.0.113.9;proto=https;host=chat.example.com",
}


def seen(server: RunningServer) -> tuple[str, str]:
    """Scheme and client of a request, by what the application is given."""

    async def look(request: Request) -> list[str]:
        assert request.client is not None
        return [request.url.scheme, request.client.host]

    server.app.add_api_route("/seen", look)
    scheme, client = httpx.get(server.url + "/seen", headers=CLAIMED).json()
    return scheme, client


@pytest.mark.parametrize("trusted", [(), ("10.0.0.0/8", "::1")])
def test_forwarded_headers_of_whom_nobody_listed_change_nothing(trusted: tuple[str, ...]) -> None:
    """Though uvicorn alone would believe them from 127.0.0.1."""
    with serve(trusted_proxies=trusted) as server:
        assert seen(server) == ("http", "127.0.0.1")
        spoofed = server.person(origin="https://chat.example.com", **CLAIMED)
        assert spoofed.post("threads.list").status_code == 403


def test_telemetry_of_the_whole_process_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `opentelemetry-instrument` sets it up: FastAPI would begin its own around each request."""
    monkeypatch.setattr("opentelemetry.trace.get_tracer_provider", TracerProvider)
    with serve() as server:
        assert seen(server) == ("http", "127.0.0.1")


@pytest.mark.parametrize("trusted", ["127.0.0.1", "10.0.0.0/8, 127.0.0.0/8"])
def test_a_listed_proxy_tells_the_scheme_and_who_asked_it(trusted: str) -> None:
    """The last address is the one that the proxy itself has seen; those before are hearsay."""
    with serve(trusted_proxies=trusted) as server:
        assert seen(server) == ("https", "203.0.113.9")
        answer = httpx.post(server.url + "/chatkit", json=request("nothing"), headers=CLAIMED)
        assert "chat.example.com" not in answer.text + str(answer.headers)


@pytest.mark.parametrize("text", ["proxy.internal", "10.0.0.7/8", "*"])
def test_what_is_no_address_stops_the_start(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTED_PROXIES", f"10.0.0.1,{text}")
    with pytest.raises(SystemExit) as stopped:
        load(ProxySettings)
    told = f"TRUSTED_PROXIES does not fit: '{text}' is neither an address nor a network"
    assert str(stopped.value).startswith(told)
