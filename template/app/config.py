"""Settings: where they come from, and how a missing or contradictory one stops the start.

The template's file: improvements arrive through `copier update`.
"""

import os
import re
import signal
import sys
from multiprocessing import parent_process
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Level = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class Section(BaseSettings):
    """Base of every part of the settings; read from the environment, then from `.env`."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", env_ignore_empty=True)

    app_env: Literal["development", "production"] = "development"

    @property
    def is_production(self) -> bool:
        return self.app_env == "production"

    def problems(self) -> list[str]:
        """What stops the start: one sentence each, naming the variable and how to set it."""
        return []

    def notes(self) -> list[str]:
        """What the log says once at the start."""
        return []


def _listed(value: object) -> object:
    """Parts of a text that commas separate; what is a list already stays one."""
    parts = value.split(",") if isinstance(value, str) else []
    return [part.strip().lower() for part in parts if part.strip()] or value


class AppSettings(Section):
    """What every project has, whatever its answers are."""

    log_level: Annotated[Level, BeforeValidator(str.upper)] = "INFO"
    # Origins of front ends that are not served from this server's own, separated by commas.
    allowed_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)] = ()
    max_body_bytes: Annotated[int, Field(gt=0)] = 1_000_000
    body_timeout: Annotated[float, Field(gt=0)] = 20.0  # seconds to send a request's body
    stream_heartbeat: Annotated[float, Field(gt=0)] = 15.0  # seconds of silence before a comment

    def problems(self) -> list[str]:
        bad = [
            text for text in self.allowed_origins if not re.fullmatch(r"https?://[^/*\s]+", text)
        ]
        return super().problems() + [
            f"ALLOWED_ORIGINS has {text!r}, which is not an origin: write scheme, host and port "
            "without a path, as in https://www.example.com or http://localhost:5173, separated by "
            "commas. A * would let every site in."
            for text in bad
        ]


def stop_on_problems(settings: Section) -> None:
    """Raises SystemExit with a sentence a line when the settings cannot work."""
    if problems := settings.problems():
        if parent_process() and re.search("uvicorn|fastapi", sys.argv[0]):
            os.kill(os.getppid(), signal.SIGTERM)  # it would start this worker again and again
        raise SystemExit("\n".join(problems))


def explain(error: ValidationError) -> str:
    """A sentence a line for values that do not fit, without repeating them: some are secrets."""
    return "\n".join(
        f"{'_'.join(map(str, problem['loc'])).upper()} does not fit: {problem['msg']}. "
        "Set it in the environment or in .env."
        for problem in error.errors(include_input=False, include_url=False)
    )
