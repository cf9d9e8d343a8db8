"""Traces and metrics by OpenTelemetry, where OTEL_EXPORTER_OTLP_ENDPOINT says where they go.

Without it nothing of this is imported, and nothing is in the way of an event.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

from agents import RunConfig
from chatkit import types as ck
from fastapi import FastAPI
from pydantic import Secret

from ...agent.run import AgentServer
from ...chat_server import Events
from ...config import Address, Section, fitting
from ...http.streaming import stop_all

if TYPE_CHECKING:
    from .otel import Telemetry

# Names and values as OpenTelemetry's libraries take them, which would log what they do not take.
HEADER = r"[!#-'*+.0-9A-Z^-z|~-]+ *=[ !#-+.-:<-\[\]-~-]*"
NO_HEADERS = "write name=value, with commas between several and anything unusual as %XX"
Headers = Secret[Annotated[str, fitting(f"{HEADER}(, *{HEADER})*", NO_HEADERS)]]


class TelemetrySettings(Section):
    """By OpenTelemetry's own names; its others are read from the environment alone."""

    otel_exporter_otlp_endpoint: Address | None = None  # by HTTP, as in http://localhost:4318
    otel_exporter_otlp_headers: Headers | None = None  # as in api-key=…,tenant=…
    otel_service_name: str = "chatkit"
    # What people, models and tools say, in the spans: not unless it is asked for.
    otel_instrumentation_genai_capture_message_content: bool = False


class TelemetryServer(AgentServer):
    """Lets the agent's runs be traced, and what fails in them be counted."""

    telemetry: "Telemetry | None" = None

    def _guarded(self, stream: Callable[[], Events]) -> Events:
        telemetry = self.telemetry
        return super()._guarded((lambda: telemetry.watch(stream())) if telemetry else stream)

    def run_config(self, asked: ck.InferenceOptions) -> RunConfig:
        config = super().run_config(asked)
        if self.telemetry:
            config.tracing_disabled = False
            content = self.telemetry.captures_content and not self.settings.openai_tracing
            config.trace_include_sensitive_data = content
        return config


@asynccontextmanager
async def open_telemetry(app: FastAPI, settings: TelemetrySettings) -> AsyncIterator[None]:
    """Sends what there is until the context ends, then the rest of it."""
    if not settings.otel_exporter_otlp_endpoint:
        yield
        return
    from .otel import Telemetry

    server: Any = app.state.server
    server.telemetry = telemetry = Telemetry(settings, keep=server.settings.openai_tracing)
    telemetry.trace_store(server.store)
    turn = server._turn  # around what every class of the server adds to a turn
    server._turn = lambda *given: telemetry.turn(turn(*given))
    try:
        yield
    finally:
        await stop_all(app.state.turns)  # so that their ends are told too
        await asyncio.to_thread(telemetry.close)
