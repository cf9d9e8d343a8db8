"""Running the server for real: what happens around the turns, from the start to the last one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from .drain import DrainSettings, open_drain
from .proxies import ProxySettings, TrustedProxies
from .telemetry import TelemetrySettings, open_telemetry
from .turn_limits import TurnLimitSettings
from .usage import UsageSettings

__all__ = ["OpsSettings", "TrustedProxies", "open_ops"]


class OpsSettings(
    DrainSettings, ProxySettings, TelemetrySettings, TurnLimitSettings, UsageSettings
):
    """One section from each part of this folder."""


@asynccontextmanager
async def open_ops(app: FastAPI, settings: OpsSettings) -> AsyncIterator[None]:
    """What runs beside the application; the innermost to be opened, the first to be closed."""
    async with open_telemetry(app, settings), open_drain(app, settings):
        yield
